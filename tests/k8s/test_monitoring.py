"""Rules, dashboard and PodMonitors: real metrics, queries that parse, alarms that rise when they should."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from sidecar.cluster.controller import Metrics as ControllerMetrics
from sidecar.cluster.coverage_metrics import FAMILIES as COVERAGE
from sidecar.cluster.coverage_metrics import LOOKED
from sidecar.cluster.webhook import FAILURES
from sidecar.cluster.webhook import Metrics as WebhookMetrics
from sidecar.console.metrics import COMMIT_DURATION
from sidecar.console.metrics import FAMILIES as SIDECAR
from sidecar.drain.metrics import Metrics as DrainMetrics
from sidecar.inject.names import SIDECAR as CONTAINER
from sidecar.inject.names import SYSTEM_NAMESPACE
from sidecar.statistics.label_figures import ERRORS, SCORE, SHARES
from tests.inject.test_corpus import injected
from tests.k8s.derived import RULES
from tests.support.corpus import INJECTED
from tests.support.kubernetes_files import CUSTOM, K8S, ROOT, containers, one, raw, templates

OBJECTS = [each for _, each in raw()]
DASHBOARD = json.loads((K8S / "components" / "monitoring" / "dashboard.json").read_text())


VARIABLES = [each["name"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]


def of(registry: CollectorRegistry) -> set[str]:
    """The names of the samples of a registry, labelled or not."""
    return {
        family.name + suffix
        for family in registry.collect()
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
            family.type, ("",)
        )
    }


def watch_metrics() -> set[str]:
    """Of `sidecar watch`, by how its collector names them; tests/test_watching.py scrapes them."""
    text = (ROOT / "sidecar" / "watch_metrics.py").read_text()
    found = re.findall(r'(Gauge|Counter)MetricFamily\(\s*"(sidecar_\w+)"', text)
    assert len(found) > 10
    return {name + ("_total" if kind == "Counter" else "") for kind, name in found}


def known() -> set[str]:
    every = {family.name for family in SIDECAR} | {family.name for family in COVERAGE} | {LOOKED}
    every |= {COMMIT_DURATION + suffix for suffix in ("_bucket", "_count", "_sum")}
    for made in (WebhookMetrics(), ControllerMetrics(), DrainMetrics()):
        every |= of(made.registry)
    return every | watch_metrics()


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bsidecar_\w+", expression))


def promtool(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False
        )
    except FileNotFoundError:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_reads_metrics_that_there_are(rule: dict[str, Any]) -> None:
    used = names_in(rule["expr"])
    assert used
    assert used <= known(), used - known()
    assert rule["labels"]["severity"] in ("warning", "critical", "{{ $labels.severity }}")
    assert rule["annotations"]["summary"]


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


def test_alarms_rise_when_they_should(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text((Path(__file__).parent / "rules_test.yaml").read_text().replace("RULES", str(RULES)))
    promtool("test", "rules", str(cases))


def test_every_rule_of_the_cluster_is_tried() -> None:
    tried = set(re.findall(r"alertname: (\w+)", (Path(__file__).parent / "rules_test.yaml").read_text()))
    assert {rule["alert"] for rule in rules()} == tried


def test_a_review_that_fails_is_an_outcome_that_the_alarm_reads() -> None:
    (rule,) = [each for each in rules() if each["alert"] == "SidecarWebhookFails"]
    (read,) = re.findall(r'outcome=~"([a-z|]+)"', rule["expr"])
    assert set(read.split("|")) == set(FAILURES)
    registry = WebhookMetrics().registry
    for outcome in FAILURES:
        assert registry.get_sample_value("sidecar_webhook_reviews_total", {"outcome": outcome}) == 0


@pytest.mark.parametrize("query", queries())
def test_the_dashboard_reads_metrics_that_there_are(query: str) -> None:
    assert names_in(query)
    assert names_in(query) <= known(), names_in(query) - known()


def test_the_dashboards_queries_parse(tmp_path: Path) -> None:
    filled = queries()
    for name, value in (("__rate_interval", "5m"), *((each, ".*") for each in VARIABLES)):
        filled = [query.replace(f"${name}", value) for query in filled]
    assert not any("$" in each.replace('"$1"', "") for each in filled)
    recorded = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(filled)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"{len(filled)} rules found" in promtool("check", "rules", str(path))


def test_the_dashboards_variables_choose_and_are_of_metrics_that_there_are() -> None:
    assert VARIABLES == ["namespace", "model"]
    for each in DASHBOARD["templating"]["list"]:
        if each["name"] in VARIABLES:
            (metric, label) = re.findall(r"label_values\((\w+), (\w+)\)", each["query"]["query"])[0]
            assert metric in known()
            assert label == each["name"]
    for query in queries():
        # What is the system's own has neither.
        if re.search(
            r"sidecar_(watch_(alarm|label)|coverage_(?!looked)|exchanges|gap|store|field|rule)", query
        ):
            assert "$namespace" in query or "$model" in query, query


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    figures = {"percentunit": {*SHARES, *SCORE}, "short": set(ERRORS)}
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in panel["targets"]:
            assert panel["type"] != "timeseries" or target["legendFormat"], panel["title"]
            for read in re.findall(r'figure=~"([a-z_|]+)"', target["expr"]):
                assert set(read.split("|")) <= figures[panel["fieldConfig"]["defaults"]["unit"]]


def test_the_dashboard_is_laid_out_without_overlaps() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"]) > 20
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"


def test_pod_monitors_name_ports_that_pods_have() -> None:
    """Their schema is not in kubernetes-validate: the fields that may stand there are listed here."""
    endpoint = {"port", "path", "interval", "honorLabels"}
    for each in [each for each in OBJECTS if each["kind"] == "PodMonitor"]:
        assert each["apiVersion"] == CUSTOM + "v1"
        assert each["spec"].keys() == {"namespaceSelector", "selector", "podMetricsEndpoints"}
        assert each["spec"]["namespaceSelector"].keys() in ({"any"}, {"matchNames"})
        for one_of in each["spec"]["podMetricsEndpoints"]:
            assert one_of.keys() <= endpoint
            assert re.fullmatch(r"[0-9]+s", one_of["interval"])
    ours = {
        port["name"]
        for _, template in templates(OBJECTS)
        for each in containers(template)
        for port in each.get("ports", [])
    }
    (system,) = one(OBJECTS, "PodMonitor", "sidecar-system")["spec"]["podMetricsEndpoints"]
    assert system["port"] in ours
    assert (
        SYSTEM_NAMESPACE
        in one(OBJECTS, "PodMonitor", "sidecar-system")["spec"]["namespaceSelector"]["matchNames"]
    )
    (models,) = one(OBJECTS, "PodMonitor", "sidecar-models")["spec"]["podMetricsEndpoints"]
    for case in INJECTED:
        spec = injected(case)["spec"]
        (recorder,) = [
            each for each in spec["containers"] + spec.get("initContainers", []) if each["name"] == CONTAINER
        ]
        assert models["port"] in [port.get("name") for port in recorder["ports"]]


def test_the_prometheus_rule_holds_the_rules() -> None:
    found = one(OBJECTS, "PrometheusRule", "sidecar")
    assert found["apiVersion"] == CUSTOM + "v1"
    assert found["spec"] == {"groups": yaml.safe_load(RULES.read_text())["groups"]}

"""The Helm chart: rendered, it is what the overlays are made of, with its values filled in."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from sidecar import __version__
from sidecar.inject.names import DEFAULTS
from sidecar.webhooking import webhook
from tests.support.kubernetes_files import (
    K8S,
    SINCE,
    VERSIONS,
    Object,
    built,
    containers,
    invalid,
    one,
    program,
    rendered,
    templates,
)
from tests.support.rbac import Rights

CHART = K8S / "chart"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EVERYTHING = (
    "--set=drainer.enabled=true,monitoring.enabled=true,witness.enabled=true,retention.enabled=true",
    "--set=defaults.store=s3://evidence/records,defaults.store-region=eu-central-1",
    "--set=image.repository=registry.example/sidecar,image.pullSecrets={registry}",
    "--set=webhook.replicas=3,webhook.failurePolicy=Fail,monitoring.namespace=prometheus",
    '--set-json=serviceAccountAnnotations={"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/x"}',
)


def keyed(objects: Any) -> dict[tuple[str, str, str], Object]:
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in objects
    }


def test_helm_finds_nothing_wrong() -> None:
    done = subprocess.run(
        [program("helm"), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arguments", [(), EVERYTHING], ids=["default", "everything"])
def test_what_it_renders_is_valid(arguments: tuple[str, ...], version: str) -> None:
    made = rendered(*arguments, f"--kube-version={version}.0")
    assert not invalid(made, version)
    # What the version does not have would keep the whole chart from being installed.
    minor = int(version.removeprefix("1."))
    assert not [each for each in made if minor < SINCE.get((each["apiVersion"], each["kind"]), 0)]
    assert ("ValidatingAdmissionPolicy" in {each["kind"] for each in made}) == (minor >= 30)


def test_by_default_it_renders_the_objects_of_the_overlays() -> None:
    made = keyed(copy.deepcopy(rendered()))
    source = keyed(built(K8S / "overlays" / "s3"))
    without = {
        key for key in source if key[0] in ("PodMonitor", "PrometheusRule") or key[2] == "sidecar-dashboard"
    }
    assert made.keys() == source.keys() - without
    for key, each in made.items():
        other = json.loads(json.dumps(source[key]))
        other["metadata"].pop("annotations", None)
        for _, template in templates([each]):
            for container in containers(template):
                assert container.pop("imagePullPolicy") == VALUES["image"]["pullPolicy"]
        if key[2] == DEFAULTS:
            assert each["data"] == {"image": f"sidecar:{__version__}", "image-pull-policy": "IfNotPresent"}
        else:
            assert each == other, key


def test_values_are_filled_in() -> None:
    made = rendered(*EVERYTHING)
    image = f"registry.example/sidecar:{__version__}"
    for _, template in templates(made):
        assert {each["image"] for each in containers(template)} == {image}
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert one(made, "Deployment", "sidecar-webhook")["spec"]["replicas"] == 3
    webhooks = one(made, "MutatingWebhookConfiguration", "sidecar-webhook")["webhooks"]
    assert {each["failurePolicy"] for each in webhooks} == {"Fail"}
    assert one(made, "ConfigMap", DEFAULTS)["data"] == {
        "image": image,
        "image-pull-policy": "IfNotPresent",
        "journal-volume": "hostPath:/var/lib/sidecar-journals",
        "store": "s3://evidence/records",
        "store-region": "eu-central-1",
    }
    drain = one(made, "ConfigMap", "sidecar-drain")["data"]
    assert drain == {"store": "s3://evidence/records", "store-region": "eu-central-1"}
    for name in ("watch", "drain", "witness", "retention"):
        annotations = one(made, "ServiceAccount", f"sidecar-{name}")["metadata"]["annotations"]
        assert annotations == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    for each in made:
        if (each["kind"], each["metadata"]["name"]) == ("NetworkPolicy", "sidecar-metrics"):
            (source,) = each["spec"]["ingress"][0]["from"]
            labels = source["namespaceSelector"]["matchLabels"]
            assert labels == {"kubernetes.io/metadata.name": "prometheus"}
    text = one(made, "ConfigMap", "sidecar-dashboard")["data"]["sidecar.json"]
    assert json.loads(text) == json.loads((K8S / "components/monitoring/dashboard.json").read_text())
    assert len(keyed(made)) == len(made), "nothing twice"


def test_alarms_find_their_receivers() -> None:
    url = "alertmanager+http://alertmanager.monitoring:9093"
    made = rendered(f"--set=watch.alertUrls={{{url}}},egressPorts={{9093,8443}}")
    (container,) = containers(one(made, "Deployment", "sidecar-watch")["spec"]["template"])
    assert container["args"][-1] == f"--alert-url={url}"
    ports = one(made, "NetworkPolicy", "sidecar-out")["spec"]["egress"][0]["ports"]
    before = one(rendered(), "NetworkPolicy", "sidecar-out")["spec"]["egress"][0]["ports"]
    assert ports == [*before, {"port": 9093}, {"port": 8443}]
    for name in ("sidecar-controller", "sidecar-webhook"):
        assert one(made, "Deployment", name) == one(rendered(), "Deployment", name)


def test_monitoring_carries_the_labels_by_which_prometheus_selects() -> None:
    made = rendered("--set=monitoring.enabled=true,monitoring.labels.release=prometheus")
    marked = {each["kind"] for each in made if each["metadata"]["labels"].get("release") == "prometheus"}
    assert marked == {"PodMonitor", "PrometheusRule"}
    assert (
        one(made, "PrometheusRule", "sidecar")["metadata"]["labels"]["app.kubernetes.io/part-of"] == "sidecar"
    )


def test_who_does_not_watch_is_not_told_that_nobody_watches() -> None:
    made = rendered("--set=monitoring.enabled=true,watch.enabled=false")
    groups = one(made, "PrometheusRule", "sidecar")["spec"]["groups"]
    assert {each["name"] for each in groups} == {
        "sidecar",
        "sidecar-coverage",
        "sidecar-webhook",
        "sidecar-drain",
    }


def overlay(folder: Path, *components: str) -> tuple[Object, ...]:
    shutil.copytree(K8S, folder / "k8s", symlinks=True)
    made = folder / "k8s" / "overlays" / "made"
    made.mkdir()
    named = [f"../../components/{each}" for each in components]
    (made / "kustomization.yaml").write_text(
        yaml.safe_dump({"kind": "Kustomization", "resources": ["../../base"], "components": named})
    )
    return built(made)


@pytest.mark.parametrize(
    ("component", "values"),
    [("cert-manager", "webhook.certManager=true"), ("openshift", "openshift=true")],
)
def test_the_chart_does_what_the_component_does(component: str, values: str, tmp_path: Path) -> None:
    others = ("webhook", "watch", "guard", "witness", "retention")
    wanted = keyed(overlay(tmp_path, *others, component))
    more = "--set=witness.enabled=true,retention.enabled=true"
    made = keyed(copy.deepcopy(rendered(more, f"--set={values}")))
    assert made.keys() == wanted.keys()
    for key, each in made.items():
        for _, template in templates([each]):
            for container in containers(template):
                container.pop("imagePullPolicy")
        if key[2] not in (DEFAULTS, "sidecar-retention"):
            assert each == wanted[key], key
    for version in VERSIONS:
        assert not invalid(wanted.values(), version)


def test_with_cert_manager_the_webhook_writes_nothing(tmp_path: Path) -> None:
    made = overlay(tmp_path, "webhook", "cert-manager")
    rules = Rights(made, "sidecar-webhook").rules
    assert {verb for _, rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    certificate = one(made, "Certificate", "sidecar-webhook")
    service = one(made, "Service", "sidecar-webhook")["metadata"]
    assert f"{service['name']}.{service['namespace']}.svc" in certificate["spec"]["dnsNames"]
    spec = one(made, "Deployment", "sidecar-webhook")["spec"]["template"]["spec"]
    (volume,) = spec["volumes"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    assert container["args"] == [f"--certificates={mount['mountPath']}"]
    assert "--certificates" in {option for each in webhook.params for option in each.opts}
    issuers = {each["metadata"]["name"] for each in made if each["kind"] == "Issuer"}
    named = {each["spec"]["issuerRef"]["name"] for each in made if each["kind"] == "Certificate"}
    assert issuers == named
    (told,) = one(made, "MutatingWebhookConfiguration", "sidecar-webhook")["metadata"]["annotations"].values()
    assert told == f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"


def test_on_openshift_no_pod_fixes_a_user(tmp_path: Path) -> None:
    made = overlay(tmp_path, "webhook", "cert-manager", "watch", "witness", "retention", "openshift")
    for workload, template in templates(made):
        contexts = [
            template["spec"]["securityContext"],
            *(each["securityContext"] for each in containers(template)),
        ]
        for context in contexts:
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys(), workload["metadata"]["name"]
    ports = one(made, "NetworkPolicy", "sidecar-out")["spec"]["egress"][0]["ports"]
    assert {"port": 5353, "protocol": "UDP"} in ports


def test_a_digest_is_set_behind_an_at_sign() -> None:
    made = rendered(f"--set=image.tag=sha256:{'a' * 64}")
    assert one(made, "ConfigMap", DEFAULTS)["data"]["image"] == f"sidecar@sha256:{'a' * 64}"


def test_the_namespace_may_be_there_already() -> None:
    assert "Namespace" not in {each["kind"] for each in rendered("--set=createNamespace=false")}


def test_the_schema_knows_every_value_and_its_kind() -> None:
    # The draft that every Helm 3 knows, too.
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    # What came later is not required: `helm upgrade --reuse-values` brings the values of the version before.
    later = {"egressPorts", "openshift"}
    assert set(VALUES) == set(SCHEMA["required"]) | later == set(SCHEMA["properties"]) - {"global"}
    for wrong in (
        {"drainer": {"enable": True}},
        {"webhook": {**VALUES["webhook"], "replicas": 0}},
        {"more": 1},
        {"egressPorts": ["9000"]},
        {"watch": {"enabled": True, "alertUrls": ["https://pager.example"]}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(VALUES | wrong, SCHEMA)


def test_its_version_is_the_products() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VALUES["image"]["tag"] == __version__


def test_templates_hold_no_object_of_their_own_but_two_files() -> None:
    text = (CHART / "templates" / "manifests.yaml").read_text()
    assert re.findall(r"^kind: (\w+)", text, re.MULTILINE) == ["ConfigMap", "ConfigMap"]

"""docs/kubernetes-coverage.md is true: its tables are the code's, and its Events those that are raised."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Counter, Gauge

from sidecar.cluster import controller
from sidecar.cluster.coverage import MEANINGS, Reason
from sidecar.cluster.coverage_metrics import FAMILIES, LOOKED, LOOKED_MEANING, CoverageCollector
from sidecar.coverage_table import HEADER

DOCUMENT = Path(__file__).parents[1] / "docs" / "kubernetes-coverage.md"


def between(mark: str) -> str:
    text = DOCUMENT.read_text()
    return text.partition(f"<!-- {mark} -->\n")[2].partition(f"<!-- /{mark} -->")[0]


def reasons() -> str:
    lines = ["| reason | meaning |", "|---|---|"]
    lines += [f"| `{reason}` | {MEANINGS[reason]} |" for reason in Reason]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Rows of the controller's own metrics, as they are registered, and of the coverage."""
    rows = []
    for each in vars(controller.Metrics()).values():
        if isinstance(each, Counter | Gauge):
            (family,) = each.describe()
            counts = family.type == "counter"
            name = family.name + ("_total" if counts else "")
            rows.append((name, each._labelnames, family.type, family.documentation))
    rows += [(each.name, each.labels, "gauge", each.meaning) for each in FAMILIES]
    rows.append((LOOKED, (), "gauge", LOOKED_MEANING))
    lines = ["| metric | type | meaning |", "|---|---|---|"]
    for name, labels, kind, meaning in rows:
        shown = f"{name}{{{', '.join(labels)}}}" if labels else name
        lines.append(f"| `{shown}` | {kind} | {meaning} |")
    return "\n".join(lines) + "\n"


def test_every_reason_and_every_metric_is_in_its_table() -> None:
    assert set(MEANINGS) == set(Reason)
    assert between("reasons") == reasons()
    assert between("metrics") == metrics()


def test_every_column_and_every_event_is_described() -> None:
    text = DOCUMENT.read_text()
    for column in HEADER[2:]:
        assert f"| `{column}` |" in text
    events = {controller.NOT_INJECTED, controller.NOT_COVERING, controller.SETTING_IGNORED}
    assert set(re.findall(r"^\| `(Sidecar[A-Za-z]+)` \|", text, re.MULTILINE)) == events


def test_a_replica_that_does_not_look_exposes_no_coverage() -> None:
    assert list(CoverageCollector(lambda: None).collect()) == []
    names = {metric.name for metric in CoverageCollector(lambda: ([], 1.0)).collect()}
    assert names == {each.name for each in FAMILIES} | {LOOKED}


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    for mark, table in (("reasons", reasons()), ("metrics", metrics())):
        head, _, rest = text.partition(f"<!-- {mark} -->\n")
        text = f"{head}<!-- {mark} -->\n{table}<!-- /{mark} -->{rest.partition(f'<!-- /{mark} -->')[2]}"
    DOCUMENT.write_text(text)

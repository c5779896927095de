from __future__ import annotations

import pytest

from tests.bench.floors import NOT_MEASURED, Floor, small_floors
from tests.bench.payload import SMALL_BYTES, applications
from tests.bench.report import table
from tests.bench.small import Sample, SmallResults


def sample(peer: str, number: int, requests_s: float, p99_us: int) -> Sample:
    return Sample(peer, number, 32, 1, requests_s, 10.0, 1, p99_us, 0, 1.0, {}, {}, 1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("value", "at_least", "goal", "verdict"),
    [
        (0.75, True, False, "PASS"),
        (0.74, True, False, "MISS"),
        (0.75, False, False, "PASS"),
        (0.76, False, False, "MISS"),
        (0.76, False, True, "goal missed"),
        (None, True, False, NOT_MEASURED),
    ],
)
def test_a_floor_passes_at_its_bound(value: float | None, at_least: bool, goal: bool, verdict: str) -> None:
    assert Floor("x", value, 0.75, at_least, goal=goal).verdict == verdict


def test_ratios_are_those_of_the_medians() -> None:
    results = SmallResults()
    for number, (own, other) in enumerate([(10, 100), (80, 100), (90, 1)]):
        results.samples.append(sample("sidecar", number, own, 3))
        results.samples.append(sample("haproxy", number, other, 1))
    floors = {floor.what: floor for floor in small_floors(results)}
    assert floors["requests/s against HAProxy"].value == pytest.approx(0.8)
    assert floors["p99 against HAProxy"].value == pytest.approx(3)
    assert floors["requests/s against Envoy"].verdict == NOT_MEASURED


def test_requests_differ_and_have_exactly_the_length_that_the_report_names() -> None:
    bodies = applications(64)
    assert len(set(bodies)) == 64
    assert {len(body) for body in bodies} == {SMALL_BYTES}


def test_columns_of_a_table_line_up() -> None:
    text = table("t", ("a", "b"), [("haproxy", "1"), ("x", "1,000")])
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1

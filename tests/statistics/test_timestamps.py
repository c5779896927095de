"""Moments in ISO 8601 and as numbers since 1970: age, hour, what cannot be read, and what is no moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.statistics.baseline import INVALID, MISSING, UNPARSABLE, WRONG_TYPE
from sidecar.statistics.field_counter import FieldCounter
from sidecar.statistics.freezing import freeze_field
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.statistics.plan import Plan
from sidecar.statistics.timestamps import UNITS, epoch_unit, names_a_time, parsed, timestamp_facts
from sidecar.statistics.watch_spec import WatchSpec, parse_watch
from tests.statistics.row_samples import sample

NOW_S = 1_790_000_000
TIMES = np.full(100, NOW_S * 1_000_000, dtype=np.int64)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))
def test_what_a_clock_writes_is_read(moment: datetime, minutes: int) -> None:
    from datetime import timezone

    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = there.isoformat()
    found = parsed(text)
    # Before 1900 some zones have seconds; these offsets are whole minutes.
    assert found == pytest.approx(there.timestamp(), abs=1e-6)
    assert parsed(moment.isoformat() + "Z") == pytest.approx(moment.replace(tzinfo=UTC).timestamp(), abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-02-30", "12:00", "20260101", "2026-1-1"]
)
def test_other_texts_are_not_read(text: str) -> None:
    assert parsed(text) is None


def test_age_and_hour_are_those_of_the_exchange_and_of_utc() -> None:
    facts = timestamp_facts(["2026-09-21T14:00:00Z", "2026-09-21T16:30:00+02:00"], TIMES[:2])
    moment = datetime(2026, 9, 21, 14, tzinfo=UTC).timestamp()
    assert facts.aspects["age"].tolist() == [NOW_S - moment, NOW_S - moment - 1800]
    assert facts.aspects["hour"].tolist() == [14.0, 14.0]
    assert "age" not in timestamp_facts(["2026-09-21"], None).aspects


@pytest.mark.parametrize("unit", UNITS)
def test_numbers_near_their_exchanges_are_moments_in_the_unit_that_fits(unit: str) -> None:
    chance = np.random.default_rng(1)
    seconds = NOW_S - chance.uniform(0, 3600, 100)
    values = [round(each * UNITS[unit]) for each in seconds]
    assert epoch_unit("x", values, TIMES) == unit
    field = freeze_field("x", values, TIMES)
    assert (field.kind, field.epoch) == ("timestamp", unit)
    (age,) = field.aspects
    assert age.aspect == "age"
    assert age.mean == pytest.approx(NOW_S - seconds.mean(), abs=0.6)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("created_at", True), ("timestamp", True), ("eventTime", True), ("ts", True), ("ts_ms", True),
        ("order.date", True), ("time_utc", True), ("rate", False), ("flat", False), ("boats", False),
        ("times_late", False), ("customer_id", False),
    ],
)  # fmt: skip
def test_names_that_say_that_they_are_times(name: str, says: bool) -> None:
    assert names_a_time(name) is says


def test_without_times_only_a_name_makes_moments_of_numbers() -> None:
    values = [NOW_S - 86_400 * number for number in range(1000)]
    assert epoch_unit("created_at", values, None) == "s"
    assert epoch_unit("customer_id", values, None) == ""
    assert epoch_unit("created_at", [float(number) for number in range(100)], None) == ""


def test_old_moments_are_no_moments_without_a_name() -> None:
    values = [NOW_S - 30 * 86_400 - number for number in range(100)]
    assert epoch_unit("x", values, TIMES) == ""
    assert freeze_field("x", values, TIMES).kind == "numeric"
    assert freeze_field("x", values, TIMES, epoch="s").kind == "timestamp"


def test_traffic_goes_on_without_leaving_the_range() -> None:
    """As plain numbers, every later moment would lie above the baseline's greatest."""
    values = [NOW_S - number for number in range(400)]
    field = freeze_field("x", values, np.full(400, NOW_S * 1_000_000))
    later = (NOW_S + 10**7) * 1_000_000
    found = FieldCounter(field).counted(
        [NOW_S + 10**7 - number for number in range(50)], np.full(50, later, dtype=np.int64)
    )
    assert set(found.main.codes.tolist()) == {0}
    assert (found.aspects[0].codes < field.aspects[0].own_slots).all()


def details(field: Any, values: list[Any]) -> tuple[list[int], dict[int, int]]:
    found = FieldCounter(field).counted(values, np.full(len(values), NOW_S * 1_000_000, dtype=np.int64)).main
    counts = found.details.tolist() if found.details is not None else [0] * 5
    return found.codes.tolist(), {WRONG_TYPE: counts[WRONG_TYPE], UNPARSABLE: counts[UNPARSABLE]}


def test_what_is_no_moment_is_counted_by_what_it_is() -> None:
    field = freeze_field("x", [NOW_S - number for number in range(100)], TIMES)
    own = field.own_slots
    codes, by = details(
        field, [NOW_S, float(NOW_S), None, "now", f"{NOW_S}", NOW_S * 1000, True, [1], float("nan")]
    )
    assert codes == [0, 0, own + MISSING, *[own + INVALID] * 6]
    assert by == {WRONG_TYPE: 3, UNPARSABLE: 3}, "quotes, boolean, array; a word, another unit, NaN"
    iso = freeze_field("x", [f"2026-09-{day:02d}" for day in range(1, 29)])
    codes, by = details(iso, ["2026-09-01", "soon", NOW_S])
    assert codes == [0, iso.own_slots + INVALID, iso.own_slots + INVALID]
    assert by == {WRONG_TYPE: 1, UNPARSABLE: 1}


def test_the_watch_file_says_which_numbers_are_moments() -> None:
    watch = parse_watch({"times": {"inputs.x": "ms"}})
    monitor = Monitor(MonitorSettings(baseline_exchanges=50, watch=watch))
    monitor.add([sample({"x": [10**12 + number]}, {"y": [1]}) for number in range(60)])
    assert monitor.baseline is not None
    assert monitor.baseline.inputs[0].epoch == "ms"
    with pytest.raises(ValueError, match=r"times: inputs.x is moments in ms in the baseline: make it with"):
        Plan(monitor.baseline, WatchSpec(times={"inputs.x": "s"}))


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["inputs.x"], "times: must be a mapping"),
        ({"x": "s"}, "times: x: is neither inputs.NAME nor outputs.NAME"),
        ({"inputs.x": "hours"}, "times: inputs.x: must be one of s, ms, us, ns"),
    ],
)
def test_mistakes_in_times_are_named(times: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_watch({"times": times})

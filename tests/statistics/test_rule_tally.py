"""Counts of data-quality rules: they add, survive restarts, name the last records, and raise alarms in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import UsageError
from sidecar.quality.relation import parse_relation
from sidecar.quality.rules import FieldRules, RelationRule, Schema
from sidecar.quality_rules import checks_of, rule_set
from sidecar.records import Observation, Sample
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.statistics.plan import Plan
from sidecar.statistics.rows import Rows
from sidecar.statistics.rule_tally import LAST, LastBroken, RuleTally, rules_summary
from sidecar.statistics.watch_spec import WatchSpec
from tests.statistics.row_samples import assert_adds, sample, streams

SECOND_US = 1_000_000
SCHEMA = Schema(
    {
        "inputs.x": FieldRules(type="number", range=(-1, 2), nulls=0.1),
        "inputs.y": FieldRules(allowed=("a", 1, True), length=(1, 2), tolerate=0.5),
        "outputs.p": FieldRules(nulls=0.0, pattern="[ab]", type="text"),
        "exchange.latency_ms": FieldRules(range=(0, 3)),
    },
    (
        RelationRule(parse_relation("inputs.x <= inputs.z")),
        RelationRule(parse_relation("inputs.x == outputs.q")),
    ),
)


def tally(schema: Schema = SCHEMA) -> RuleTally:
    return RuleTally(rule_set(schema), checks_of(schema))


def named(found: RuleTally, rows: Rows) -> dict[str, tuple[int, int]]:
    """Broken and checked rows by rule."""
    summary = rules_summary(found.rules, found.count(rows))
    return {each["rule"]: (each["violated"], each["checked"]) for each in summary}


@given(streams, st.integers(0, 12))
def test_counts_of_parts_add_to_those_of_the_whole(stream: list[Sample], at: int) -> None:
    assert_adds(tally(), stream, at)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=3), max_size=8), st.integers(0, 8))
def test_a_rule_that_looks_back_counts_the_same_however_its_rows_are_cut(
    values: list[list[Any]], at: int
) -> None:
    schema = Schema({"inputs.x": FieldRules(unique=4)})
    stream = [sample({"x": each}, {}, f"boot.r.{number}") for number, each in enumerate(values)]
    parts = tally(schema)
    cut = parts.count(Rows(stream[:at])) + parts.count(Rows(stream[at:]))
    assert cut.tolist() == tally(schema).count(Rows(stream)).tolist()


def test_a_batch_that_is_counted_again_repeats_nothing() -> None:
    schema = Schema({"inputs.x": FieldRules(unique=100)})
    found, stream = tally(schema), [sample({"x": ["a", "b"]}, {}), sample({"x": ["c"]}, {}, "boot.r.2")]
    assert named(found, Rows(stream)) == {"inputs.x/unique": (0, 3)}
    assert named(found, Rows(stream)) == {"inputs.x/unique": (0, 3)}
    assert named(found, Rows([sample({"x": ["c", "a", "a"]}, {}, "boot.r.3")])) == {"inputs.x/unique": (3, 3)}


def test_each_row_is_counted_under_each_rule() -> None:
    rows = Rows(
        [
            sample(
                {"x": [0, 9, None], "y": ["a", "bbb", 1], "z": [1, 1, 1]},
                {"p": ["a", "x", None], "q": [0, 0, 0]},
            ),
            sample({"x": [1], "y": [True]}, {}, "boot.r.2"),
            Sample("boot.r.3", 0, 500, 2, -1, None),
        ]
    )
    assert named(tally(), rows) == {
        "inputs.x/type": (0, 3),
        "inputs.x/range": (1, 3),
        "inputs.x/nulls": (1, 4),
        "inputs.y/length": (1, 2),
        "inputs.y/allowed": (1, 4),
        "outputs.p/type": (0, 2),
        "outputs.p/pattern": (1, 2),
        "outputs.p/nulls": (1, 3),
        "exchange.latency_ms/range": (0, 4),
        "inputs.x <= inputs.z": (1, 2),
        "inputs.x == outputs.q": (1, 2),
    }


def test_the_last_records_that_broke_a_rule_are_kept() -> None:
    schema = Schema({"inputs.x": FieldRules(type="number")})
    found, last = tally(schema), LastBroken()
    stream = [
        Sample(
            f"boot.r.{n}",
            n * SECOND_US,
            200,
            0,
            1,
            Observation("t", 2, {"x": ["bad" if n % 2 else 1, 2]}, {}),
        )
        for n in range(30)
    ]
    last.note(found, Rows(stream[:20]))
    assert last.record_ids("inputs.x/type") == tuple(f"boot.r.{n}" for n in (19, 17, 15, 13, 11))
    last.note(found, Rows(stream[20:]))
    whole = LastBroken()
    whole.note(found, Rows(stream))
    assert last.record_ids("inputs.x/type") == whole.record_ids("inputs.x/type")
    assert len(whole.record_ids("inputs.x/type")) == LAST
    assert LastBroken(whole.state()).state() == whole.state()
    assert whole.record_ids("inputs.x/range") == ()


@given(streams, st.integers(0, 12))
def test_last_records_of_parts_are_those_of_the_whole(stream: list[Sample], at: int) -> None:
    numbered = [
        Sample(f"r.{n}", n % 5, each.status, each.outcome, 1, each.observation)
        for n, each in enumerate(stream)
    ]
    found, whole, parts = tally(), LastBroken(), LastBroken()
    whole.note(found, Rows(numbered))
    # The later rows first: which are the last does not hang on the order of counting.
    parts.note(found, Rows(numbered[at:]))
    parts.note(found, Rows(numbered[:at]))
    assert parts.state() == whole.state()


def test_a_rule_becomes_a_band_from_nothing_to_what_it_allows() -> None:
    found = tally(
        Schema({"inputs.x": FieldRules(type="number", nulls=0.1), "inputs.y": FieldRules(nulls=1.0)})
    )
    bands = found.quantities(10)
    assert [(each.name, each.start, each.low, each.high) for each in bands] == [
        ("rule/inputs.x/type", 10, 0.0, 0.001),
        ("rule/inputs.x/nulls", 12, 0.0, 0.1),
    ]
    assert bands[0].title == "share of rows that break inputs.x/type"


def test_other_rules_are_another_digest() -> None:
    one = rule_set(Schema({"inputs.x": FieldRules(range=(0, 1))}))
    other = rule_set(Schema({"inputs.x": FieldRules(range=(0, 2))}))
    assert one.rules == other.rules
    assert one.digest != other.digest


WATCHED = Schema({"inputs.x": FieldRules(range=(0, 100), unique=50), "outputs.p": FieldRules(type="number")})


def monitor(wanted: int = 200) -> Monitor:
    settings = MonitorSettings(wanted, 5 * SECOND_US, 2 * SECOND_US, WatchSpec(rules=rule_set(WATCHED)))
    return Monitor(settings, checks=checks_of(WATCHED))


def traffic(count: int, bad_from: int, seed: int = 0) -> list[Sample]:
    """One exchange a second; from `bad_from` on, a tenth of the values are out of range."""
    chance = np.random.default_rng(seed)
    made = []
    for number in range(count):
        value = float(chance.uniform(0, 100)) + (1000 if number >= bad_from and number % 10 == 0 else 0)
        observation = Observation("t", 1, {"x": [value]}, {"p": [float(chance.uniform())]})
        made.append(Sample(f"boot.r.{number}", number * SECOND_US, 200, 0, 1000, observation))
    return made


def rules(watched: Monitor) -> dict[str, Any]:
    return {each["rule"]: each for each in watched.summary()["rules"]}


def test_exchanges_of_the_baseline_are_checked_too() -> None:
    watched = monitor()
    watched.add(traffic(50, 10))
    assert watched.summary()["state"] == "warming_up"
    found = rules(watched)["inputs.x/range"]
    assert (found["checked"], found["violated"]) == (50, 4)
    assert found["record_ids"] == ["boot.r.40", "boot.r.30", "boot.r.20", "boot.r.10"]
    watched.add(traffic(400, 10)[50:])
    assert watched.summary()["state"] == "watching"
    found = rules(watched)["inputs.x/range"]
    assert (found["checked"], found["violated"]) == (400, 39)
    assert found["record_ids"][0] == "boot.r.390"


def test_a_monitor_that_is_brought_back_goes_on_counting() -> None:
    stream, whole, parts = traffic(600, 100), monitor(), monitor()
    whole.add(stream)
    for start in range(0, 600, 150):
        parts.add(stream[start : start + 150])
        parts = Monitor.restore(parts.state(), parts.settings, checks=checks_of(WATCHED))
    assert rules(parts) == rules(whole)
    assert Monitor.restore(whole.state()).summary()["rules"] == whole.summary()["rules"]


def test_rows_out_of_range_raise_the_alarm_of_that_rule_and_clean_ones_none() -> None:
    clean = monitor()
    clean.add(traffic(4_000, 10**9))
    clean.advance(10**12)
    assert clean.alarms() == []
    watched = monitor()
    watched.add(traffic(4_000, 3_000))
    watched.advance(10**12)
    found = {alarm.quantity: alarm for alarm in watched.alarms()}
    alarm = found["rule/inputs.x/range"]
    assert "share of rows that break inputs.x/range is above its band" in alarm.sentence
    assert set(alarm.record_ids) <= set(rules(watched)["inputs.x/range"]["record_ids"])
    assert alarm.record_ids
    assert not [name for name in found if name.startswith("rule/") and name != "rule/inputs.x/range"]


def test_a_plan_without_the_schema_reads_counts_and_makes_none() -> None:
    watched = monitor()
    watched.add(traffic(300, 10**9))
    assert watched.plan is not None
    plan = Plan.decode(watched.plan.encode())
    assert [quantity.name for quantity in plan.quantities] == [
        quantity.name for quantity in watched.plan.quantities
    ]
    assert plan.digest == watched.plan.digest
    with pytest.raises(ValueError, match="counted where their schema is"):
        plan.count(Rows(traffic(1, 5)))


def test_a_plan_without_rules_has_the_bytes_that_it_always_had() -> None:
    settings = MonitorSettings(10, 5 * SECOND_US, 2 * SECOND_US)
    watched = Monitor(settings)
    watched.add(traffic(20, 10**9))
    assert watched.plan is not None
    assert b'"rules"' not in watched.plan.encode()
    assert "rules" not in watched.summary()
    with pytest.raises(UsageError):
        Plan.decode(watched.plan.encode().replace(b'"watch":{', b'"watch":{"rules":null,'))

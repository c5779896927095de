"""Inferred rules: they hold in the rows they come from and in others like them, and coincidence makes none."""

from __future__ import annotations

import math
import random
import string
from datetime import date, timedelta
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.quality.checker import Checker
from sidecar.quality.infer import Inference, share_interval
from sidecar.quality.order import OrderEvidence
from sidecar.quality.revise import revise
from sidecar.quality.rules import FieldRules, Schema
from sidecar.quality.schema_file import parse_schema
from sidecar.quality.schema_text import write_schema
from tests.quality.tables import Table, batch, checked, tables


def inferred(table: Table, cuts: tuple[int, ...] = ()) -> Schema:
    """What is inferred from a table, given in parts that end at the cuts."""
    inference = Inference()
    size = max(map(len, table.values()), default=0)
    for first, end in zip((0, *cuts), (*cuts, size), strict=True):
        part = {path: values[first:end] for path, values in table.items()}
        inference.add(batch(part, first=first), part)
    return inference.schema()


def violated(schema: Schema, table: Table) -> list[str]:
    """Rules that more rows break than they allow."""
    rules = {rule.name: rule for rule in Checker(schema).rules}
    return [
        name
        for name, verdict in checked(schema, table).items()
        if len(verdict.violated) > rules[name].allowed * verdict.checked
    ]


@st.composite
def sensible(draw: st.DrawFn) -> Table:
    """Columns of one kind each, with nulls at times, of many rows."""
    rows = draw(st.integers(1, 300))
    chance = random.Random(draw(st.integers(0, 2**32)))
    draw_high, scale = draw(st.integers(-5, 10**6)), draw(st.integers(-12, 12))
    kinds: dict[str, Any] = {
        "inputs.whole": lambda: chance.randint(-5, draw_high),
        "inputs.fraction": lambda: chance.gauss(0, 10.0**scale),
        "inputs.share": chance.random,
        "inputs.few": lambda: chance.choice(["a", "b", "no"]),
        "inputs.code": lambda: f"{chance.choice('AB')}{chance.choice('XYZ')}-{chance.randint(0, 9999):04d}",
        "inputs.day": lambda: str(date(2026, 1, 1) + timedelta(chance.randint(0, 900))),
        "inputs.text": lambda: "".join(chance.choices(string.printable, k=chance.randint(0, 40))),
        "outputs.flag": lambda: chance.random() < 0.5,
        "outputs.list": lambda: [0.5] * chance.randint(0, 4),
        "outputs.mixed": lambda: chance.choice([1, "x", 2.5, math.nan, math.inf]),
    }

    nulls = draw(st.sampled_from([0.0, 0.02, 0.9]))
    return {
        path: [None if chance.random() < nulls else make() for _ in range(rows)]
        for path, make in kinds.items()
    }


@settings(max_examples=60, deadline=None)
@given(sensible() | tables())
def test_the_rows_that_rules_come_from_keep_them(table: Table) -> None:
    schema = inferred(table)
    assert violated(schema, table) == []
    assert parse_schema(write_schema(schema).encode(), "x") == schema


@settings(max_examples=40, deadline=None)
@given(sensible(), st.data())
def test_rows_in_parts_give_the_same_rules(table: Table, data: st.DataObject) -> None:
    size = len(table["inputs.whole"])
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, size), max_size=4))))
    assert inferred(table, cuts).fields == inferred(table).fields


def applicants(rows: int, seed: int) -> Table:
    """Rows of one distribution, as a bank might have them."""
    chance = random.Random(seed)
    table: Table = {}
    for _ in range(rows):
        low = chance.randint(100, 900)
        start = date(2020, 1, 1) + timedelta(chance.randint(0, 2000))
        row = {
            "inputs.age": chance.randint(18, 95),
            "inputs.income": round(chance.lognormvariate(10, 0.7), 2),
            "inputs.ratio": chance.random(),
            "inputs.region": chance.choice(["north", "south", "no"]),
            "inputs.children": chance.choice([0, 0, 1, 2]),
            "inputs.account": f"DE{chance.randint(0, 10**10 - 1):010d}",
            "inputs.mail": f"{chance.choice('abc')}{chance.randint(0, 10**9)}@example.org",
            "inputs.opened": str(start),
            "inputs.closed": str(start + timedelta(chance.randint(0, 900))),
            "inputs.least": low,
            "inputs.most": low + chance.choice([0, chance.randint(1, 900)]),
            "inputs.phone": None
            if chance.random() < 0.05
            else "".join(chance.choices(string.digits, k=chance.randint(6, 9))),
            "outputs.deny": chance.random() < 0.3,
        }
        for path, value in row.items():
            table.setdefault(path, []).append(value)
    return table


def test_rules_are_those_that_a_person_would_write() -> None:
    schema = inferred(applicants(3_000, 1))
    rules = schema.fields
    assert rules["inputs.age"] == FieldRules(type="integer", range=(10, 103), nulls=0.0023)
    assert rules["inputs.ratio"].range == (0, 1)
    assert (rules["inputs.income"].range or (1,))[0] == 0
    assert rules["inputs.region"].allowed == ("no", "north", "south")
    assert rules["inputs.children"].allowed == (0, 1, 2)
    assert (rules["inputs.account"].pattern, rules["inputs.account"].unique) == ("[A-Z]{2}[0-9]{10}", 10_000)
    assert rules["inputs.mail"].format == "email"
    assert rules["inputs.opened"].format == "date"
    assert rules["outputs.deny"] == FieldRules(type="boolean", nulls=0.0023)
    assert rules["inputs.phone"].length == (1, 20)
    assert 0.05 < (rules["inputs.phone"].nulls or 0) < 0.07
    assert sorted(str(each.relation) for each in schema.relations) == [
        "inputs.least <= inputs.most",
        "inputs.opened <= inputs.closed",
    ]


def test_other_rows_of_the_same_kind_keep_nearly_every_rule() -> None:
    schema = inferred(applicants(3_000, 1))
    for seed in range(2, 6):
        assert set(violated(schema, applicants(3_000, seed))) <= {"inputs.income/range"}


def test_coincidence_makes_no_relation() -> None:
    chance = np.random.default_rng(3)
    evidence = OrderEvidence()
    evidence.add(
        {"small": chance.random(5_000), "large": 100 + chance.random(5_000), "other": chance.random(5_000)}
    )
    assert evidence.relations() == []


def test_orders_that_follow_from_others_are_left_out() -> None:
    chance = np.random.default_rng(4)
    a, b, c = chance.random(5_000), chance.random(5_000), chance.random(5_000)
    low, middle, high = np.sort([a, b, c], axis=0)
    evidence = OrderEvidence()
    for start in range(0, 5_000, 700):
        part = slice(start, start + 700)
        columns = {"inputs.low": low, "inputs.middle": middle, "inputs.high": high, "inputs.same": low}
        evidence.add({path: values[part] for path, values in columns.items()})
    assert sorted(map(str, evidence.relations())) == [
        "inputs.low == inputs.same",
        "inputs.middle <= inputs.high",
        "inputs.same <= inputs.middle",
    ]


def test_one_row_out_of_order_ends_a_relation() -> None:
    chance = np.random.default_rng(5)
    low = chance.random(1_000)
    evidence = OrderEvidence()
    evidence.add({"low": low, "high": low + 0.001})
    evidence.add({"low": np.array([1.0]), "high": np.array([0.5])})
    assert evidence.relations() == []


def test_values_that_are_not_finite_are_tolerated_in_their_share_or_no_type_is_told() -> None:
    few = inferred({"inputs.a": [float(n) + 0.5 for n in range(990)] + [math.nan] * 10}).fields["inputs.a"]
    assert few.type == "number"
    assert 0.01 < few.tolerate < 0.03
    many = inferred({"inputs.a": [0.5] * 80 + [math.inf] * 20}).fields["inputs.a"]
    assert (many.type, many.range) == (None, None)


def test_integers_keep_their_last_digits() -> None:
    huge = [2**62 + number for number in range(1_000)]
    rules = inferred({"inputs.id": huge}).fields["inputs.id"]
    assert rules.range is not None
    low, high = rules.range
    assert low is not None
    assert high is not None
    assert low <= 2**62
    assert high >= 2**62 + 999


def test_the_interval_of_a_share_is_wilsons() -> None:
    """0 of 100 at 99 %: z²/(n + z²); both ends of a known example, and their mirror."""
    z2 = 2.5758**2
    assert share_interval(0, 100)[0] == 0.0
    assert math.isclose(share_interval(0, 100)[1], z2 / (100 + z2))
    low, high = share_interval(12, 2_380)
    assert low < 12 / 2_380 < high
    mirrored = share_interval(2_380 - 12, 2_380)
    assert math.isclose(mirrored[0], 1 - high)
    assert math.isclose(mirrored[1], 1 - low)
    assert share_interval(0, 0) == (0.0, 1.0)


def test_what_holds_stays_as_a_person_wrote_it() -> None:
    old = Schema(
        {
            "inputs.age": FieldRules(type="integer", range=(0, 150)),
            "inputs.region": FieldRules(allowed=("north",), tolerate=0.01),
            "inputs.gone": FieldRules(type="text"),
        }
    )
    table = applicants(500, 1)
    revision = revise(old, violated(old, table), inferred(table))
    assert list(revision.schema.fields)[:3] == ["inputs.age", "inputs.region", "inputs.gone"]
    assert revision.schema.fields["inputs.age"] == old.fields["inputs.age"]
    assert revision.schema.fields["inputs.region"] == FieldRules(
        allowed=("no", "north", "south"), tolerate=0.01
    )
    assert revision.changed == ["inputs.region/allowed"]
    assert "inputs.mail" in revision.added
    assert violated(revision.schema, table) == []


def test_a_day_more_of_the_same_data_changes_few_lines() -> None:
    before, after = (write_schema(inferred(applicants(3_000, seed))).splitlines() for seed in (1, 2))
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) <= 6

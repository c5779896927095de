"""Samples for tests of tallies: strategies, shorthands, and the additivity that every tally owes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from sidecar.records import Observation, Sample
from sidecar.statistics.baseline import TAIL, FieldBaseline, Kind
from sidecar.statistics.rows import Rows
from sidecar.statistics.tally import Tally

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-4, 4)
    | st.sampled_from([float("nan"), float("inf"), 10**400, "a", "b", "c", "", "redacted:text", [1, 0], []])
)
"""What stands on the wire where a number, a text or nothing was expected."""


def sample(
    inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], record_id: str = "boot.r.1"
) -> Sample:
    """One decoded exchange with these columns."""
    columns = [*inputs.values(), *outputs.values()]
    instances = len(columns[0]) if columns else 1
    return Sample(record_id, 0, 200, 0, 1000, Observation("test", instances, inputs, outputs))


def table(inputs: dict[str, list[Any]], outputs: dict[str, list[Any]] | None = None) -> Rows:
    """Rows of one exchange."""
    return Rows([sample(inputs, outputs or {})])


def field(name: str, kind: Kind, own: dict[Any, int] | list[float], **facts: Any) -> FieldBaseline:
    """A field's baseline with these values and their counts, or with these edges and 10 rows in each bin."""
    edges = own if isinstance(own, list) else []
    counts = list(own.values()) if isinstance(own, dict) else [10] * (len(own) - 1)
    given = list(own) if isinstance(own, dict) else []
    numbers = given if kind == "numeric" else []
    categories = [] if kind == "numeric" else given
    facts = {"mean": 0.0, "scale": 1.0} | facts
    return FieldBaseline(name, kind, edges, numbers, categories, b"", counts + [0] * TAIL, **facts)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Any exchange: undecoded at times, fields of any type, absent at times."""
    if draw(st.integers(0, 9)) == 0:
        return Sample("boot.r.9", 0, 0, 2, -1, None)
    instances = draw(st.integers(0, 3))

    def side(names: str) -> dict[str, list[Any]]:
        chosen = draw(st.lists(st.sampled_from(names), unique=True))
        return {name: draw(st.lists(VALUES, min_size=instances, max_size=instances)) for name in chosen}

    return Sample("boot.r.1", 0, 200, 0, 5, Observation("test", instances, side("xyz"), side("pq")))


streams = st.lists(samples(), max_size=12)


def assert_adds(tally: Tally, stream: list[Sample], at: int) -> None:
    """Counts of parts add to those of the whole, and have the size that was promised."""
    whole = tally.count(Rows(stream))
    assert whole.dtype == np.int64
    assert whole.shape == (tally.size,)
    first, second = tally.count(Rows(stream[:at])), tally.count(Rows(stream[at:]))
    assert (first + second).tolist() == whole.tolist()

"""Observations for statistics tests: strategies and shorthands."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sidecar.records import Observation

NUMBERS = (
    st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.sampled_from([1e308, float("nan"), float("inf"), 10**400])
)
TEXTS = st.sampled_from(["a", "b", "c", "d" * 300, ""])
ANYTHING = NUMBERS | TEXTS | st.none() | st.booleans() | st.lists(st.integers(), max_size=3)


def one(inputs: dict[str, Any], outputs: dict[str, Any] | None = None) -> Observation:
    """An observation of one instance."""
    return Observation(
        "test",
        1,
        {name: [value] for name, value in inputs.items()},
        {k: [v] for k, v in (outputs or {}).items()},
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """Any observation of up to three instances, fields missing or of a wrong type at times."""
    instances = draw(st.integers(0, 3))

    def columns(names: list[str]) -> dict[str, list[Any]]:
        kinds = {"number": NUMBERS | st.none(), "text": TEXTS, "flag": st.booleans(), "mixed": ANYTHING}
        chosen = draw(st.lists(st.sampled_from(names), unique=True))
        return {
            name: draw(st.lists(kinds.get(name, ANYTHING), min_size=instances, max_size=instances))
            for name in chosen
        }

    inputs = columns(["number", "text", "flag", "mixed", "rare"])
    return Observation("test", instances, inputs, columns(["number", "text"]))

"""One field with its aspects, coded: what tallies, pairs, projections and summaries all read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.coding import Coded, FieldCoder
from sidecar.statistics.facts import BriefImage, BriefText, BriefVector, Facts
from sidecar.statistics.images import image_facts
from sidecar.statistics.rows import Rows
from sidecar.statistics.text import text_facts
from sidecar.statistics.timestamps import timestamp_facts
from sidecar.statistics.vectors import lengths, vector_facts

Times = npt.NDArray[np.int64]

_ALL = np.zeros(0, dtype=np.int64)


class Counted(NamedTuple):
    """A field's values, and those of each of its aspects, coded."""

    main: Coded
    aspects: list[Coded]
    places: npt.NDArray[np.int64]
    """Rows that the aspects are of."""


def facts_of(field: FieldBaseline, values: Sequence[Any], times_us: Times | None) -> Facts | None:
    """What is read out of values of a field of this kind; None where they are counted as they are."""
    if field.kind == "text":
        return text_facts(values)
    if field.kind == "image":
        return image_facts(values)
    if field.kind == "timestamp":
        return timestamp_facts(values, times_us, field.epoch)
    if field.kind == "vector":
        return vector_facts(values, field)
    if field.kind == "array":
        return Facts(lengths(values), _ALL, {})
    if field.kind == "categorical":
        return Facts([value.category if type(value) is BriefText else value for value in values], _ALL, {})
    return None


_STRANGE = object()
BRIEF_TYPES = frozenset({BriefText, BriefImage, BriefVector})


class FieldCounter:
    """Codes columns of one field. Not for several threads at once."""

    def __init__(self, field: FieldBaseline) -> None:
        self.field = field
        self._main = FieldCoder(field)
        self._aspects = [FieldCoder(aspect) for aspect in field.aspects]
        self._plain = field.kind in ("numeric", "boolean", "categorical", "empty")

    def counted(self, values: Sequence[Any], times_us: Times | None = None, brief: bool = False) -> Counted:
        """The column's codes; with `brief` there may be values that were reduced among them."""
        if self._plain and not brief:
            return Counted(self._main.code(values), [], _ALL)
        facts = facts_of(self.field, values, times_us)
        if facts is None:
            return Counted(self._main.code([_strange(value) for value in values]), [], _ALL)
        aspects = [
            coder.code_measured(
                facts.aspects.get(coder.field.aspect, np.zeros(0)), facts.unmeasured.get(coder.field.aspect)
            )
            for coder in self._aspects
        ]
        return Counted(self._main.code(facts.main), aspects, facts.places)


def coded(rows: Rows, path: str, counter: FieldCounter) -> Counted:
    """The column of a path as slots; made once per batch, whoever asks, since a path has one baseline."""
    # Only what is read out of a moment needs the time of its row.
    timed = counter.field.kind == "timestamp"
    return rows.derived(
        ("coded", path), lambda: counter.counted(rows.column(path), rows.times_us if timed else None)
    )


def _strange(value: Any) -> Any:
    return _STRANGE if type(value) in BRIEF_TYPES else value

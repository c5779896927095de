"""Where a value stands in a row: `inputs.income`, `outputs.proba[1]`, `$.predict[0]`.

    path  = side step* | "$" step*            a path from "$" begins at the outputs unless it names a side
    side  = "inputs" | "outputs" | "exchange"
    step  = "." name | "[" integer "]" | "['" name "']" | '["' name '"]'
    name  = letters, digits, "_" and "-" of any script; anything else in quotes

Steps of a name may be a nested object's: decoders write those as one field with
a dotted name. An index that is not part of a field's name looks into an array;
`[0]` of a single value is that value, so a path reads the same whether a
server wraps its one answer in an array or not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import as_float
from sidecar.statistics.rows import Rows

SIDES = ("inputs", "outputs", "exchange")
MAX_STEPS = 64
_HEAD = re.compile(r"(?:\$|inputs|outputs|exchange)(?![\w-])")
_STEP = re.compile(
    r"""\.(?P<name>[\w-]+) | \[\s*(?P<index>-?[0-9]{1,9})\s*\] """
    r"""| \[\s*(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)")\s*\]""",
    re.VERBOSE,
)
EXAMPLE = "for example inputs.income, outputs.proba[1] or $.predict[0]"


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A place in a row."""

    side: str
    steps: tuple[str | int, ...]

    def __str__(self) -> str:
        return self.side + "".join(map(_shown, self.steps))

    def candidates(self) -> list[tuple[str, tuple[int, ...]]]:
        """Columns that may hold it, longest name first, each with the indexes into its values."""
        found: list[tuple[str, tuple[int, ...]]] = []
        indexes: tuple[int, ...] = ()
        for end in range(len(self.steps), 0, -1):
            found.append((f"{self.side}.{_name(self.steps[:end])}", indexes))
            last = self.steps[end - 1]
            if not isinstance(last, int):
                break
            indexes = (last, *indexes)
        return [pair for pair in found if not pair[0].endswith(".")]

    def values(self, rows: Rows) -> list[Any]:
        """The value in each row, None where there is none."""
        return rows.derived(self, lambda: self._values(rows))

    def _values(self, rows: Rows) -> list[Any]:
        values: list[Any] | None = None
        for name, indexes in self.candidates():
            if values is not None and None not in values:
                break
            column = rows.column(name)
            found = [_inside(value, indexes) for value in column] if indexes else column
            if values is None:
                values = found
            else:
                pairs = zip(values, found, strict=True)
                values = [other if value is None else value for value, other in pairs]
        return values if values is not None else [None] * rows.count

    def numbers(self, rows: Rows) -> npt.NDArray[np.float64]:
        """The number in each row, NaN where there is none, or none that is finite."""
        return rows.derived((self, "numbers"), lambda: numbers_of(self.values(rows)))


def numbers_of(values: list[Any]) -> npt.NDArray[np.float64]:
    """Values as doubles; NaN for what is no finite number (booleans are none)."""
    if set(map(type, values)) <= {int, float}:
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            numbers = np.array([as_float(value) for value in values], dtype=np.float64)
    else:
        plain = [as_float(value) if type(value) in (int, float) else np.nan for value in values]
        numbers = np.array(plain, dtype=np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def parse_path(text: str) -> FieldPath:
    """The path that is the whole of `text`. Raises ValueError with the place and an example."""
    path, end = scan_path(text, 0)
    if end != len(text):
        raise ValueError(f"path {text!r}: cannot be read from character {end + 1} on: {EXAMPLE}")
    return path


def scan_path(text: str, start: int) -> tuple[FieldPath, int]:
    """A path that begins at `start`, and where it ends. Raises ValueError where none begins."""
    head = _HEAD.match(text, start)
    if head is None:
        raise ValueError(f"{text!r}: no path at character {start + 1}: {EXAMPLE}")
    at = head.end()
    steps: list[str | int] = []
    while (step := _STEP.match(text, at)) is not None:
        at = step.end()
        if step["index"] is not None:
            steps.append(int(step["index"]))
        else:
            steps.append(step["name"] or step["single"] or step["double"] or "")
    if at < len(text) and text[at] in ".[":
        raise ValueError(
            f"{text!r}: no field's name or index at character {at + 1}: names with other characters go "
            f"in quotes, outputs['a b']; filters, slices and wildcards are not taken"
        )
    side = head[0]
    if side == "$":
        side = "outputs"
        if len(steps) > 1 and steps[0] in SIDES:
            side = str(steps.pop(0))
    if not steps or "" in steps or len(steps) > MAX_STEPS:
        raise ValueError(f"{text!r}: no field is named at character {start + 1}: {EXAMPLE}")
    return FieldPath(side, tuple(steps)), at


def _name(steps: tuple[str | int, ...]) -> str:
    return "".join(map(_plain, steps)).removeprefix(".")


def _plain(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"


def _shown(step: str | int) -> str:
    if isinstance(step, str) and not re.fullmatch(r"[\w-]+", step):
        quote = '"' if "'" in step else "'"
        return f"[{quote}{step}{quote}]"
    return _plain(step)


def _inside(value: Any, indexes: tuple[int, ...]) -> Any:
    for index in indexes:
        if type(value) is list:
            if not -len(value) <= index < len(value):
                return None
            value = value[index]
        elif index not in (0, -1):
            return None
    return value

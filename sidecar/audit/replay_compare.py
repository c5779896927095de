"""Two answers compared: the same bytes, the same JSON, or the paths where they differ. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

MOST_DIFFERENCES: Final = 100
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two JSON documents differ; a value that is not there is `absent`."""

    path: str
    """JSONPath such as `$.outputs[0].data[3]`."""
    recorded: Any
    replayed: Any
    absent: str | None = None
    """`recorded` or `replayed`: on which side there is nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the answer to the replayed request compares with the recorded one."""

    recorded_status: int | None
    replayed_status: int
    same_bytes: bool
    same_json: bool | None
    """None when one of the bodies is no JSON."""
    differences: tuple[Difference, ...] = ()
    """At most MOST_DIFFERENCES."""

    @property
    def same(self) -> bool:
        """Whether status and content are the same, within the tolerance."""
        return self.recorded_status == self.replayed_status and (self.same_bytes or self.same_json is True)


def compare(
    recorded: tuple[int | None, bytes],
    replayed: tuple[int, bytes],
    tolerance: float = 0.0,
    ignored: Sequence[str] = (),
) -> Verdict:
    """Compare status and body, the bodies without content coding.

    Two numbers are the same when they differ by no more than `tolerance` times
    the larger of 1 and their magnitudes. Differences at or below a path in
    `ignored` do not count.
    """
    same_bytes = recorded[1] == replayed[1]
    if same_bytes:
        return Verdict(recorded[0], replayed[0], True, None)
    try:
        before, after = _parsed(recorded[1]), _parsed(replayed[1])
    except (ValueError, RecursionError):
        return Verdict(recorded[0], replayed[0], False, None)
    found = (each for each in _differences("$", before, after, tolerance) if not _ignored(each.path, ignored))
    differences = tuple(islice(found, MOST_DIFFERENCES))
    return Verdict(recorded[0], replayed[0], False, not differences, differences)


def _parsed(body: bytes) -> Any:
    """Raises ValueError for what is no JSON; NaN and lone surrogates, which servers do send, are taken."""
    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body)


def _differences(path: str, before: Any, after: Any, tolerance: float) -> Iterator[Difference]:
    """In document order. A stack of its own: documents may be nested deeper than calls can be."""
    waiting: list[tuple[str, Any, Any]] = [(path, before, after)]
    while waiting:
        place, old, new = waiting.pop()
        if old is _ABSENT:
            yield Difference(place, None, new, "recorded")
        elif new is _ABSENT:
            yield Difference(place, old, None, "replayed")
        elif isinstance(old, dict) and isinstance(new, dict):
            names = (*old, *(each for each in new if each not in old))
            waiting += [
                (_member(place, name), old.get(name, _ABSENT), new.get(name, _ABSENT))
                for name in reversed(names)
            ]
        elif isinstance(old, list) and isinstance(new, list):
            waiting += [
                (
                    f"{place}[{index}]",
                    old[index] if index < len(old) else _ABSENT,
                    new[index] if index < len(new) else _ABSENT,
                )
                for index in reversed(range(max(len(old), len(new))))
            ]
        elif not _equal(old, new, tolerance):
            yield Difference(place, old, new)


def _equal(before: Any, after: Any, tolerance: float) -> bool:
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (before, after))
    if not numbers:
        return type(before) is type(after) and bool(before == after)
    if before == after or (before != before and after != after):
        # What differs from itself is NaN.
        return True
    try:
        return bool(abs(before - after) <= tolerance * max(1.0, abs(before), abs(after)))
    except OverflowError:
        # An integer beyond the floats beside a float.
        return False


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{orjson.dumps(name).decode()}]"


def _ignored(path: str, ignored: Sequence[str]) -> bool:
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in ignored)

"""Which container answered when, from what a cluster tells alone.

For where the model itself cannot be seen. Times are told in seconds, cut off:
in the second in which one container is said to have started, the one before may
still have answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.identity.kubernetes import SECOND_US, parse_image_id
from sidecar.records import Container


@dataclass(frozen=True, slots=True)
class Span:
    """From `from_us` until the next span begins this container answered; with None, one of two."""

    from_us: int
    container: Container | None


def spans(containers: Iterable[Container]) -> list[Span]:
    """The containers' spans in order; the first reaches back for ever."""
    found: list[Span] = []
    before: Container | None = None
    for each in containers:
        if before is None:
            found.append(Span(0, each))
        elif _apart(before, each):
            found.append(Span(each.started_us, each))
        else:
            found += [Span(each.started_us, None), Span(each.started_us + SECOND_US, each)]
        before = each
    return found


def _apart(one: Container, next_one: Container) -> bool:
    """Whether it is known, or does not matter, which of the two answered as the second one started."""
    ended = one.finished_us is not None and one.finished_us + SECOND_US <= next_one.started_us
    return (
        ended or parse_image_id(one.image_id).digest == parse_image_id(next_one.image_id).digest is not None
    )

"""Which pods should have a log."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sidecar.site.bodies import Enrolment, read
from sidecar.site.entry import Entry


def enrolled(entries: Iterable[Entry], trusted: Collection[str] | None = None) -> dict[str, Enrolment]:
    """The newest enrolment of each pod, by origin prefix; of these authors alone when they are given.

    A retired pod is still among them: it should have a log from before `retired_us`.
    """
    found: dict[str, Enrolment] = {}
    for entry in entries:
        enrolment = read(entry, Enrolment)
        if enrolment is not None and (trusted is None or entry.key in trusted):
            found[enrolment.prefix] = enrolment
    return found

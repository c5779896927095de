"""Which container each epoch of a route was: the recorder's numbers joined with what a cluster tells.

The recorder gives every exchange the number of the model that answered it, and
says after when that model came. The cluster says, later, when each container
started. An exchange that was answered by a model of which nothing is told yet
waits, unread in the journal, for a bounded time; after that it is sealed as
`unknown`, and what is learnt later is sealed in an identity leaf of its own.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from sidecar.clock import Clock
from sidecar.identity.facts import Facts
from sidecar.identity.kubernetes import SECOND_US, answering, over, parse_image_id
from sidecar.identity.spans import Span, spans
from sidecar.journal.reader import Segment
from sidecar.records import Container, Epoch, Exchange, Outcome
from sidecar.shipping.knowledge import Knowledge

log = logging.getLogger("sidecar.identity")

SOURCE = "kubernetes"
_UNANSWERED = frozenset((Outcome.UPSTREAM_ERROR, Outcome.REFUSED, Outcome.TIMEOUT))


class Identities:
    """Of one route of the live boot. All times of exchanges and containers are one node's."""

    def __init__(
        self,
        facts: Facts,
        boot: str,
        route: str,
        clock: Clock,
        wait_s: float = 30.0,
        earliest_us: int = 0,
        blind: Callable[[], bool] = lambda: False,
    ) -> None:
        """No container that started before `earliest_us` can have answered (the node has started since).
        `blind`: whether the recorder cannot see that another model has come."""
        self._patient = True
        self._facts, self._boot, self._route, self._clock = facts, boot, route, clock
        self._wait_ns = int(wait_s * 1e9)
        self._earliest_us = earliest_us
        self._blind = blind
        self._passed: set[int] = set()
        """Numbers whose exchanges need no more looking at."""
        self._answered_us: dict[int, int] = {}
        """When a model of that number is known to have answered."""
        self._deadlines_ns: dict[int, int] = {}
        self._told: dict[int, Container] = {}
        """By number the container that it was found to be: known at once when the journal is read again."""
        self._changed: set[int] = set()
        """Epochs that are another thing since `settle` was last asked."""
        self._held: tuple[int, int] | None = None
        """Deadline and version of the facts, when a segment was last held."""
        self._seen_version = -1
        self._open = True
        """Whether it is not known what the latest epoch is."""
        self._spans: list[Span] = []
        self._numbers: list[int] = []

    def hurry(self) -> None:
        """Look for news a last time; from now on nothing may wait."""
        self._facts.look()
        self._patient = False

    def holds(self) -> bool:
        """Whether the segment that was not admitted would not be admitted now either."""
        if self._held is None or not self._patient:
            return False
        deadline_ns, version = self._held
        return version == self._facts.version and self._clock.monotonic_ns() < deadline_ns

    def admits(self, segment: Segment, known: Knowledge) -> bool:
        """Whether a segment may be read: the models that answered in it are known, or have waited enough."""
        self._held = None
        if segment.boot != self._boot:
            return True
        if len(self._spans) > 1:
            self._renumber(segment)
        passed = -1
        for entry in segment.entries:
            if type(entry) is Exchange:
                number = entry.epoch
                if number != passed and entry.route == self._route:
                    if number in self._passed:
                        passed = number
                    elif not self._admits(number, entry, known):
                        return False
            elif type(entry) is Epoch and (self._boot, entry.route, entry.number) not in known.epochs:
                container = self._told.get(entry.number) if entry.route == self._route else None
                epoch = entry if container is None else _identified(entry, container)
                known.epochs[self._boot, entry.route, entry.number] = epoch
        return True

    def _admits(self, number: int, exchange: Exchange, known: Knowledge) -> bool:
        if exchange.outcome in _UNANSWERED or exchange.first_byte_ns < 0:
            return True
        self._answered_us.setdefault(number, _answered_us(exchange))
        self._changed |= self._settle(known, 0, anew=True)
        if self._changed:
            # What was read may be filed under what is no more true: that comes first.
            return False
        epoch = known.epochs.get((self._boot, self._route, number))
        now_ns = self._clock.monotonic_ns()
        if epoch is None or (epoch.container is None and epoch.image_digest is None):
            age_us = self._clock.wall_us() - exchange.t_request_us
            left_ns = min(max(self._wait_ns - age_us * 1000, 0), self._wait_ns)
            deadline_ns = self._deadlines_ns.setdefault(number, now_ns + left_ns)
            if self._patient and now_ns < deadline_ns:
                self._held = deadline_ns, self._facts.version
                return False
            log.warning(
                "route %s: nothing was told in time of the model that answers since %.3f: its records are "
                "sealed with identity unknown until it is",
                self._route,
                self._answered_us[number] / 1e6,
            )
        self._passed.add(number)
        return True

    def settle(self, known: Knowledge, read_to_us: int = 0) -> set[int]:
        """Put what is told into the route's epochs; the numbers of those that are another thing now.

        `read_to_us`: the journal was read to its end then. An epoch that has its leaf gets one more.
        """
        changed, self._changed = self._changed | self._settle(known, read_to_us), set()
        return changed

    @property
    def news(self) -> bool:
        """Whether `settle` has something to say before anything more may be read."""
        return bool(self._changed)

    def begin(self, known: Knowledge) -> None:
        """Put what is told into what was loaded from the last commit; nothing was read since."""
        self._settle(known, 0, anew=True)
        self._changed.clear()

    def _settle(self, known: Knowledge, read_to_us: int, anew: bool = False) -> set[int]:
        if self._blind():
            return self._settle_spans(known, anew)
        if self._seen_version == self._facts.version and not anew and not self._open:
            return set()
        self._seen_version = self._facts.version
        containers = self._facts.containers
        mine = {
            number: epoch
            for (boot, route, number), epoch in known.epochs.items()
            if boot == self._boot and route == self._route
        }
        latest = max(mine, default=0)
        changed: set[int] = set()
        claimed = {number: each.container.container_id for number, each in mine.items() if each.container}
        # Twice: what a later epoch was found to be tells what an earlier one was not.
        for number in sorted(mine) * 2:
            epoch = mine[number]
            answered_us = self._answered_us.get(number, 0)
            if not answered_us and number == latest:
                # No other model had come by then, or its epoch would have been read.
                answered_us = read_to_us - SECOND_US
            others = [claim for holder, claim in claimed.items() if holder != number]
            since_us = self._earliest_us if number == 0 else epoch.since_us
            found = answering(containers, since_us, answered_us, others) or self._told.get(number)
            # Only an answer tells that one had ended: what was read to its end may be about to be read again.
            seen_us = self._answered_us.get(number, 0)
            if found is not None and over(containers, found.container_id, seen_us):
                # It had ended without ever listening when another answered, of which nothing is told yet.
                found = None
                claimed.pop(number, None)
                self._told.pop(number, None)
            held = epoch.container.container_id if epoch.container is not None else None
            if found is None and (held or epoch.image_digest) and over(containers, held, seen_us):
                # What the spec pins is that of the first container, which is over if any is.
                self._passed.discard(number)
                unclaimed = replace(epoch, image_digest=None, source="unknown", container=None)
                mine[number] = self._put(known, unclaimed)
                changed.add(number)
            if found is not None:
                claimed[number] = found.container_id
            # Which container it was may be known before its image is.
            if found is not None and found.image_id and not _same(found, epoch.container):
                mine[number] = self._tell(known, epoch, found)
                changed.add(number)
        self._open = latest in mine and mine[latest].container is None
        return changed

    def counts(self, known: Knowledge) -> dict[str, int]:
        """For metrics: what is known, waits, and was told."""
        numbers = [
            number for boot, route, number in known.epochs if (boot, route) == (self._boot, self._route)
        ]
        latest = known.epochs.get((self._boot, self._route, max(numbers, default=0)))
        return {
            "known": int(latest is not None and latest.image_digest is not None),
            "waiting": int(self._held is not None),
            "reachable": int(self._facts.reachable),
            "epochs": max(numbers, default=0) + 1,
            "news": self._facts.news,
            "unreadable": self._facts.unreadable,
        }

    def _tell(self, known: Knowledge, epoch: Epoch, container: Container) -> Epoch:
        identified = self._put(known, _identified(epoch, container))
        before = self._told.get(epoch.number)
        self._told[epoch.number] = container
        if _same(container, before):
            return identified
        log.info(
            "route %s: epoch %d is container %s of image %s, started %d s after 1970",
            self._route,
            epoch.number,
            container.container_id,
            container.image_id,
            container.started_us // SECOND_US,
        )
        return identified

    def _put(self, known: Knowledge, epoch: Epoch) -> Epoch:
        """What is known of an epoch now; if it has its leaf, it gets another."""
        known.epochs[self._boot, self._route, epoch.number] = epoch
        tree = known.trees.get(log_name := f"{self._boot}.{self._route}")
        if tree is not None and epoch.number in tree.epochs:
            due = known.due.setdefault(log_name, [])
            due += [epoch.number] if epoch.number not in due else []
        return epoch

    # Where the recorder cannot see a change, and every exchange has the first epoch's number

    def _settle_spans(self, known: Knowledge, anew: bool) -> set[int]:
        if self._seen_version == self._facts.version and not anew:
            return set()
        self._seen_version = self._facts.version
        self._spans = spans(each for each in self._facts.containers if each.started_us >= self._earliest_us)
        before, self._numbers = self._numbers, []
        changed: set[int] = set()
        for place, span in enumerate(self._spans):
            number = self._number(known, place, span)
            self._numbers.append(number)
            epoch = known.epochs[self._boot, self._route, number]
            if span.container and span.container.image_id and not _same(span.container, epoch.container):
                self._tell(known, epoch, span.container)
                changed.add(number)
        self._passed.intersection_update(self._numbers)
        # Of a second that may be either's nobody will say more.
        unclear = [n for n, span in zip(self._numbers, self._spans, strict=True) if span.container is None]
        self._passed.update(unclear)
        return changed | set(before) if before != self._numbers else changed

    def _number(self, known: Knowledge, place: int, span: Span) -> int:
        """The span's number: the one it had, or the next."""
        mine = {
            number: epoch
            for (boot, route, number), epoch in known.epochs.items()
            if boot == self._boot and route == self._route
        }
        first = mine.get(0) or Epoch(self._route, 0, "unknown")
        known.epochs.setdefault((self._boot, self._route, 0), first)
        if place == 0:
            return 0
        for number, epoch in mine.items():
            if epoch.container is None:
                same = number > 0 and epoch.since_us == span.from_us
            else:
                same = (
                    span.container is not None and epoch.container.container_id == span.container.container_id
                )
            if same:
                return number
        number = max(mine, default=0) + 1
        known.epochs[self._boot, self._route, number] = replace(
            first,
            number=number,
            image_digest=None,
            artifact_digest=None,
            source="unknown",
            since_us=span.from_us,
            container=None,
        )
        return number

    def _renumber(self, segment: Segment) -> None:
        starts = [span.from_us for span in self._spans]
        for entry in segment.entries:
            if type(entry) is Exchange and entry.route == self._route:
                entry.epoch = self._numbers[max(bisect_right(starts, _answered_us(entry)) - 1, 0)]


def _answered_us(exchange: Exchange) -> int:
    return exchange.t_request_us + max(exchange.first_byte_ns, 0) // 1000


def _same(found: Container, known: Container | None) -> bool:
    return known is not None and (found.container_id, found.image_id) == (known.container_id, known.image_id)


def _identified(epoch: Epoch, container: Container) -> Epoch:
    digest = parse_image_id(container.image_id).digest
    if digest is None and epoch.image_digest is not None:
        # What the spec pinned is still true of the first container.
        return replace(epoch, container=container)
    return replace(
        epoch, image_digest=digest, source=SOURCE, since_us=container.started_us, container=container
    )

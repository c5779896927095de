"""Outboxes emptied: one notice at a time to each receiver, none of them waiting for another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.alerting.notice import Notice
from sidecar.alerting.outbox import Outbox, Rate
from sidecar.alerting.post import Answer, post, session
from sidecar.alerting.target import Kind, Target
from sidecar.clock import Clock

if TYPE_CHECKING:
    from aiohttp import ClientSession

log = logging.getLogger(__name__)

OUTCOMES = ("sent", "failed", "refused", "dropped")


@dataclass(slots=True)
class Counted:
    """What became of the notices for one receiver."""

    sent: int = 0
    failed: int = 0
    refused: int = 0
    dropped: int = 0
    waiting: int = 0
    error: str | None = None
    """Why the last try failed; None when it did not."""


class Courier:
    """Tells every receiver of every notice."""

    def __init__(
        self,
        targets: Sequence[Target],
        rate: Rate,
        clock: Clock,
        secret: bytes | None = None,
        done: Callable[[Notice], None] = lambda notice: None,
        open_session: Callable[[], ClientSession] = session,
    ) -> None:
        """`done` is called for each notice that a receiver took or will never take."""
        self.outboxes = {target: Outbox(target.kind, rate) for target in targets}
        self._clock = clock
        self._secret = secret
        self._done = done
        self._open_session = open_session
        self._changed = asyncio.Event()

    def offer(self, notice: Notice, once: bool = True) -> None:
        """Puts a notice into every outbox that does not know it.

        Without `once` only into those of receivers that tell repetitions apart by themselves.
        """
        now_s = self._now_s()
        for outbox in self.outboxes.values():
            if once or outbox.kind is Kind.ALERTMANAGER:
                outbox.offer(notice, now_s)
        self._changed.set()

    def counted(self) -> dict[str, Counted]:
        """By receiver as it is shown: those that differ in what is hidden are one."""
        found: dict[str, Counted] = {}
        for target, outbox in self.outboxes.items():
            own = found.setdefault(target.shown, Counted())
            for name in OUTCOMES:
                setattr(own, name, getattr(own, name) + getattr(outbox.counts, name))
            own.waiting += len(outbox.waiting)
            own.error = outbox.error or own.error
        return found

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not any(outbox.waiting for outbox in self.outboxes.values())

    async def run(self) -> None:
        """Sends for ever; to be cancelled."""
        async with self._open_session() as client:
            while True:
                self._changed.clear()
                wait_s = await self._round(client)
                try:
                    await asyncio.wait_for(self._changed.wait(), wait_s)
                except TimeoutError:
                    continue

    async def drain(self, within_s: float) -> bool:
        """Sends what waits, for so long at most; whether nothing is left."""
        deadline_s = self._now_s() + within_s
        async with self._open_session() as client:
            while not self.idle and self._now_s() < deadline_s:
                wait_s = await self._round(client)
                if wait_s is not None:
                    await asyncio.sleep(max(0.0, min(wait_s, deadline_s - self._now_s())))
        return self.idle

    async def _round(self, client: ClientSession) -> float | None:
        """One try at every receiver that has something due; the seconds until another may be."""
        await asyncio.gather(*(self._one(client, target) for target in self.outboxes))
        now_s = self._now_s()
        waits = [max(0.0, each.due_s(now_s) - now_s) for each in self.outboxes.values() if each.waiting]
        return min(waits, default=None)

    async def _one(self, client: ClientSession, target: Target) -> None:
        outbox = self.outboxes[target]
        notice = outbox.next(self._now_s())
        if notice is None:
            return
        answer: Answer = await post(client, target, notice, self._clock.wall_us(), self._secret)
        now_s = self._now_s()
        if answer.taken:
            outbox.sent(notice, now_s)
            self._done(notice)
        elif answer.again:
            first = not outbox.error
            wait_s = outbox.failed(now_s, answer.words, answer.retry_after_s)
            if first:
                log.warning("alerts to %s: %s; tried again in %.0f s", target.shown, answer.words, wait_s)
        else:
            outbox.refused(notice, now_s, answer.words)
            self._done(notice)
            log.error("alert %s to %s given up: %s", notice.key, target.shown, answer.words)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

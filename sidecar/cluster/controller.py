"""The controller's loops over the pods it follows: annotations as they change, coverage from time to time.

Any number of controllers may run at once: what they write is the same, and
writing it twice changes nothing. The Lease only spares the API the double work.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.cluster.annotator import Annotator
from sidecar.cluster.api import Object
from sidecar.cluster.asking import NOT_ASKED, Fetch, ask_all
from sidecar.cluster.coverage import Asked, Reason, Row, row
from sidecar.cluster.coverage_metrics import CoverageCollector
from sidecar.cluster.events import Events, Notice
from sidecar.cluster.reflector import Key
from sidecar.cluster.work_queue import WorkQueue
from sidecar.errors import ClusterError

log = logging.getLogger("sidecar.controller")

WORKERS = 4
AT_ONCE = 64
EACH_S = 4.0
"""Sidecars are asked so many at once, and each is given this long."""
NOT_INJECTED = "SidecarNotInjected"
NOT_COVERING = "SidecarNotCovering"
SETTING_IGNORED = "SidecarSettingIgnored"
_ASKED_IN_VAIN = frozenset({Reason.NOT_INJECTABLE, Reason.NOT_INJECTED})
_MOST_NOTICES = 8
"""Of ignored settings, per object."""


class Judge(Protocol):
    """What labels, settings and Services make of a pod."""

    def asked(self, pod: Mapping[str, object]) -> Asked | None:
        """None for what is no model pod."""

    def ignored(self, pod: Mapping[str, object]) -> Sequence[str]:
        """The pod's settings that injection does not heed, a line each."""

    def ignored_defaults(self) -> Iterable[Notice]:
        """The same of ConfigMaps."""


class Metrics:
    """What the controller tells Prometheus of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leader = self._gauge("leader", "1 for the replica that leads")
        self.pods = self._gauge("pods", "Model pods that it follows")
        self.waiting = self._gauge("waiting_pods", "Pods whose annotation is to be looked at")
        self.annotations = self._counter(
            "annotations", "Writes of the digest's annotation, by what came of them", "outcome"
        )
        self.events = self._counter("events", "Events, by reason and what came of them", "reason", "outcome")
        self.api_failures = self._gauge("api_failures", "Lists and watches of the API that failed")
        self.look_seconds = self._gauge("look_seconds", "How long the last look at all sidecars took")

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"sidecar_controller_{name}", meaning, registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"sidecar_controller_{name}", meaning, labels, registry=self.registry)


class Controller:
    """Acts while `leads()`; otherwise only follows."""

    def __init__(
        self,
        pods: Mapping[Key, Object],
        judge: Judge,
        annotator: Annotator,
        events: Events,
        fetch: Fetch,
        sidecar: str,
        leads: Callable[[], bool],
        metrics: Metrics,
        every_s: float = 60.0,
    ) -> None:
        """`pods` is kept by another, those that are no models without their spec.

        `sidecar` is the name of the sidecar's container.
        """
        self._pods, self._judge, self._annotator, self._events = pods, judge, annotator, events
        self._fetch, self._sidecar, self._leads, self._metrics = fetch, sidecar, leads, metrics
        self._every_s = every_s
        self._queue: WorkQueue[Key] = WorkQueue()
        self._rows: tuple[Sequence[Row], float] | None = None
        self._uncovered: set[str] = set()
        """Uids of pods whose sidecar did not cover at the last look."""
        metrics.leader.set_function(leads)
        metrics.registry.register(CoverageCollector(lambda: self._rows if leads() else None))

    def changed(self, kind: str, pod: Object) -> None:
        """A pod came, changed or went."""
        metadata = pod["metadata"]
        key = (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
        if kind == "DELETED":
            self._queue.forget(key)
        elif self._leads() and "spec" in pod:
            self._queue.ask(key)
        self._metrics.waiting.set(len(self._queue))

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._annotate())
            tasks.create_task(self._follow_lead())

    async def _annotate(self) -> None:
        while True:
            key = await self._queue.take()
            self._metrics.waiting.set(len(self._queue))
            pod = self._pods.get(key)
            try:
                if pod is not None and self._leads():
                    await self._annotator.write(pod)
                    await self._tell_settings(pod)
            except ClusterError as error:
                self._metrics.annotations.labels("failed").inc()
                wait_s = self._queue.failed(key)
                log.warning("%s/%s: %s; again in %.1f s", *key, error, wait_s)
            else:
                self._queue.done(key)

    async def _follow_lead(self) -> None:
        """As the leader look at everything from time to time; a new one begins with that."""
        due_s = 0.0
        while True:
            leads = self._leads()
            if not leads:
                due_s, self._rows = 0.0, None
                self._uncovered.clear()
                self._queue.clear()
            elif time.monotonic() >= due_s:
                started_s = time.monotonic()
                for key, pod in self._pods.items():
                    if "spec" in pod:
                        # What another changed since is found again.
                        self._queue.ask(key)
                await self._look()
                self._metrics.look_seconds.set(time.monotonic() - started_s)
                due_s = started_s + self._every_s
            await asyncio.sleep(0.5)

    async def _look(self) -> None:
        """Ask every sidecar, and tell of those that do not cover."""
        every = [pod for pod in self._pods.values() if "spec" in pod]
        judged = [(pod, asked) for pod in every if (asked := self._judge.asked(pod)) is not None]
        self._metrics.pods.set(len(judged))
        reachable = [pod for pod, asked in judged if asked.mode is not None]
        # In another order each time: where many hang, the same ones would never be asked.
        random.shuffle(reachable)
        said = await ask_all(reachable, self._fetch, AT_ONCE, EACH_S)
        answers = {_uid(pod): answer for pod, answer in zip(reachable, said, strict=True)}
        rows, uncovered = [], set()
        for pod, asked in judged:
            made = row(pod, self._sidecar, asked, answers.get(_uid(pod)))
            if made is None:
                continue
            rows.append(made)
            if made.reason is not None and asked.mode is not None and made.detail != NOT_ASKED:
                uncovered.add(_uid(pod))
            await self._tell(pod, made)
        self._uncovered = uncovered
        self._rows = (rows, time.time()) if self._leads() else None
        for notice in self._judge.ignored_defaults():
            await self._tell_one(notice)

    async def _tell(self, pod: Object, made: Row) -> None:
        if made.reason in _ASKED_IN_VAIN:
            await self._tell_one(_about(pod, NOT_INJECTED, f"not recorded: {made.detail}", "Injecting"))
        elif made.reason is not None and made.detail != NOT_ASKED and _uid(pod) in self._uncovered:
            # At the second look in a row: a sidecar that starts, or one lost answer, is no news.
            note = f"not recorded ({made.reason}): {made.detail}"
            # The detail may be other words each time; the reason says whether it is news.
            await self._tell_one(_about(pod, NOT_COVERING, note, "Recording", str(made.reason)))

    async def _tell_settings(self, pod: Object) -> None:
        for line in list(self._judge.ignored(pod))[:_MOST_NOTICES]:
            await self._tell_one(_about(pod, SETTING_IGNORED, line, "Injecting"))

    async def _tell_one(self, notice: Notice) -> None:
        if self._leads():
            await self._events.tell(notice)


def _uid(pod: Object) -> str:
    metadata = pod["metadata"]
    return str(metadata.get("uid") or f"{metadata.get('namespace')}/{metadata.get('name')}")


def _about(pod: Object, reason: str, note: str, action: str, topic: str = "") -> Notice:
    metadata = pod["metadata"]
    uid = str(metadata.get("uid") or "")
    return Notice(reason, note, action, "Pod", metadata["namespace"], metadata["name"], uid, topic)

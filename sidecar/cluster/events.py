"""Events (events.k8s.io/v1) about pods: each there once while it holds, never a flood.

The name of an Event is made of what it says, so that a second controller, or
the same one after a restart, finds it there instead of telling it again. While
something holds its Event is made again when the API server has forgotten it;
counting up a series instead would take the right to change Events.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sidecar.cluster.api import Api, Object
from sidecar.cluster.pace import Pace
from sidecar.errors import ClusterError

log = logging.getLogger("sidecar.events")

CONTROLLER = "sidecar.dev/controller"
REPEAT_S = 1800.0
"""The API server forgets Events after an hour."""
MOST_NOTE_BYTES = 1024
_MOST_INSTANCE = 128
_MOST_TOLD = 20_000


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told about an object."""

    reason: str
    """As in UpperCamelCase, for machines."""
    note: str
    action: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    topic: str = ""
    """What makes it another Event; the note, if that never varies while it is the same."""

    @property
    def event_name(self) -> str:
        said = "\0".join((self.kind, self.uid, self.reason, self.topic or self.note))
        # A pod's name and this have room in the 253 characters of an Event's.
        return f"{self.name[:200].rstrip('.-')}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def event(notice: Notice, instance: str, wall_s: float) -> Object:
    """The Event as the API server takes it."""
    regarding = {"apiVersion": "v1", "kind": notice.kind, "namespace": notice.namespace, "name": notice.name}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": notice.event_name, "namespace": notice.namespace},
        "eventTime": _micro_time(wall_s),
        "type": "Warning",
        "reason": notice.reason,
        "action": notice.action,
        "note": _cut(" ".join(notice.note.split()), MOST_NOTE_BYTES),
        "regarding": regarding | ({"uid": notice.uid} if notice.uid else {}),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_MOST_INSTANCE] or "?",
    }


def _micro_time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cut(text: str, most_bytes: int) -> str:
    data = text.encode()
    if len(data) <= most_bytes:
        return text
    return data[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"


class Events:
    """Tells notices. What cannot be told is counted, and told when it comes again."""

    def __init__(
        self,
        api: Api,
        instance: str,
        count: Callable[[str, str], None],
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`count` is told the reason and what came of it: told, known, gone, throttled or failed."""
        self._api, self._instance, self._count = api, instance, count
        self._pace = pace or Pace(5, 50)
        self._monotonic, self._wall = monotonic, wall
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def tell(self, notice: Notice) -> None:
        """Never raises for what the API refuses: nobody waits for an Event."""
        key = (notice.namespace, notice.event_name)
        now_s = self._monotonic()
        if now_s - self._told.get(key, -REPEAT_S) < REPEAT_S:
            return
        if not self._pace.take():
            self._count(notice.reason, "throttled")
            return
        try:
            outcome = await self._send(notice)
        except ClusterError as error:
            log.warning("event %s: %s", notice.reason, error)
            self._count(notice.reason, "failed")
            return
        self._told[key] = now_s
        self._told.move_to_end(key)
        while len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        self._count(notice.reason, outcome)
        if outcome == "told":
            log.warning(
                "%s: %s",
                notice.reason,
                notice.note,
                extra={"kind": notice.kind, "namespace": notice.namespace, "name_of": notice.name},
            )

    async def _send(self, notice: Notice) -> str:
        collection = f"/apis/events.k8s.io/v1/namespaces/{notice.namespace}/events"
        try:
            await self._api.request("POST", collection, event(notice, self._instance, self._wall()))
        except ClusterError as error:
            if error.status == 409:
                return "known"
            if error.status == 404 or (error.status == 403 and "terminat" in str(error)):
                return "gone"
            raise
        return "told"

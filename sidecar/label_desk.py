"""Glue for labels that are posted to a sidecar: taken, kept durably, shipped with a thread of their own.

A store that refuses them holds up no record, and records hold up no labels.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import orjson

from sidecar.backoff import Backoff
from sidecar.config import Settings
from sidecar.errors import JournalFull, StoreError
from sidecar.privacy.master import read_secret
from sidecar.privacy.replacement import keyed_hash
from sidecar.shipping.label_queue import LabelQueue
from sidecar.shipping.labels_file import LabelRow, encode_labels
from sidecar.shipping.sink import Sink
from sidecar.statistics.label_event import LabelEvent, event_of, parse_events

log = logging.getLogger(__name__)

FOLDER = "labels"
OBJECT_EVENTS = 20_000
"""In one object of the store."""
HashKey = Callable[[str], str]
"""What the store holds in a business key's place."""


class LabelDesk:
    """Takes labels for one journal folder; `run` ships them until `stop`."""

    def __init__(
        self,
        journal: Path,
        open_sink: Callable[[], Sink] | None,
        every_s: float,
        hash_key: HashKey | None = None,
    ) -> None:
        """`open_sink` None: the store cannot keep labels, and none are taken."""
        self._folder = journal / FOLDER
        self._open_sink = open_sink
        self._every_s = every_s
        self._hash_key = hash_key
        self._queue: LabelQueue | None = None
        self._opening = threading.Lock()
        self._stopping = threading.Event()
        self._error = ""

    def take(self, body: bytes) -> dict[str, int]:
        """Keep the labels of a request's body; `taken`, and `repeated` ones that wait already.

        Raises ValueError for a body that is wrong, JournalFull when there is no room, StoreError
        when the store of this sidecar cannot keep labels.
        """
        if self._open_sink is None:
            raise StoreError("the store receives events and keeps no labels: use `sidecar labels` on a store")
        events = [self._stored(event) for event in parse_events(body)]
        fresh = self._opened().add({event.digest: event.encode() for event in events})
        return {"taken": fresh, "repeated": len(events) - fresh}

    def counts(self) -> dict[str, int | str | None]:
        """For metrics and status; zeros before the first label."""
        if self._queue is None and not self._folder.exists():
            return {"taken": 0, "repeated": 0, "shipped": 0, "waiting": 0, "objects": 0, "error": None}
        return {**self._opened().counts(), "error": self._error or None}

    def run(self) -> None:
        """Ship what waits, every so often and once more at the end."""
        backoff = Backoff()
        wait_s = self._every_s
        while True:
            over = self._stopping.wait(wait_s)
            try:
                self._ship()
            except (StoreError, JournalFull) as error:
                if self._error != str(error):
                    log.warning("labels wait: %s", error)
                self._error = str(error)
                wait_s = backoff.failed()
            else:
                backoff.succeeded()
                self._error, wait_s = "", self._every_s
            if over:
                return

    def stop(self) -> None:
        """Let `run` end after one more attempt."""
        self._stopping.set()

    def _ship(self) -> None:
        if self._open_sink is None or (self._queue is None and not self._folder.exists()):
            return
        queue = self._opened()
        while queue.seal(_encoded, OBJECT_EVENTS) is not None:
            pass
        waiting = queue.objects()
        if waiting:
            sink = self._open_sink()
            for name in waiting:
                sink.put(name, queue.data(name))
                queue.shipped(name)

    def _opened(self) -> LabelQueue:
        with self._opening:
            if self._queue is None:
                self._queue = LabelQueue.open(self._folder)
            return self._queue

    def _stored(self, event: LabelEvent) -> LabelEvent:
        return hashed(event, self._hash_key) if self._hash_key is not None else event


def hashed(event: LabelEvent, hash_key: HashKey) -> LabelEvent:
    """The event with its business key as the store has it."""
    if event.key is None:
        return event
    value = {"name": event.key.name, "value": hash_key(event.key.value)}
    return event_of(orjson.loads(event.encode()) | {"key": value}, "label")


def row_of(event: LabelEvent) -> LabelRow:
    """The event as a row of the store."""
    plain = orjson.loads(event.encode())
    name, value = event.target
    return LabelRow(
        record_id=event.record_id or "",
        key_name=name,
        key_value=value if event.key else "",
        label=orjson.dumps(plain.get("label")).decode(),
        t_us=event.t_us,
        attributes=orjson.dumps(plain.get("attributes", {}), option=orjson.OPT_SORT_KEYS).decode(),
    )


def _encoded(events: list[bytes]) -> tuple[str, bytes]:
    return encode_labels(row_of(event_of(orjson.loads(each), "label")) for each in events)


def key_hash(settings: Settings) -> HashKey | None:
    """How this sidecar stores business keys; None when as they are."""
    if settings.hash_keys != "on" and settings.master_key is None:
        return None
    path = settings.hash_key

    @cache
    def secret() -> bytes:
        if path is None:
            raise ValueError("business keys are stored as HMACs here and no hash_key is set: use record ids")
        return read_secret(Path(path), "hash_key")

    return lambda value: keyed_hash(secret(), value.encode("utf-8", "surrogatepass"))

"""Glue: alarms in the store, who acknowledged them, who told of them, and the spans of drifted traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import orjson

from sidecar.alerting.notice import Notice
from sidecar.archive.drift import STATISTICS, SUFFIX
from sidecar.errors import StoreError
from sidecar.fleet.pane_file import Series
from sidecar.objects import Store
from sidecar.shipping.parquet import path_safe
from sidecar.statistics.alarm import Alarm, decode_alarm

ALARMS = "statistics/alarms"
FORMAT = 1
ACK = ".ack.json"
TOLD = ".told.json"
TAKE_OVER_US = 120_000_000
"""After so long, what another watcher set out to tell and did not is told by this one."""


class Acknowledgement(msgspec.Struct, frozen=True):
    """Who took note of an alarm."""

    by: str
    reason: str
    at_us: int
    format: int = FORMAT


class Told(msgspec.Struct, frozen=True):
    """Which process set out to tell of one state of an alarm, and whether it did."""

    watcher: str
    at_us: int
    done: bool = False
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An alarm as the store has it."""

    name: str
    model: str
    digest: str
    plan: str
    watcher: str
    alarm: Alarm
    acknowledged: Acknowledgement | None = None

    @property
    def state(self) -> str:
        """As the watcher left it, or `acknowledged` where it has not seen that yet."""
        return "acknowledged" if self.acknowledged and self.alarm.active else self.alarm.state

    @property
    def as_told(self) -> Alarm:
        """The alarm in that state."""
        return msgspec.structs.replace(self.alarm, state=self.state)


class AlarmStore:
    """The alarms below one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def write(self, series: Series, watcher: str, alarm: Alarm) -> None:
        """Keeps an alarm, under its id, as it is now."""
        document = {
            "format": FORMAT,
            "model": series.model,
            "digest": series.digest,
            "plan": series.plan,
            "watcher": watcher,
            "alarm": msgspec.to_builtins(alarm),
        }
        self.store.put(f"{folder(series.model, series.digest)}/{alarm.id}.json", orjson.dumps(document))

    def all(self, below: str = ALARMS) -> Iterator[StoredAlarm | StoreError]:
        """Every alarm, with its acknowledgement; an error in place of one that cannot be read."""
        names = [entry.name for entry in self.store.list(below)]
        acks = {name.removesuffix(ACK) for name in names if name.endswith(ACK)}
        for name in names:
            if name.endswith(".json") and not name.endswith((ACK, TOLD)):
                try:
                    yield self._read(name, name.removesuffix(".json") in acks)
                except StoreError as error:
                    yield error

    def _read(self, name: str, acknowledged: bool) -> StoredAlarm:
        try:
            document: dict[str, Any] = orjson.loads(self.store.get(name))
            if document["format"] != FORMAT:
                raise StoreError(f"{name}: format {document['format']}, not {FORMAT}: use a newer Sidecar")
            alarm = decode_alarm(orjson.dumps(document["alarm"]))
            ack = self.acknowledgement(name.removesuffix(".json")) if acknowledged else None
            return StoredAlarm(
                name,
                str(document["model"]),
                str(document["digest"]),
                str(document["plan"]),
                str(document["watcher"]),
                alarm,
                ack,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{name}: is no alarm: {error}") from error

    def acknowledgement(self, stem: str) -> Acknowledgement:
        """What is beside the alarm of that name without its ending."""
        try:
            return msgspec.json.decode(self.store.get(stem + ACK), type=Acknowledgement)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{stem}{ACK}: is no acknowledgement: {error}") from error

    def acknowledged(self, series: Series) -> set[str]:
        """Ids of the series' alarms that somebody acknowledged."""
        below = folder(series.model, series.digest)
        names = (entry.name.rpartition("/")[2] for entry in self.store.list(below))
        return {name.removesuffix(ACK) for name in names if name.endswith(ACK)}

    def acknowledge(self, stored: StoredAlarm, ack: Acknowledgement) -> bool:
        """Notes it; False when somebody did before."""
        return self.store.put_new(stored.name.removesuffix(".json") + ACK, msgspec.json.encode(ack))

    def claim(self, series: Series, notice: Notice, watcher: str, now_us: int) -> Told:
        """Who tells of it: `watcher` where nobody had set out to, or has given up."""
        name, own = self._told(series, notice), Told(watcher, now_us)
        if self.store.put_new(name, msgspec.json.encode(own)):
            return own
        try:
            told = msgspec.json.decode(self.store.get(name), type=Told)
        except msgspec.MsgspecError:
            told = Told("", 0)
        if told.done or told.watcher == watcher or told.at_us >= now_us - TAKE_OVER_US:
            return told
        self.store.put(name, msgspec.json.encode(own))
        return own

    def told(self, series: Series, notice: Notice, watcher: str, now_us: int) -> None:
        """Notes that a receiver was told."""
        self.store.put(self._told(series, notice), msgspec.json.encode(Told(watcher, now_us, True)))

    def _told(self, series: Series, notice: Notice) -> str:
        return f"{folder(series.model, series.digest)}/{notice.key}{TOLD}"

    def write_spans(self, series: Series, alarms: Iterable[Alarm], to_us: int) -> None:
        """When the series had drifted, for `sidecar find --drifted`; of open alarms up to `to_us`."""
        spans = [
            {
                "model": series.model,
                "digest": series.digest or None,
                "from_us": alarm.since_us,
                "to_us": max(alarm.resolved_us or to_us, alarm.since_us + 1),
                "alarm": alarm.id,
                "quantity": alarm.quantity,
            }
            for alarm in alarms
        ]
        named = sha256(f"{series.model}\n{series.digest}\n{series.plan}".encode()).hexdigest()[:16]
        document = {"format": 1, "spans": spans}
        self.store.put(f"{STATISTICS}/drift-{named}{SUFFIX}", orjson.dumps(document))


def folder(model: str, digest: str) -> str:
    """Where alarms of a model and digest are."""
    return f"{ALARMS}/model={path_safe(model)}/digest={path_safe(digest.replace(':', '-'))}"

"""Glue: a single sidecar's own alarms, told to receivers by itself, marked as advice.

The analyst only leaves its alarms where they can be looked at. Sending runs in
the loop of the admin address, with bounded outboxes: a receiver that is slow or
gone costs nothing but its own queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from sidecar.alarm_notice import notice_of
from sidecar.alert_sending import courier, rate, secret, targets
from sidecar.alerting.courier import Courier
from sidecar.alerting.notice import Notice
from sidecar.clock import Clock
from sidecar.config import Settings
from sidecar.errors import ConfigError, UsageError
from sidecar.monitors import OwnAlarm

log = logging.getLogger(__name__)

LOOK_S = 1.0
KEYS_KEPT = 2_000
DRAIN_S = 5.0
FILE = "alerts-told.json"


def check_alerts(settings: Settings) -> None:
    """Raises ConfigError for receivers or a secret that could not be used."""
    try:
        targets(settings.alert_url)
        rate(settings.alert_rate)
        secret(Path(settings.alert_secret_file) if settings.alert_secret_file else None)
    except UsageError as error:
        raise ConfigError(str(error)) from error


def adviser(settings: Settings, clock: Clock, alarms: Callable[[], Sequence[OwnAlarm]]) -> Adviser:
    """What the settings ask for; without receivers it does nothing. Raises ConfigError."""
    check_alerts(settings)
    parts = (
        settings.cluster,
        settings.namespace,
        settings.workload,
        settings.pod_uid or socket.gethostname(),
    )
    file = Path(settings.alert_secret_file) if settings.alert_secret_file else None
    told = ToldStates(Path(settings.journal) / FILE)
    return Adviser(
        lambda done: courier(settings.alert_url, file, settings.alert_rate, clock, done),
        "/".join(part for part in parts if part),
        told,
        alarms,
    )


class ToldStates:
    """Keys of what every receiver was told, over restarts; the latest ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, None] = {}
        self._failed = False
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            # Lost or damaged, what is open is told once more: receivers know a notice by its key.
            self._keys = dict.fromkeys(msgspec.json.decode(path.read_bytes(), type=list[str]))

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, key: str) -> None:
        """Notes it, in the file too if that can be written."""
        self._keys[key] = None
        while len(self._keys) > KEYS_KEPT:
            del self._keys[next(iter(self._keys))]
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(list(self._keys)))
            part.replace(self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("%s: %s: after a restart alarms are told again", self._path, error.strerror)
            self._failed = True


class Adviser:
    """Looks at the alarms that this sidecar has, and tells of each state once."""

    def __init__(
        self,
        make: Callable[[Callable[[Notice], None]], Courier],
        place: str,
        told: ToldStates,
        alarms: Callable[[], Sequence[OwnAlarm]],
    ) -> None:
        """`place` names this sidecar among others; `alarms` are looked at, and must be safe to read."""
        self.courier = make(self._done)
        self._place = place
        self._told = told
        self._alarms = alarms

    async def run(self) -> None:
        """Looks and sends for ever; to be cancelled."""
        if not self.courier.outboxes:
            return
        await asyncio.gather(self.courier.run(), self._look_on())

    async def _look_on(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Offers every alarm's present state to the outboxes that do not know it."""
        for own in self._alarms():
            notice = self._notice(own)
            # Alertmanager forgets what it is not told again; the others hear a state once.
            self.courier.offer(notice, once=notice.key not in self._told)

    async def end(self, within_s: float) -> None:
        """Sends what waits, for so long at most."""
        if not self.courier.outboxes:
            return
        self.look()
        if not self.courier.idle and not await self.courier.drain(min(within_s, DRAIN_S)):
            log.warning("not every alert was taken in time: the next start tells them")

    def counts(self) -> dict[str, dict[str, Any]]:
        """By receiver, for metrics and status; from any thread."""
        return {name: dataclasses.asdict(counted) for name, counted in self.courier.counted().items()}

    def _done(self, notice: Notice) -> None:
        # Only when no other receiver still waits for it: a restart then tells all of them once more.
        if notice.key not in self._told and not any(
            notice.key in outbox.waiting for outbox in self.courier.outboxes.values()
        ):
            self._told.add(notice.key)

    def _notice(self, own: OwnAlarm) -> Notice:
        alarm = own.alarm
        # Two pods may have an alarm of one quantity at one time, and each speaks for itself.
        named = "\n".join((self._place, own.route, own.model, own.digest, own.plan, alarm.id))
        key = sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return notice_of(alarm, key, own.model, own.digest, advisory_of=f"{self._place}/{own.route}")

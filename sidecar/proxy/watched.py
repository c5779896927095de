"""Observation that may fail without touching the traffic."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sidecar.counters import Global
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.records import Outcome

log = logging.getLogger("sidecar.proxy")


class Blind:
    """Sees nothing, ends nothing: the connection goes on unread."""

    idle = False
    unframed = True
    asked = True
    answering = True
    bodiless = False
    epoch = 0

    def request_data(self, data: bytes) -> None: ...
    def request_rest(self, data: bytes) -> int:
        return len(data)

    def undelivered(self, missing_bytes: int) -> list[int]:
        return []

    def request_eof(self) -> None: ...
    def response_data(self, data: bytes) -> None: ...
    def response_eof(self) -> None: ...
    def silent_since_ns(self) -> None: ...
    def waits_from_now(self) -> None: ...
    def closed(self, outcome: Outcome, reason: str) -> None: ...
    def answered_by_recorder(self, response: bytes, outcome: Outcome, reason: str) -> None: ...
    def fail(self, reason: str) -> None: ...


class Watched:
    """A connection with an observer, which is left alone once it has failed."""

    __slots__ = ("_settings", "observer")

    _settings: SpliceSettings
    observer: ConnectionObserver | Blind

    def see(self, data: bytes) -> None:
        self.watched(lambda: self.observer.request_data(data))

    def watched(self, look: Callable[[], object]) -> None:
        try:
            look()
        except Exception as error:
            self.unwatch(error)

    def unwatch(self, error: Exception) -> None:
        """Traffic goes on, unread, when its observation fails."""
        settings = self._settings
        settings.context.slots[Global.OBSERVER_ERRORS] += 1
        log.error("observation failed, connection goes on unread", exc_info=error)
        broken, self.observer = self.observer, Blind()
        try:
            broken.fail(f"observer failed: {type(error).__name__}")
        except Exception:
            settings.journal.shed(settings.context.route, "observer_failed", settings.context.clock.wall_us())

"""What stands in for an observer that failed."""

from __future__ import annotations

from sidecar.records import Outcome


class Blind:
    """Sees nothing, ends nothing: the connection goes on unread."""

    idle = False
    unframed = True
    asked = True
    answering = True
    bodiless = False

    def request_data(self, data: bytes) -> None: ...
    def request_rest(self, data: bytes) -> int:
        return len(data)

    def undelivered(self, missing_bytes: int) -> list[int]:
        return []

    def request_eof(self) -> None: ...
    def response_data(self, data: bytes) -> None: ...
    def response_eof(self) -> None: ...
    def silent_since_ns(self) -> None: ...
    def closed(self, outcome: Outcome, reason: str) -> None: ...
    def answered_by_recorder(self, response: bytes, outcome: Outcome, reason: str) -> None: ...
    def fail(self, reason: str) -> None: ...

"""Policy `closed`: nothing is forwarded that the journal cannot take, or that could not be recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.counters import Route
from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.records import Outcome

if TYPE_CHECKING:
    from sidecar.proxy.splice import Client


class Gate:
    """Stands before the upstream of one connection; here, observation comes first.

    Each request of a chunk is let through or refused by itself. A refused one
    gets its 503 when those before it have their answers; nothing behind it is read.
    """

    __slots__ = ("_client", "_due", "_refused", "_settings")

    def __init__(self, client: Client, settings: SpliceSettings) -> None:
        self._client = client
        self._settings = settings
        self._refused = b""
        """The first bytes of the request that was refused."""
        self._due = False
        """Its 503 is still to be given."""

    def admit(self, data: bytes) -> bytes:
        """Show a chunk to the observer; returns what of it may be forwarded."""
        client, settings = self._client, self._settings
        if self._refused:
            return b""
        if not settings.context.recording:
            client.see(data)
            return data
        if settings.journal.accepting:
            client.see(data)
        else:
            data = self._begun(data)
        if settings.held and client.observer.unframed:
            why = "policy closed forwards only what can be recorded"
            if client.observer.answering:
                client.break_off(Outcome.REFUSED, why)
            else:
                client.answer(Outcome.REFUSED, 503, "not_recordable", why)
            return b""
        self.answer_due()
        return data

    def _begun(self, data: bytes) -> bytes:
        """What of a chunk belongs to requests that were let through; the next one is refused."""
        taken = len(data)

        def look() -> None:
            nonlocal taken
            taken = self._client.observer.request_rest(data)

        self._client.watched(look)
        # RFC 9112 section 2.2: empty lines before a request line are no request.
        self._refused = data[taken:].lstrip(b"\r\n")[:16]
        self._due = bool(self._refused)
        return data[:taken]

    def upstream_ended(self) -> None:
        """What was not answered by now never will be, so that a 503 would be taken for another's answer."""
        if not self._client.observer.idle:
            self._due = False

    def answer_due(self) -> bool:
        """Give a refused request its 503 if nothing stands before it any more; whether it was given."""
        client, settings = self._client, self._settings
        if not self._due or not client.observer.idle or client.holding:
            return False
        self._due = False
        context = settings.context
        context.slots[context.base + Route.STARTED] += 1
        context.slots[context.base + Route.OUTCOME + Outcome.REFUSED] += 1
        settings.journal.shed(context.route, "refused", context.clock.wall_us())
        why = "the journal cannot take more and the policy is closed"
        client.answer(Outcome.REFUSED, 503, "not_recording", why, unseen=self._refused)
        return True

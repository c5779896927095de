"""Policy `closed`: nothing is forwarded that the journal cannot take, or that could not be recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.counters import Route
from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.records import Outcome

if TYPE_CHECKING:
    from sidecar.proxy.splice import Client


class Gate:
    """Stands before the upstream of one connection; here, observation comes first."""

    __slots__ = ("_client", "_settings")

    def __init__(self, client: Client, settings: SpliceSettings) -> None:
        self._client = client
        self._settings = settings

    def passes(self, data: bytes) -> bool:
        """Show a chunk to the observer; whether it may go on. If not, the client has its answer."""
        client, settings = self._client, self._settings
        if not settings.context.recording:
            client.see(data)
            return True
        if client.observer.between_requests and not settings.journal.accepting:
            self._refuse(data)
            return False
        client.see(data)
        if settings.held and client.observer.unframed:
            why = "policy closed forwards only what can be recorded"
            if client.observer.answering:
                client.break_off(Outcome.REFUSED, why)
            else:
                client.answer(Outcome.REFUSED, 503, "not_recordable", why)
            return False
        return True

    def _refuse(self, data: bytes) -> None:
        """The journal takes no more: this new request is counted and not served."""
        client, settings = self._client, self._settings
        if not client.observer.idle or client.holding:
            # Answers to earlier requests come first; this connection takes no further ones.
            client.break_off(Outcome.REFUSED, "journal cannot take more")
            return
        context = settings.context
        context.slots[context.base + Route.STARTED] += 1
        context.slots[context.base + Route.OUTCOME + Outcome.REFUSED] += 1
        settings.journal.shed(context.route, "refused", context.clock.wall_us())
        why = "the journal cannot take more and the policy is closed"
        client.answer(Outcome.REFUSED, 503, "not_recording", why, unseen=data.lstrip(b"\r\n"))

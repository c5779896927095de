"""An answer of the recorder's own, where the upstream gives none or policy `closed` forbids its."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.records import Outcome

if TYPE_CHECKING:
    from sidecar.proxy.splice import Client

LINGER_S: Final = 1.0
"""How long a connection that the recorder answered itself may go on sending."""


class OwnAnswer:
    """Written at once; at most one for each connection, which ends with it.

    Its record ends with the request that it answers, at most LINGER_S later.
    """

    __slots__ = ("_client", "_outcome", "_response", "_settings", "_unrecorded", "_why")

    def __init__(
        self,
        client: Client,
        settings: SpliceSettings,
        response: bytes,
        outcome: Outcome,
        why: str,
        recorded: bool = False,
    ) -> None:
        """`recorded`: the request was counted elsewhere and is in no open exchange."""
        self._client = client
        self._settings = settings
        self._response = response
        self._unrecorded = b"" if recorded else response
        """The answer, empty once it is in the record."""
        self._outcome = outcome
        self._why = why

    def begin(self) -> None:
        client = self._client
        client.say(self._response)
        seen = client.observer
        if not self._unrecorded or client.eof or seen.asked or seen.unframed:
            self.finish()
        else:
            self._settings.loop.call_later(LINGER_S, self.finish)

    def heard(self, data: bytes) -> None:
        """The client sent on."""
        if self._unrecorded:
            self._client.see(data)
            if self._client.observer.asked:
                self.finish()

    def finish(self) -> None:
        """End the record and the connection; harmless when that was done."""
        client = self._client
        if client.gone:
            return
        if self._unrecorded:
            response, self._unrecorded = self._unrecorded, b""
            client.watched(lambda: client.observer.answered_by_recorder(response, self._outcome, self._why))
        client.leave_upstream()
        if client.transport.can_write_eof() and not client.transport.is_closing():
            client.transport.write_eof()
        self._settings.loop.call_later(0 if client.eof else LINGER_S, client.transport.close)

"""Two byte streams in, exchanges out: what one connection says, read from the side.

Pure: no sockets, no time of its own. The splice forwards a chunk first and shows
it here afterwards. Requests are paired with responses in order; whatever cannot
be framed turns the connection opaque (counted, its first bytes kept) and never
touches the traffic.

    OpenExchanges   what is in flight, and how it ends
    └── Unframed    opaque connections and tunnels
        ├── RequestSide    the client's bytes
        └── ResponseSide   the upstream's bytes
"""

from __future__ import annotations

from sidecar.proxy.open_exchanges import START, STASH
from sidecar.proxy.request_side import RequestSide
from sidecar.proxy.response_side import ResponseSide
from sidecar.records import Exchange


class ConnectionObserver(RequestSide, ResponseSide):
    """Reads the two directions of one client connection."""

    __slots__ = ()

    def _not_a_tunnel(self, exchange: Exchange) -> None:
        """The final answer was not an upgrade: what the client sent since is ordinary HTTP."""
        if self._tunnel is not exchange:
            return
        self._tunnel = None
        if self._request_state == STASH:
            self._request_state = START
            stash, self._stash = self._stash, []
            for piece in stash:
                # Not a subclass's shortcut: response bytes may follow in the chunk now being read.
                RequestSide.request_data(self, piece)

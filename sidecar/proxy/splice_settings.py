"""What the connections of one route share on the wire's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.proxy.delivery import JournalPort
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Exchange

if TYPE_CHECKING:
    from sidecar.proxy.splice import Client


class SpliceSettings:
    """What the connections of one route share on the wire's side."""

    __slots__ = (
        "by_policy",
        "closed",
        "connect_first",
        "connect_timeout_s",
        "context",
        "held",
        "high_water",
        "hold_limit_s",
        "journal",
        "loop",
        "make_observer",
        "max_connections",
        "open_connections",
        "upstream",
        "upstream_host",
        "upstream_port",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: RouteContext,
        journal: JournalPort,
        make_observer: Callable[[int, str, Callable[[Exchange], object]], ConnectionObserver],
        upstream_host: str,
        upstream_port: int,
        *,
        closed: bool = False,
        held: bool = False,
        connect_first: bool = False,
        hold_limit_s: float = 0.2,
        high_water: int = 256 * 1024,
        connect_timeout_s: float = 10.0,
        max_connections: int = 10_000,
        open_connections: set[Client] | None = None,
    ) -> None:
        """`closed`: policy closed; `held`: durability before_response; `connect_first`: connect
        upstream on accept, not on the first byte; `open_connections`: shared by all routes and
        bounded by `max_connections`."""
        self.loop = loop
        self.context = context
        self.journal = journal
        self.make_observer = make_observer
        self.upstream_host = upstream_host
        self.upstream_port = upstream_port
        shown = f"[{upstream_host}]" if ":" in upstream_host else upstream_host
        self.upstream = f"http://{shown}:{upstream_port}"
        self.closed = closed
        self.held = held
        self.by_policy = closed or held
        """A policy has a say in what leaves and when: chunks take the longer way."""
        self.connect_first = connect_first
        self.hold_limit_s = hold_limit_s
        self.high_water = high_water
        self.connect_timeout_s = connect_timeout_s
        self.max_connections = max_connections
        self.open_connections: set[Client] = set() if open_connections is None else open_connections

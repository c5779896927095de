"""The sockets that the supervisor opens and its children inherit."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from sidecar.errors import ConfigError, SidecarError
from sidecar.settings_values import EVERY_ADDRESS, Address

BACKLOG = 4096
"""Connections that wait in the kernel while a killed recorder is started again."""
_BIND_RETRIES = 10
_BIND_RETRY_S = 0.05

Resolved = list[tuple[int, Any]]
"""Address family and socket address, in the resolver's order."""


def resolve(name: str, address: Address) -> Resolved:
    """What a host name means here. Raises ConfigError; `name` is the setting's."""
    if address.host == EVERY_ADDRESS:
        # IPv6 first: `listen` skips a family that the machine lacks, unless it is the last.
        return [
            (socket.AF_INET6, ("::", address.port, 0, 0)),
            (socket.AF_INET, ("0.0.0.0", address.port)),
        ]
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{name}: {address}: {reason}: give an address of this machine") from error
    return list(dict.fromkeys((int(family), where) for family, _, _, _, where in found))


def listen(name: str, address: Address, resolved: Resolved) -> list[socket.socket]:
    """One listening socket per address that the host resolved to, at least one; all on one port.

    Raises SidecarError, naming the setting, when the address is taken or not this machine's.
    """
    sockets: list[socket.socket] = []
    port = address.port
    for family, where in resolved:
        try:
            sockets.append(_bound(family, (where[0], port, *where[2:]), v6_only=len(resolved) > 1))
        except OSError as error:
            # `localhost` may name ::1 on a machine that has IPv6 switched off.
            absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
            if absent and (sockets or where is not resolved[-1][1]):
                continue
            for opened in sockets:
                opened.close()
            raise SidecarError(f"{name}: {address}: {_explain(error)}") from error
        port = sockets[0].getsockname()[1]
    return sockets


def _bound(family: int, where: Any, v6_only: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        for retries_left in range(_BIND_RETRIES, -1, -1):
            try:
                opened.bind(where)
                opened.listen(BACKLOG)
                break
            except OSError as error:
                # The children of a supervisor that was just killed close their copies a moment later.
                if error.errno != errno.EADDRINUSE or not retries_left:
                    raise
                time.sleep(_BIND_RETRY_S)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _explain(error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "stop what listens there or choose another port",
        errno.EACCES: "choose a port from 1024 up or grant CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "give an address of this machine, or 0.0.0.0 for all",
    }
    return f"{error.strerror}: {remedies.get(error.errno or 0, 'choose another address')}"

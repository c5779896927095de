"""Sockets of the supervisor: which addresses a setting means, and what a taken one says."""

from __future__ import annotations

import socket

from sidecar.listening import listen, resolve
from sidecar.settings_values import Address


def test_star_takes_connections_of_both_families_on_one_port() -> None:
    address = Address("*", 0)
    sockets = listen("listen", address, resolve("listen", address))
    try:
        assert {each.getsockname()[1] for each in sockets} == {sockets[0].getsockname()[1]}
        for host in ("127.0.0.1", "::1")[: len(sockets)]:
            with socket.create_connection((host, sockets[0].getsockname()[1]), timeout=5):
                pass
    finally:
        for each in sockets:
            each.close()


def test_star_does_with_one_family_where_the_machine_has_no_other(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    whole = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return whole(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    address = Address("*", 0)
    (only,) = listen("listen", address, resolve("listen", address))
    assert only.family == socket.AF_INET
    only.close()

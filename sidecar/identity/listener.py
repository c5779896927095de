"""Which socket listens on the model's port: when it changes, another process is the model.

A container's listening socket goes with the container, at the latest when it
ends, and the next one's is another. The kernel names each by a cookie that is
never used again and tells them to everybody in the network namespace (sock_diag(7),
as `ss` asks it). A list of them costs a walk over the kernel's whole table of
listeners, which grows with the node's memory: 60 microseconds with 16,384
places, and every place takes a lock before Linux 6.9. So as a rule only that
socket is asked for that would take a connection, which costs the same anywhere.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY = 20
_REQUEST, _REQUEST_DUMP = 0x1, 0x301
_ERROR, _DONE = 2, 3
_LISTEN = 1 << 10
_HEADER = struct.Struct("=IHHII")
_MESSAGE_BYTES = 72
_MAPPED = bytes(10) + b"\xff\xff"
_MOST_PACKETS = 64
_LIST_EVERY = 10
"""Looks; between them sockets may come that are not needed as long as the known ones stay."""


class ListenerProbe:
    """Asks for the sockets that listen at one address of this network namespace."""

    def __init__(self, host: str, port: int) -> None:
        """Raises OSError where this cannot be asked, or the address is not of this namespace."""
        self._port = port
        self._addresses = _local(host)
        self._exact = [each for each in self._addresses if each[:12] != _MAPPED]
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
        )
        try:
            # The kernel answers within the call that asks.
            self._socket.setblocking(False)
            self._sequence = 0
            self._unlisted = 0
            self.listeners()
        except BaseException:
            self._socket.close()
            raise

    def listeners(self, known: frozenset[int] = frozenset()) -> frozenset[int]:
        """The cookies of the sockets that take connections to the address. Never waits. Raises OSError.

        Now and then only whether one of the `known` still does: then it is those.
        """
        self._unlisted += 1
        if known and self._unlisted < _LIST_EVERY and any(self._taker(each) in known for each in self._exact):
            return known
        self._unlisted = 0
        found: set[int] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            self._sequence += 1
            self._socket.send(request(family, self._port, self._sequence))
            found.update(
                cookie
                for address, cookie in self._answers()
                if not any(address) or address in self._addresses
            )
        return frozenset(found)

    def _taker(self, address: bytes) -> int | None:
        """The cookie of the socket that would take a connection to one address."""
        self._sequence += 1
        self._socket.send(request_taker(address, self._port, self._sequence))
        for _ in range(_MOST_PACKETS):
            try:
                _, found = parse(self._socket.recv(1 << 16), self._sequence)
            except FileNotFoundError:
                return None
            for _, cookie in found:
                return cookie
        raise OSError("sock_diag: no answer")

    def _answers(self) -> Iterator[tuple[bytes, int]]:
        for _ in range(_MOST_PACKETS):
            # A late answer to an earlier question that was given up is passed over.
            ended, found = parse(self._socket.recv(1 << 16), self._sequence)
            yield from found
            if ended:
                return
        raise OSError("sock_diag: the answer has no end")

    def close(self) -> None:
        self._socket.close()


def request(family: int, port: int, sequence: int) -> bytes:
    """The netlink message that asks for all TCP sockets that listen on a port."""
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _LISTEN)
    body += struct.pack(">HH", port, 0) + bytes(32) + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST_DUMP, sequence, 0) + body


def request_taker(address: bytes, port: int, sequence: int) -> bytes:
    """The netlink message that asks for the socket that would take a TCP connection to an address."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _LISTEN)
    body += struct.pack(">HH", port, 0) + address.ljust(16, b"\0") + bytes(16)
    body += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, sequence, 0) + body


def parse(packet: bytes, sequence: int) -> tuple[bool, list[tuple[bytes, int]]]:
    """Whether the answer to that question ends here; address and cookie of each socket. Raises OSError."""
    found: list[tuple[bytes, int]] = []
    at = 0
    while at + _HEADER.size <= len(packet):
        size, kind, _, number, _ = _HEADER.unpack_from(packet, at)
        if size < _HEADER.size:
            break
        body = packet[at + _HEADER.size : at + size]
        at += (size + 3) & ~3
        if number != sequence:
            continue
        if kind == _ERROR:
            code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
            raise OSError(code, "sock_diag refused")
        if kind == _DONE:
            return True, found
        if kind == _BY_FAMILY and len(body) >= _MESSAGE_BYTES:
            length = 4 if body[0] == socket.AF_INET else 16
            found.append((body[8 : 8 + length], struct.unpack_from("=Q", body, 44)[0]))
    return False, found


def _local(host: str) -> frozenset[bytes]:
    """The addresses as the kernel writes them. Raises OSError unless they are this namespace's own."""
    names: Iterable[str] = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    found = set()
    for name in names:
        try:
            address = ipaddress.ip_address(name)
        except ValueError as error:
            raise OSError(f"{host} is no address") from error
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        if host != "localhost":
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                tried.bind((name, 0))
        found.add(address.packed)
        if address.version == 4:
            found.add(ipaddress.ip_address(f"::ffff:{name}").packed)
    return frozenset(found)


class ListenerWatch:
    """Tells when the model behind an address is another one, from what listens there at each look."""

    def __init__(self, known: int = 0) -> None:
        """`known`: the cookie of a socket that an earlier process saw at its last look, 0 if none."""
        self.known = frozenset((known,)) if known else frozenset[int]()
        """Those that listened at the last look at which any did."""
        self._seen = bool(known)
        self.gone = False
        """Whether the model that was seen listens no more, and no other does yet."""

    @property
    def cookie(self) -> int:
        """One of the sockets that listened at the last look at which any did; 0 before."""
        return min(self.known, default=0)

    def look(self, found: frozenset[int]) -> bool:
        """Whether whoever takes connections from now on is another model than before this look.

        Several sockets may share a port; as long as one of them stays, so does the model.
        """
        if not found:
            changed, self.gone = self._seen and not self.gone, self._seen
            return changed
        changed = self._seen and not self.gone and not (found & self.known)
        self.known, self._seen, self.gone = found, True, False
        return changed

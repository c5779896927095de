"""`sidecar ctl`: one request, one answer, over a Unix socket in the journal folder.

The socket keeps packet boundaries (SOCK_SEQPACKET), so a request is one JSON
object in one packet and the server never waits for the rest of one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import selectors
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.errors import JournalError, SidecarError

SOCKET_NAME = "control.sock"
log = logging.getLogger(__name__)
_PACKET_BYTES = 65536
_CONNECTIONS = 16

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class _Reachable:
    """The socket's path by way of an open folder: sun_path holds 107 bytes, journal paths may be longer."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = f"/proc/self/fd/{self._descriptor}/{SOCKET_NAME}"

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class ControlServer:
    """Answers requests from inside the supervisor's selector loop, never blocking it."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector, answer: Answer) -> None:
        """Bind the socket, for this user alone. Raises JournalError when the folder cannot hold one.

        The caller holds the journal's lock, so a socket that is there already belongs to nobody.
        """
        self._selector = selector
        self._answer = answer
        self._path = folder / SOCKET_NAME
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            os.fchmod(self._listener.fileno(), 0o600)
            self._path.unlink(missing_ok=True)
            with _Reachable(folder) as path:
                self._listener.bind(path)
            self._listener.listen(_CONNECTIONS)
        except OSError as error:
            self._listener.close()
            raise JournalError(
                f"control socket {self._path}: {error.strerror}: `sidecar ctl` is off"
            ) from error
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._connections) == _CONNECTIONS:
            # Whoever connected first and still said nothing gives way.
            self._drop(self._connections[0])
        self._connections.append(connection)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection))

    def _read(self, connection: socket.socket) -> None:
        if connection not in self._connections:
            return  # It gave way to another since the selector saw it.
        try:
            packet = connection.recv(_PACKET_BYTES)
            if packet:
                connection.send(json.dumps(self._answered(packet)).encode())
        except OSError:
            pass  # The one who asked is gone.
        self._drop(connection)

    def _answered(self, packet: bytes) -> dict[str, Any]:
        try:
            request = json.loads(packet)
            if not isinstance(request, dict):
                raise ValueError("not a JSON object")
            return self._answer(request)
        except (ValueError, SidecarError) as error:
            return {"error": str(error)}
        except Exception:
            # No question may end the supervisor, and with it the traffic.
            log.exception("control request failed")
            return {"error": "internal error: look at the sidecar's log"}

    def _drop(self, connection: socket.socket) -> None:
        self._connections.remove(connection)
        self._selector.unregister(connection)
        connection.close()

    def close(self) -> None:
        """Stop answering and remove the socket."""
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def ask(folder: Path, request: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """The running supervisor's answer. Raises SidecarError when none runs on this journal or it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        # Not settimeout(): that makes the socket non-blocking, and connect() then fails while others wait.
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        try:
            with _Reachable(folder) as path:
                connection.connect(path)
            connection.send(json.dumps(request).encode())
            packet = connection.recv(_PACKET_BYTES)
        except BlockingIOError as error:
            raise SidecarError(f"the sidecar on journal {folder} does not answer: look at its log") from error
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
                raise SidecarError(
                    f"no sidecar runs on journal {folder}: give --journal DIR of a running one"
                ) from error
            raise SidecarError(
                f"control socket in {folder}: {error.strerror}: use the sidecar's own user"
            ) from error
    if not packet:
        raise SidecarError(f"the sidecar on journal {folder} closed the connection: look at its log")
    answer: dict[str, Any] = json.loads(packet)
    if "error" in answer:
        raise SidecarError(str(answer["error"]))
    return answer

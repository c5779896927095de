from __future__ import annotations

import contextlib
import selectors
import socket
from pathlib import Path
from typing import Any

from sidecar.control import SOCKET_NAME, ControlServer


def test_one_that_gives_way_in_the_moment_it_asks_harms_nobody(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {}

    def handle_what_is_ready() -> None:
        for key, _ in selector.select(0):
            key.data()

    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        server = ControlServer(tmp_path, selector, answer)
        stack.callback(server.close)

        def client() -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            connection.connect(str(tmp_path / SOCKET_NAME))
            return connection

        earlier = []
        for _ in range(16):
            earlier.append(client())
            handle_what_is_ready()
        client()  # Makes the listener ready before those that are dropped for it.
        for connection in earlier:
            connection.send(b"{}")
        handle_what_is_ready()
    assert len(asked) == 15

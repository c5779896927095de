"""Which socket listens: asked of the real kernel, and what a change of it means."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from unittest.mock import Mock, patch

import pytest

from sidecar.identity import listener
from sidecar.identity.listener import ListenerProbe, ListenerWatch, parse, request

A, B, C = (frozenset((each,)) for each in (1, 2, 3))
NONE = frozenset[int]()


@pytest.mark.parametrize(
    ("looks", "changes"),
    [
        ([A, A, A], [False, False, False]),
        ([NONE, NONE, A, A], [False, False, False, False]),
        ([A, NONE, NONE, B, B], [False, True, False, False, False]),
        ([A, B], [False, True]),
        ([A, NONE, A], [False, True, False]),
        ([A, NONE, B, NONE, C], [False, True, False, True, False]),
        ([A | B, B | C, C], [False, False, False]),
        ([A | B, C], [False, True]),
    ],
)
def test_another_model_is_told_once_when_the_one_before_listens_no_more(
    looks: list[frozenset[int]], changes: list[bool]
) -> None:
    watch = ListenerWatch()
    assert [watch.look(found) for found in looks] == changes


def test_a_look_of_an_earlier_process_is_gone_on_from() -> None:
    assert not ListenerWatch(1).look(A)
    assert ListenerWatch(1).look(B)
    assert ListenerWatch(1).look(NONE)
    assert not ListenerWatch(0).look(B)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_the_kernel_names_each_listening_socket_by_another_cookie(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    probe = ListenerProbe("127.0.0.1", port)
    first = probe.listeners()
    assert len(first) == 1
    with socket.create_connection(("127.0.0.1", port)):
        assert probe.listeners() == first, "connections are no listeners"
    listening.close()
    assert probe.listeners() == NONE
    with socket.create_server(("127.0.0.1", port)):
        again = probe.listeners()
        assert len(again) == 1
        assert again != first
    probe.close()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_a_server_on_every_address_is_found_and_one_on_another_address_is_not(
    family: socket.AddressFamily, host: str
) -> None:
    with socket.socket(family) as made:
        made.bind((host, 0))
        made.listen()
        port = made.getsockname()[1]
        probe = ListenerProbe("127.0.0.1", port)
        assert len(probe.listeners()) == 1
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.close()
            other.bind(("127.0.0.2", port))
            other.listen()
            assert probe.listeners() == NONE
        probe.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "model.example", "0x7f000001"])
def test_what_is_not_of_this_namespace_cannot_be_watched(host: str) -> None:
    with pytest.raises(OSError, match=r"."):
        ListenerProbe(host, 80)


def test_no_right_is_needed(listening: socket.socket) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give its rights up")
    code = (
        "import os; os.setgroups([]); os.setgid(65532); os.setuid(65532)\n"
        "from sidecar.identity.listener import ListenerProbe\n"
        f"print(len(ListenerProbe('127.0.0.1', {listening.getsockname()[1]}).listeners()))"
    )
    # The tree may lie in a home that is closed to others: the module is loaded before the rights go.
    code = "import sidecar.identity.listener\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr


def test_the_known_ones_are_not_listed_anew_while_they_take_connections(listening: socket.socket) -> None:
    probe = ListenerProbe(*listening.getsockname()[:2])
    known = probe.listeners()
    asked = Mock(wraps=listener.request)
    with patch.object(listener, "request", asked):
        assert [probe.listeners(known) for _ in range(5)] == [known] * 5
        assert not asked.called
        listening.close()
        assert not probe.listeners(known)


def test_a_look_never_waits(listening: socket.socket) -> None:
    probe = ListenerProbe(*listening.getsockname()[:2])
    unanswered = struct.pack("=IHHII", 16, 1, 1, 0, 0)
    with patch.object(listener, "request", return_value=unanswered), pytest.raises(BlockingIOError):
        probe.listeners()


def test_a_socket_that_joins_others_on_their_port_is_known_within_a_second() -> None:
    one, other = (socket.socket(), socket.socket())
    with one, other:
        for each in (one, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", 0))
        one.listen()
        probe = ListenerProbe(*one.getsockname())
        known = probe.listeners()
        other.bind(one.getsockname())
        other.listen()
        for _ in range(10):
            known = probe.listeners(known)
        assert len(known) == 2


def test_a_late_answer_to_another_question_is_passed_over() -> None:
    message = request(socket.AF_INET, 80, sequence=1)
    assert parse(message, 2) == (False, [])
    done = (20).to_bytes(4, sys.byteorder) + (3).to_bytes(2, sys.byteorder) + bytes(2)
    assert parse(done + (1).to_bytes(4, sys.byteorder) + bytes(8), 2) == (False, [])
    assert parse(done + (2).to_bytes(4, sys.byteorder) + bytes(8), 2) == (True, [])
    assert parse(b"\x00" * 40, 0) == (False, [])

"""The supervisor signs for the analyst, over real sockets and a real selector."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator

import pytest

from sidecar.errors import LedgerError
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import ed25519_is_valid
from sidecar.ledger.origin import Place, origin
from sidecar.signing import MARK_BYTES, SigningClient, SigningServer
from tests.support.sealing import KEY, SigningThread

BOOT = "20261123T231500-9f3c2a71b0"
PLACE = Place("prod", "lending", "mortgage", "")


def text_of(boot: str = BOOT, size: int = 7) -> str:
    return Checkpoint(origin(PLACE, "default", boot), size, b"r" * 32).text()


@pytest.fixture
def server() -> Iterator[SigningThread]:
    made = SigningThread(BOOT)
    yield made
    made.close()


@pytest.fixture
def client(server: SigningThread) -> SigningClient:
    return SigningClient(os.dup(server.descriptor))


def test_a_checkpoint_of_this_boot_is_signed(client: SigningClient) -> None:
    text = text_of()
    assert ed25519_is_valid(KEY.verifier.public_key, text.encode(), client(text))


def test_what_a_dead_boot_left_is_signed_under_the_live_boots_name(client: SigningClient) -> None:
    text = Checkpoint(origin(PLACE, "default", BOOT, "20261122T000000-0000000000"), 1, b"r" * 32).text()
    assert ed25519_is_valid(KEY.verifier.public_key, text.encode(), client(text))


@pytest.mark.parametrize(
    "text",
    [
        text_of("20261122T000000-0000000000"),
        "anything else\n",
        text_of() + "extension\n",
        f"sidecar-enrolment/1\n{PLACE.prefix}\n{BOOT}\nAAAA\n",
    ],
)
def test_nothing_else_is_signed(client: SigningClient, text: str) -> None:
    with pytest.raises(LedgerError, match="refused to sign"):
        client(text)
    assert client(text_of())


def test_an_answer_to_a_dead_analyst_is_passed_over(server: SigningThread, client: SigningClient) -> None:
    with socket.socket(fileno=os.dup(server.descriptor)) as dead:
        dead.send(b"d" * MARK_BYTES + text_of(size=3).encode())
    text = text_of(size=9)
    assert ed25519_is_valid(KEY.verifier.public_key, text.encode(), client(text))


def test_a_supervisor_that_is_gone_is_an_error_and_no_hang() -> None:
    with selectors.DefaultSelector() as selector:
        server = SigningServer(selector, KEY, BOOT)
        client = SigningClient(server.theirs.dup().detach())
        server.close()
        with pytest.raises(LedgerError, match="supervisor"):
            client(text_of())

"""The boot's key stays with the supervisor; the analyst asks it, over an inherited socket, for signatures.

The analyst reads what strangers sent and may die of it; the key is not in its
memory. Each packet of the SOCK_SEQPACKET pair is one request or one answer:

    request   16 bytes of the analyst's choice, the checkpoint's text (UTF-8)
    answer    the same 16 bytes, the 64 bytes of the signature; none if refused

The 16 bytes let a restarted analyst pass over an answer to its predecessor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import time

from sidecar.errors import LedgerError
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import SIGNATURE_BYTES, SigningKey
from sidecar.ledger.origin import parse

log = logging.getLogger(__name__)

MARK_BYTES = 16
PACKET_BYTES = 4096
ANSWER_S = 10.0
"""The supervisor answers within its loop's turn; past this it hangs or is gone."""


class SigningServer:
    """Signs, inside the supervisor's selector loop, checkpoints of this boot's logs and nothing else."""

    def __init__(self, selector: selectors.BaseSelector, key: SigningKey, boot: str) -> None:
        self._selector = selector
        self._key = key
        self._boot = boot
        self._own, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._own.setblocking(False)
        selector.register(self._own, selectors.EVENT_READ, self._answer)

    def _answer(self) -> None:
        try:
            packet = self._own.recv(PACKET_BYTES)
        except OSError:
            return
        mark, text = packet[:MARK_BYTES], packet[MARK_BYTES:]
        signature = b""
        try:
            checkpoint = Checkpoint.parse(text.decode())
            if parse(checkpoint.origin).boot != self._boot:
                raise LedgerError(f"checkpoint of {checkpoint.origin}: not a log of boot {self._boot}")
            signature = self._key.sign_bytes(text)
        except (LedgerError, UnicodeDecodeError) as error:
            log.error("not signed: %s", error)
        # An analyst that does not read its answers waits for none.
        with contextlib.suppress(OSError):
            self._own.send(mark + signature)

    def close(self) -> None:
        self._selector.unregister(self._own)
        self._own.close()
        self.theirs.close()


class SigningClient:
    """The analyst's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def __call__(self, text: str) -> bytes:
        """The signature of a checkpoint's text. Raises LedgerError when there is none to be had."""
        mark = os.urandom(MARK_BYTES)
        deadline_s = time.monotonic() + ANSWER_S
        try:
            self._socket.settimeout(ANSWER_S)
            self._socket.send(mark + text.encode())
            while (left_s := deadline_s - time.monotonic()) > 0:
                self._socket.settimeout(left_s)
                packet = self._socket.recv(PACKET_BYTES)
                if not packet:
                    break
                if packet[:MARK_BYTES] == mark:
                    return _whole(packet[MARK_BYTES:], text)
        except OSError as error:
            raise LedgerError(f"checkpoint: the supervisor cannot be asked to sign: {error}") from error
        raise LedgerError("checkpoint: the supervisor did not answer: it is tried again")


def _whole(signature: bytes, text: str) -> bytes:
    if len(signature) != SIGNATURE_BYTES:
        raise LedgerError(f"checkpoint of {text.splitlines()[0]}: the supervisor refused to sign it")
    return signature

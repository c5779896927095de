"""What a batch's metadata claims, and whose signature stands under its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sidecar.audit.batch import BatchFacts
from sidecar.audit.ranges import Range, frontier
from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import Note, VerifierKey


@dataclass(frozen=True, slots=True)
class Signed:
    """The checkpoint of one batch as read. `signer` is the key under whose name its signature holds."""

    origin: str
    size: int
    root: bytes
    text: str
    signer: VerifierKey | None
    problem: str | None = None

    @property
    def valid(self) -> bool:
        return self.signer is not None


def read(facts: BatchFacts) -> Signed:
    """The batch's checkpoint; `problem` says what is wrong with it, in words for a sentence."""
    text, key = facts.metadata.get("checkpoint"), facts.metadata.get("public_key")
    if not isinstance(text, str):
        return Signed(facts.named.origin, -1, b"", "", None, "there is none")
    return _read(text, str(key), facts.named.origin)


@lru_cache(1 << 16)
def _read(text: str, public_key: str, origin: str) -> Signed:
    """Asked several times of every batch; a signature takes a tenth of a millisecond to check."""
    try:
        note = Note.parse(text)
        checkpoint = Checkpoint.parse(note.text)
    except LedgerError as error:
        return Signed(origin, -1, b"", text, None, str(error))
    signer, problem = None, None
    try:
        key = VerifierKey.parse(public_key)
        if note.verified_by([key]):
            signer = key
        else:
            problem = "its signature is not one of the key named beside it"
    except LedgerError as error:
        problem = str(error)
    return Signed(checkpoint.origin, checkpoint.size, checkpoint.root, text, signer, problem)


def before(facts: BatchFacts, first: int) -> Range | None:
    """The tree before the batch as its metadata gives it, if it does; only a root that fits proves it."""
    stored = facts.metadata.get("frontier")
    if not isinstance(stored, list):
        return None
    try:
        return frontier(first, [base64text.decode(str(each)) for each in stored])
    except ValueError:
        return None

"""What a batch's metadata claims, and whose signature stands under its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.audit.batch import BatchFacts
from sidecar.audit.ranges import Range, frontier
from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import Note, VerifierKey

CANONICAL_KNOWN = 1


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
    text = facts.metadata.get("checkpoint")
    named = facts.named
    if not isinstance(text, str):
        return Signed(named.origin, -1, b"", "", None, "there is none")
    try:
        note = Note.parse(text)
        checkpoint = Checkpoint.parse(note.text)
    except LedgerError as error:
        return Signed(named.origin, -1, b"", text, None, str(error))
    signer, problem = None, None
    try:
        key = VerifierKey.parse(str(facts.metadata.get("public_key")))
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

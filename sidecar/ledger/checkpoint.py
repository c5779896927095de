"""What a log says of itself at a size: the text of c2sp.org/tlog-checkpoint, version 1, in a signed note."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.note import Note, Signer, VerifierKey, check_name
from sidecar.ledger.tree import HASH_BYTES, MAX_SIZE

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root over the first `size` leaves of the log that `origin` names."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """`<origin>\\n<size>\\n<base64 root>\\n`: what is signed."""
        return f"{self.origin}\n{self.size}\n{base64text.encode(self.root)}\n"

    def signed(self, signer: Signer) -> Note:
        """The checkpoint as a note of the log's key. Raises LedgerError for a key of another name."""
        if signer.verifier.name != self.origin:
            raise LedgerError(
                f"checkpoint of {self.origin}: the key is {signer.verifier.name}'s: sign with the log's own"
            )
        return Note(self.text(), (signer.signature(self.text()),))

    @classmethod
    def parse(cls, text: str, origin: str | None = None) -> Checkpoint:
        """Read a checkpoint's text, which nobody has vouched for yet.

        Raises LedgerError when it is malformed or, with `origin` given, another
        log's. Extension lines, which no log of ours writes, are refused.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise LedgerError("checkpoint: not the three lines origin, size and root")
        named, size, root_text = lines[:3]
        check_name(named)
        if origin is not None and named != origin:
            raise LedgerError(f"checkpoint: of the log {named}, not {origin}")
        if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
            raise LedgerError(f"checkpoint of {named}: {size[:40]!r} is no tree size")
        try:
            root = base64text.decode(root_text)
        except ValueError as error:
            raise LedgerError(f"checkpoint of {named}: its root: {error}") from error
        if len(root) != HASH_BYTES:
            raise LedgerError(f"checkpoint of {named}: its root has {len(root)} bytes, not {HASH_BYTES}")
        return cls(named, int(size), root)

    @classmethod
    def open(cls, note: Note | str, keys: Iterable[VerifierKey], origin: str | None = None) -> Checkpoint:
        """A checkpoint that one of the keys signed under the name of the log.

        Raises LedgerError when the note or its text is malformed, is another
        log's, or is not signed by a key that is named as its origin.
        """
        parsed = Note.parse(note) if isinstance(note, str) else note
        checkpoint = cls.parse(parsed.text, origin)
        named = [key for key in keys if key.name == checkpoint.origin]
        if not named:
            raise LedgerError(f"checkpoint of {checkpoint.origin}: no trusted key has the log's name")
        parsed.verified_by(named)
        return checkpoint

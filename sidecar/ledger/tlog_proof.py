"""The text form of an inclusion proof with its checkpoint: c2sp.org/tlog-proof, version 1.

c2sp.org/tlog-proof@v1
[extra <base64>]
index <leaf index>
<base64 hash>            one line for each, from the leaf's sibling up

<checkpoint, a signed note>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.note import MAX_NOTE_BYTES, Note
from sidecar.ledger.tree import HASH_BYTES, MAX_SIZE

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_PATH: Final = 63
"""No tree of at most 2^63 - 1 leaves is higher."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A leaf's place, the path up from it, and the checkpoint that it leads to; nothing is checked yet."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes | None = None
    """For the application; nobody signs it."""

    def format(self) -> str:
        extra = [] if self.extra is None else [f"extra {base64text.encode(self.extra)}"]
        path = [base64text.encode(each) for each in self.path]
        lines = [HEADER, *extra, f"index {self.index}", *path, ""]
        return "\n".join(lines) + "\n" + self.checkpoint.format()

    @classmethod
    def parse(cls, text: str) -> TlogProof:
        """Read a proof. Raises LedgerError naming what is malformed."""
        if len(text) > 2 * MAX_NOTE_BYTES:
            raise LedgerError(f"proof: longer than {2 * MAX_NOTE_BYTES} characters")
        head, separator, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not separator or lines.pop(0) != HEADER:
            raise LedgerError(f"proof: does not begin with {HEADER}")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = _decode("extra data", lines.pop(0).removeprefix("extra "))
        found = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if found is None or int(found[1]) > MAX_SIZE:
            raise LedgerError("proof: no line with the leaf's index")
        if len(lines) > MAX_PATH:
            raise LedgerError("proof: longer than any tree is high")
        path = tuple(_decode("hash", line) for line in lines)
        if any(len(each) != HASH_BYTES for each in path):
            raise LedgerError(f"proof: a hash is not {HASH_BYTES} bytes")
        return cls(int(found[1]), path, Note.parse(checkpoint), extra)


def _decode(what: str, text: str) -> bytes:
    try:
        return base64text.decode(text)
    except ValueError as error:
        raise LedgerError(f"proof: its {what} {text[:60]!r}: {error}") from error

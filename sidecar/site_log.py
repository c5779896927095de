"""Glue: the site log of a store, with the ledger's trees, notes and keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sidecar.errors import LedgerError, UsageError
from sidecar.ledger.note import Note, SigningKey, VerifierKey
from sidecar.ledger.tree import Frontier
from sidecar.site.log import Objects, SiteLog


class NotesAndTrees:
    """The ledger as the site log uses it."""

    def tree(self) -> Frontier:
        return Frontier()

    def signed_text(self, note: str, key: str) -> str:
        parsed = Note.parse(note)
        if len(parsed.signatures) != 1:
            raise LedgerError(f"its note has {len(parsed.signatures)} signatures, not the author's alone")
        _verifier(key).verify(parsed)
        return parsed.text


@dataclass(frozen=True, slots=True)
class KeyAuthor:
    """Writes with a private key."""

    signer: SigningKey

    @property
    def key(self) -> str:
        return str(self.signer.verifier)

    def note(self, text: str) -> str:
        return self.signer.sign(text).format()


def open_site_log(store: Objects) -> SiteLog:
    """The site log in this store."""
    return SiteLog(store, NotesAndTrees())


def author(key_file: Path) -> KeyAuthor:
    """Whoever holds the private key in this file."""
    return KeyAuthor(private_key(key_file))


def private_key(path: Path) -> SigningKey:
    """The key in a file that `sidecar keys new` wrote. Raises UsageError when it is none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise UsageError(f"key {path}: {reason}: give a file that `sidecar keys new` wrote") from error
    try:
        return SigningKey.parse(text)
    except LedgerError as error:
        raise UsageError(f"key {path}: {error}") from error


def public_keys(given: Iterable[str]) -> list[VerifierKey]:
    """Keys as given on a command line: each the text form of a public key, or the path of a file of them.

    Of a private key's file, its public half. Raises UsageError for what is neither.
    """
    keys = []
    for each in given:
        path = Path(each)
        try:
            lines = path.read_text().splitlines() if "+" not in each or path.is_file() else [each]
            keys += [_public(line) for line in lines if line.strip() and not line.startswith("#")]
        except (OSError, UnicodeDecodeError, LedgerError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"key {each!r}: {reason}: give a public key's line, or a file of them"
            ) from error
    return keys


def _public(line: str) -> VerifierKey:
    if line.startswith("PRIVATE+KEY+"):
        return SigningKey.parse(line).verifier
    return VerifierKey.parse(line)


@lru_cache(64)
def _verifier(key: str) -> VerifierKey:
    return VerifierKey.parse(key)

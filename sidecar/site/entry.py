"""One entry of the site log as bytes, and its leaf.

An entry is one JSON object in one form only (RFC 8785 for the body, fixed
order for the rest), so that no byte of it can change unnoticed. Its leaf hash
is SHA-256(0x00 || msgpack of [1, index, t_us, kind, body's text]);
docs/site-log.md has it byte by byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]

from sidecar.errors import LedgerError

FORMAT: Final = 1
ORIGIN: Final = "site"
FOLDER: Final = "site"
KINDS: Final = ("enrolment", "erase", "hold", "release", "retention", "witness", "reperformance")
MAX_ENTRY_BYTES: Final = 4 << 20
MAX_INTEGER: Final = 2**53 - 1
"""Whole numbers beyond are not the same to every reader of JSON."""

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"
Body: TypeAlias = "Mapping[str, Json]"

_NAME = re.compile(r"site/([0-9]{12})\.json", re.ASCII)
_FIELDS = frozenset(("format", "index", "previous", "t_us", "kind", "body", "root", "key", "note"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Whoever read it through `SiteLog` knows that chain, root and signature hold."""

    index: int
    previous: str | None
    """Hex SHA-256 of the object before; None for the first."""
    t_us: int
    kind: str
    body: dict[str, Any]
    root: str
    """Base64 of the root over all leaves up to this one."""
    key: str
    """The author's public key, in the text form of c2sp.org/signed-note."""
    note: str
    """The checkpoint that the author signed, as a note."""

    @property
    def name(self) -> str:
        return object_name(self.index)

    @property
    def checkpoint(self) -> str:
        """The text that the note must hold."""
        return checkpoint_text(self.index + 1, self.root)

    def leaf(self) -> bytes:
        return leaf_hash(self.index, self.t_us, self.kind, body_text(self.body))

    def encode(self) -> bytes:
        """The object's bytes."""
        head = json.dumps(
            {
                "format": FORMAT,
                "index": self.index,
                "previous": self.previous,
                "t_us": self.t_us,
                "kind": self.kind,
            },
            separators=(",", ":"),
        )
        tail = json.dumps(
            {"root": self.root, "key": self.key, "note": self.note}, separators=(",", ":"), ensure_ascii=False
        )
        return f'{head[:-1]},"body":{body_text(self.body)},{tail[1:]}\n'.encode()


def object_name(index: int) -> str:
    return f"{FOLDER}/{index:012d}.json"


def index_of(name: str) -> int | None:
    """The index an object's name states; None for a name no entry has."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def checkpoint_text(size: int, root: str) -> str:
    return f"{ORIGIN}\n{size}\n{root}\n"


def leaf_hash(index: int, t_us: int, kind: str, text: str) -> bytes:
    """The leaf of an entry whose body has this text."""
    return sha256(b"\x00" + msgpack.packb([FORMAT, index, t_us, kind, text])).digest()


def body_text(body: Body) -> str:
    """The body as RFC 8785 writes it. Raises LedgerError for what has no such text."""
    _check(body, 0)
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise LedgerError(f"site log: a body that JSON cannot hold: {error}") from error
    return text


def parse(data: bytes) -> Entry:
    """Read an object. Raises LedgerError unless its bytes are exactly those of an entry."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LedgerError("it is no JSON") from error
    if not isinstance(found, dict) or found.keys() != _FIELDS:
        raise LedgerError("it has not the fields of an entry")
    if found["format"] != FORMAT:
        raise LedgerError(f"it has format {found['format']!r}, this build reads {FORMAT}")
    previous, kind, body = found["previous"], found["kind"], found["body"]
    if type(found["index"]) is not int or type(found["t_us"]) is not int:
        raise LedgerError("its index or time is no whole number")
    if kind not in KINDS or not isinstance(body, dict):
        raise LedgerError(f"it is of no known kind: {str(kind)[:40]!r}")
    if not all(isinstance(each, str) for each in (found["root"], found["key"], found["note"])) or not (
        previous is None or isinstance(previous, str)
    ):
        raise LedgerError("its root, key, note or previous hash is no text")
    entry = Entry(
        found["index"],
        previous,
        found["t_us"],
        kind,
        body,
        found["root"],
        found["key"],
        found["note"],
    )
    try:
        same = entry.encode() == data
    except UnicodeEncodeError:
        same = False
    if not same:
        raise LedgerError("its bytes are not in the one form of an entry")
    return entry


def _check(value: Json, depth: int) -> None:
    if depth > 20:
        raise LedgerError("site log: a body nested more than 20 deep")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise LedgerError(f"site log: the number {value} is not the same to every reader of JSON")
    elif isinstance(value, Mapping):
        for name, each in value.items():
            # RFC 8785 orders names by UTF-16 units, Python by code points: of ASCII there is one order.
            if not isinstance(name, str) or not name.isascii():
                raise LedgerError(f"site log: {name!r} is no name of a field")
            _check(each, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for each in value:
            _check(each, depth + 1)
    else:
        raise LedgerError(f"site log: a body holds {type(value).__name__}, which has no one text in JSON")

"""One record, whole, out of a store."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sidecar.archive import catalog
from sidecar.archive.query import FIELDS
from sidecar.archive.source import Source
from sidecar.archive.table import Table
from sidecar.errors import RecordNotFound, StoreError
from sidecar.records import Message
from sidecar.schema import COLUMN_TYPES

_NARROW = ("record_id", "kind", "seq", "count")
_WIDE = tuple(COLUMN_TYPES)

Row = dict[str, Any]
"""Every stored column of one record."""


@dataclass(slots=True)
class Shown:
    """A record as it lies in the store."""

    row: Row
    file: str
    """The object that holds it."""
    metadata: dict[str, Any]
    """That object's."""
    followers: list[Row] = field(default_factory=list)
    """Rows that follow up on it (deliveries)."""
    sealed_body: str | None = None
    """Why the bodies of an encrypted record cannot be shown; None if they can."""

    @property
    def encrypted(self) -> bool:
        """Whether the stored bodies are ciphertexts."""
        return self.row["key_commitment"] is not None


def load(source: Source, record_id: str, problem: Callable[[StoreError], None]) -> Shown:
    """The record with what became of it.

    Raises RecordNotFound, naming the gap when the number lies in one, and
    UsageError for an impossible id. Unreadable files are given to `problem`.
    """
    wanted = catalog.RecordId.parse(record_id)
    found: Shown | None = None
    gap: Row | None = None
    followers: list[Row] = []
    for file in catalog.files_with(source, wanted):
        try:
            table = Table(source, file.name)
            for values in table.matching(_NARROW, _WIDE, lambda row: _concerns(row, wanted)):
                row = dict(zip(_WIDE, values, strict=True))
                if row["record_id"] == record_id:
                    found = Shown(row, file.name, table.metadata)
                elif row["kind"] == "delivery":
                    followers.append(row)
                else:
                    gap = row
        except StoreError as error:
            problem(error)
    if found is None:
        raise RecordNotFound(_why_not(source, record_id, gap))
    if found.encrypted:
        found.sealed_body = "encrypted: --master-key FILE opens it"
    found.followers = [] if wanted.rest else followers
    return found


def _concerns(row: tuple[Any, ...], wanted: catalog.RecordId) -> bool:
    identity, kind, seq, count = row
    if identity == wanted.text:
        return True
    if wanted.origin:
        return False
    if kind == "delivery":
        return bool(identity == f"{wanted.exchange}-delivery")
    return kind == "gap" and seq is not None and seq <= wanted.seq < seq + (count or 1)


def _why_not(source: Source, record_id: str, gap: Row | None) -> str:
    if gap is not None:
        return (
            f"record {record_id}: left no record: it lies in gap {gap['record_id']} "
            f"of {gap['count']} exchanges ({gap['reason']}): see `sidecar show {gap['record_id']}`"
        )
    return (
        f"record {record_id}: not in store {source.objects.description}: "
        "it may not be shipped yet, or be in another store"
    )


def message(row: Row, side: str) -> Message:
    """The stored `request` or `response` of a row."""
    return Message(
        head=row[f"{side}_head"] or b"",
        body=row[f"{side}_body"] or b"",
        trailers=row[f"{side}_trailers"] or b"",
        interim=(row["response_interim"] or b"") if side == "response" else b"",
        length=row[f"{side}_body_length"] or 0,
        sha256=row[f"{side}_body_sha256"],
        complete=bool(row[f"{side}_complete"]),
    )


def as_json(shown: Shown) -> dict[str, Any]:
    """Everything known of a record, JSON-able; bodies as stored, in base64."""
    row = shown.row
    made: dict[str, Any] = {name: row[name] for name in FIELDS}
    made["details"] = _parsed(row["details"])
    made["redacted"] = _parsed(row["redacted"])
    made["leaf_index"] = row["leaf_index"]
    made["file"] = shown.file
    made["encrypted"] = shown.encrypted
    if shown.sealed_body:
        made["sealed_body"] = shown.sealed_body
    made["deliveries"] = [{name: each[name] for name in ("t_end_us", "outcome")} for each in shown.followers]
    if row["kind"] == "exchange":
        made["request"] = _side(row, "request", row["inputs"])
        made["response"] = _side(row, "response", row["outputs"])
    return made


def _side(row: Row, side: str, decoded: str | None) -> dict[str, Any]:
    part = message(row, side)
    shown: dict[str, Any] = {
        "start_line": part.start_line.decode("latin-1"),
        "headers": part.headers(),
        "body_base64": base64.b64encode(part.body).decode("ascii"),
        "body_length": part.length,
        "complete": part.complete,
    }
    if part.sha256 is not None:
        shown["body_sha256"] = part.sha256.hex()
    if part.trailers:
        shown["trailers"] = Message(b"\r\n" + part.trailers, b"").headers()
    if part.interim:
        heads = part.interim.split(b"\r\n\r\n")
        shown["interim"] = [head.decode("latin-1") for head in heads if head]
    if decoded is not None:
        shown["decoded"] = _parsed(decoded)
    return shown


def redaction_lines(text: str | None) -> Sequence[str]:
    """What redaction did to the record, a line each."""
    said = _parsed(text)
    if not isinstance(said, dict):
        return [] if text is None else [str(said)]
    lines = [f"by rule {rule}" for rule in said.get("rules", [])]
    lines += [f"{column} dropped: {why}" for column, why in (said.get("dropped") or {}).items()]
    return lines + [f"{column} stored without its content coding" for column in said.get("uncoded", [])]


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return text

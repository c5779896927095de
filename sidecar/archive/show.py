"""One record, whole, out of a store."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from sidecar.archive import catalog
from sidecar.archive.find import FIELDS
from sidecar.archive.table import Table
from sidecar.errors import RecordNotFound, StoreError
from sidecar.records import Message

PAYLOADS = (
    "request_head",
    "request_body",
    "request_trailers",
    "response_interim",
    "response_head",
    "response_body",
    "response_trailers",
    "request_body_length",
    "request_body_sha256",
    "response_body_length",
    "response_body_sha256",
    "request_complete",
    "response_complete",
    "inputs",
    "outputs",
)
_COLUMNS = FIELDS + PAYLOADS
_ID, _KIND, _SEQ, _COUNT = (FIELDS.index(name) for name in ("record_id", "kind", "seq", "count"))


def load(
    root: Path, record_id: str, problem: Callable[[StoreError], None]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record's row and the rows that follow up on it (deliveries).

    Raises RecordNotFound, naming the gap when the number lies in one, and
    UsageError for an impossible id. Unreadable files are given to `problem`.
    """
    wanted = catalog.RecordId.parse(record_id)
    found: dict[str, Any] | None = None
    gap: dict[str, Any] | None = None
    followers: list[dict[str, Any]] = []
    for file in catalog.files_with(root, wanted):
        try:
            for values in Table(file.path).rows(_COLUMNS):
                identity, kind = values[_ID], values[_KIND]
                if identity == record_id:
                    found = dict(zip(_COLUMNS, values, strict=True))
                elif kind == "delivery" and identity == f"{wanted.exchange}-delivery":
                    followers.append(dict(zip(_COLUMNS, values, strict=True)))
                elif kind == "gap" and values[_SEQ] <= wanted.seq < values[_SEQ] + (values[_COUNT] or 1):
                    gap = dict(zip(_COLUMNS, values, strict=True))
        except StoreError as error:
            problem(error)
    if found is None:
        raise RecordNotFound(_why_not(root, record_id, gap))
    return found, [] if wanted.rest else followers


def _why_not(root: Path, record_id: str, gap: dict[str, Any] | None) -> str:
    if gap is not None:
        return (
            f"record {record_id}: left no record: it lies in gap {gap['record_id']} "
            f"of {gap['count']} exchanges ({gap['reason']}): see `sidecar show {gap['record_id']}`"
        )
    return f"record {record_id}: not in store {root}: it may not be shipped yet, or be in another store"


def message(row: dict[str, Any], side: str) -> Message:
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


def as_json(row: dict[str, Any], followers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Everything known of a record, JSON-able; bodies as stored, in base64."""
    shown = {name: row[name] for name in FIELDS}
    shown["details"] = _parsed(row["details"])
    shown["deliveries"] = [{name: other[name] for name in ("t_end_us", "outcome")} for other in followers]
    if row["kind"] == "exchange":
        shown["request"] = _side(row, "request", row["inputs"])
        shown["response"] = _side(row, "response", row["outputs"])
    return shown


def _side(row: dict[str, Any], side: str, decoded: str | None) -> dict[str, Any]:
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


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return text

"""Which field of an altered row was changed: guesses, of which the sealed hash accepts one or none.

A leaf hash cannot be read backwards, but a guess can be tried: the status the
response's own head states, values the column holds elsewhere, times moved by
round amounts, a body with one byte different. A guess that gives the sealed
hash is proof of what was sealed. When none does, what the row contradicts in
itself is said as a suspicion, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.audit.redecode import disagreement
from sidecar.audit.sheet import ROW_NAMES, RowHasher, Sheet
from sidecar.schema import BLOB_COLUMNS, ROW_COLUMNS

Accepts = Callable[[int, bytes], bool]
"""Whether the row of this number was sealed with this leaf hash."""

TIMES = ("t_request_us", "t_request_end_us", "t_first_byte_us", "t_end_us")
VALUES_TRIED = 64
BYTES_TRIED = 2_048
"""Longest value of which every byte is tried."""
_SECOND = 1_000_000
_STATUS_LINE = re.compile(rb"^HTTP/[0-9.]+ ([0-9]{3})(?: |\r|$)")


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed in one row. `sealed` and `stored` are only known when it is proven."""

    field: str
    proven: bool
    text: str


def find_change(
    sheet: Sheet, row: int, accepts: Accepts, thorough: bool, quick: bool = False
) -> Change | None:
    """The change of one row; proven, suspected, or None.

    `quick` tries only what the row says elsewhere; `thorough` every value of
    every payload byte rather than one flipped bit.
    """
    hasher = sheet.row(row)
    if quick:
        for name, value in _said_elsewhere(hasher.values):
            if value != hasher.values[name] and accepts(row, hasher.leaf_with(name, value)):
                return _proven(name, hasher.values, {name: value})
        return None
    for field, changed in _guesses(sheet, row, hasher.values):
        if accepts(row, hasher.leaf_with_all(changed)):
            return _proven(field, hasher.values, changed)
    for name in ROW_NAMES:
        for value in _nearby(name, hasher.values[name]):
            if accepts(row, hasher.leaf_with(name, value)):
                return _proven(name, hasher.values, {name: value})
    for name in _payloads(hasher.values):
        found = _one_byte(hasher, name, row, accepts, thorough)
        if found is not None:
            return found
    return contradiction(hasher.values) or undecodable(hasher.values) or _out_of_step(sheet, row)


def _guesses(sheet: Sheet, row: int, values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Likely values first: what the row itself says, then moved times, then values seen in other rows."""
    for name, value in _said_elsewhere(values):
        if value != values[name]:
            yield name, {name: value}
    present = [name for name in TIMES if values[name] is not None]
    for delta in _DELTAS:
        moved = {name: values[name] + delta for name in present}
        if not all(abs(value) < 1 << 63 for value in moved.values()):
            continue
        yield "t_request_us", moved
        for name in present if len(present) > 1 else ():
            yield name, {name: values[name] + delta}
    for name in ROW_NAMES:
        if name in TIMES or name in ("record_id", "seq"):
            continue
        if values[name] is not None:
            yield name, {name: None}
        if name in BLOB_COLUMNS:
            continue
        tried: list[Any] = []
        for value in sheet.columns[name]:
            if len(tried) >= VALUES_TRIED:
                break
            if value is not None and value != values[name] and value not in tried:
                tried.append(value)
                yield name, {name: value}


def _said_elsewhere(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Columns that another column of the same row repeats, with what that one says."""
    status = stated_status(values["response_head"])
    if status is not None:
        yield "status", status
    line = _request_line(values["request_head"])
    if line is not None:
        yield "method", line[0]
        yield "path", line[1]
    log, seq = values["log"], values["seq"]
    if values["kind"] in ("exchange", "gap") and seq is not None:
        yield "record_id", f"{log}.{seq}"
        tail = str(values["record_id"]).removeprefix(f"{log}.")
        if tail.isdigit() and len(tail) < 19:
            yield "seq", int(tail)
    for side in ("request", "response"):
        body = values[f"{side}_body"]
        if body is not None and values[f"{side}_body_sha256"] is None:
            yield f"{side}_body_length", len(body)


def _nearby(name: str, value: Any) -> Iterator[Any]:
    """Other values of a number or a flag."""
    if isinstance(value, bool):
        yield not value
    elif name == "status":
        yield from range(100, 1_000)
    elif isinstance(value, int):
        tried = [value ^ (1 << bit) for bit in range(63)]
        tried += [value + step for step in range(-999, 1_000)]
        yield from (each for each in tried if abs(each) < 1 << 63)


def _payloads(values: dict[str, Any]) -> list[str]:
    return [
        name
        for name in ROW_NAMES
        if isinstance(values[name], str | bytes) and 0 < len(values[name]) <= BYTES_TRIED
    ]


def _one_byte(hasher: RowHasher, name: str, row: int, accepts: Accepts, thorough: bool) -> Change | None:
    value = hasher.values[name]
    data = value.encode() if isinstance(value, str) else bytes(value)
    masks = range(1, 256) if thorough else tuple(1 << bit for bit in range(8))
    as_bytes = ROW_COLUMNS[name] == "binary"
    for at in range(len(data)):
        head, tail = data[:at], data[at + 1 :]
        for mask in masks:
            tried = head + bytes((data[at] ^ mask,)) + tail
            if as_bytes or name in BLOB_COLUMNS:
                candidate: Any = tried
            else:
                try:
                    candidate = tried.decode()
                except UnicodeDecodeError:
                    continue
            if accepts(row, hasher.leaf_with(name, candidate)):
                was, now = data[at] ^ mask, data[at]
                return Change(
                    name,
                    True,
                    f"{name} is not what was sealed: its byte {at} is 0x{now:02x} and was 0x{was:02x}",
                )
    return None


def _proven(field: str, values: dict[str, Any], changed: dict[str, Any]) -> Change:
    name = field if field in changed else next(iter(changed))
    said = f"{name} is {_short(values[name])} and was sealed as {_short(changed[name])}"
    if len(changed) > 1:
        said += ", its other times likewise"
    return Change(name, True, said)


def _short(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bytes):
        return f"{len(value)} bytes" if len(value) > 40 else repr(value)[1:]
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def contradiction(values: dict[str, Any]) -> Change | None:
    """What a row contradicts in itself; no proof, since whoever changed one may have changed the other."""
    for name, value in _said_elsewhere(values):
        if values[name] is not None and value != values[name]:
            blame = name.replace("_length", "") if name.endswith("_body_length") else name
            return Change(
                blame,
                False,
                f"{blame} does not agree with the rest of the record ({name} {_short(values[name])}, "
                f"where the record itself says {_short(value)})",
            )
    known = [values[name] for name in TIMES if values[name] is not None]
    if known != sorted(known):
        return Change("t_request_us", False, "its times do not follow one another")
    return None


def undecodable(values: dict[str, Any]) -> Change | None:
    """A body that no longer says what was decoded from it."""
    column = disagreement(values)
    if column is None:
        return None
    what = "inputs" if column == "request_body" else "outputs"
    return Change(column, False, f"{column}, which does not decode to the {what} beside it any more")


def suspects(sheet: Sheet) -> dict[int, Change]:
    """Rows that contradict themselves, of all rows of a batch."""
    found: dict[int, Change] = {}
    bodies: dict[int, Change] = {}
    for row in range(sheet.rows):
        values = sheet.values(row)
        change = contradiction(values)
        if change is not None:
            found[row] = change
        elif (change := undecodable(values)) is not None:
            bodies[row] = change
    # So many bodies are read otherwise only by another decoder than the one that was there.
    return {**found, **bodies} if len(bodies) <= max(sheet.rows // 10, 3) else found


def _out_of_step(sheet: Sheet, row: int) -> Change | None:
    """Whether the row's end lies outside what the rows around it span by more than its own duration."""
    ends = sheet.columns["t_end_us"]
    mine = ends[row]
    around = [each for each in (ends[max(row - 5, 0) : row] + ends[row + 1 : row + 6]) if each is not None]
    if mine is None or len(around) < 2:
        return None
    slack = max(max(around) - min(around), _SECOND)
    if min(around) - slack <= mine <= max(around) + slack:
        return None
    return Change("t_request_us", False, "its times are out of step with the records around it")


def stated_status(head: bytes | None) -> int | None:
    """Status that a response head states."""
    found = _STATUS_LINE.match(head or b"")
    return int(found[1]) if found else None


def _request_line(head: bytes | None) -> tuple[str, str] | None:
    parts = (head or b"").split(b"\r\n", 1)[0].split(b" ")
    return (parts[0].decode("latin-1"), parts[1].decode("latin-1")) if len(parts) == 3 else None


def _round_deltas() -> tuple[int, ...]:
    steps = [
        *(count * _SECOND for count in range(1, 600)),
        *(count * 60 * _SECOND for count in range(10, 600)),
        *(count * 3_600 * _SECOND for count in range(10, 169)),
        *(count * 86_400 * _SECOND for count in range(8, 400)),
        *(count * 1_000 for count in range(1, 1_000)),
    ]
    return tuple(sign * step for step in steps for sign in (1, -1))


_DELTAS = _round_deltas()

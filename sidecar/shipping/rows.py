"""Entries of one log, one model and one date, gathered as the rows of one file.

Rows are kept as tuples and turned into Arrow columns a slice at a time, so that
the many small Python objects of a busy half minute never exist all at once.
The columns are the store's contract; docs/records.md lists them with units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps as dumps_any
from typing import Any

import orjson
from arro3.core import Array, DataType, Field, RecordBatch, Schema

from sidecar.records import Delivery, Epoch, Event, Exchange, Gap, Message, Observation, Outcome

SLICE_ROWS = 1_000
SLICE_BYTES = 1 << 20
HEADS_KEPT = 64
DAY_US = 86_400_000_000

_UTF8, _BINARY, _INT64, _INT32, _BOOL = (
    DataType.utf8(),
    DataType.binary(),
    DataType.int64(),
    DataType.int32(),
    DataType.bool(),
)

SHARED = ("log", "route", "boot", "model", "image_digest", "artifact_digest", "identity_source", "epoch")
"""Columns that hold one value for all rows of a file."""

COLUMNS: dict[str, DataType] = {
    "record_id": _UTF8,
    "kind": _UTF8,
    "log": _UTF8,
    "route": _UTF8,
    "boot": _UTF8,
    "seq": _INT64,
    "count": _INT64,
    "model": _UTF8,
    "image_digest": _UTF8,
    "artifact_digest": _UTF8,
    "identity_source": _UTF8,
    "epoch": _INT64,
    "connection": _INT64,
    "client": _UTF8,
    "t_request_us": _INT64,
    "t_request_end_us": _INT64,
    "t_first_byte_us": _INT64,
    "t_end_us": _INT64,
    "method": _UTF8,
    "path": _UTF8,
    "status": _INT32,
    "outcome": _UTF8,
    "reason": _UTF8,
    "request_bytes": _INT64,
    "response_bytes": _INT64,
    "request_head": _BINARY,
    "request_body": _BINARY,
    "request_trailers": _BINARY,
    "response_interim": _BINARY,
    "response_head": _BINARY,
    "response_body": _BINARY,
    "response_trailers": _BINARY,
    "request_body_length": _INT64,
    "request_body_sha256": _BINARY,
    "response_body_length": _INT64,
    "response_body_sha256": _BINARY,
    "request_complete": _BOOL,
    "response_complete": _BOOL,
    "decoder": _UTF8,
    "decode_error": _UTF8,
    "inputs": _UTF8,
    "outputs": _UTF8,
    "details": _UTF8,
}
SCHEMA = Schema([Field(name, kind, nullable=True) for name, kind in COLUMNS.items()])
_OWN = tuple(name for name in COLUMNS if name not in SHARED)
_OFTEN_EQUAL = frozenset(
    name
    for name in _OWN
    if name.endswith(("_trailers", "_interim", "_complete", "_sha256"))
    or name in ("kind", "count", "client", "method", "path", "status", "outcome", "reason")
    or name in ("decoder", "decode_error", "details")
)
"""Columns that are mostly one value over a whole slice, whose array is then made once and cut to length."""
_OUTCOMES = {int(outcome): outcome.label for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What all rows of one file share; `date` is the UTC day of `t_request_us` as days since 1970."""

    boot: str
    route: str
    epoch: int
    date: int

    @property
    def log(self) -> str:
        return f"{self.boot}.{self.route}"

    @property
    def iso_date(self) -> str:
        return datetime.fromtimestamp(self.date * 86_400, UTC).date().isoformat()


class RowGroup:
    """The growing content of one file.

    `raw_bytes` is what the rows hold in payload bytes, `first` and `last` the
    range of sequence numbers they speak of, `t_min_us` and `t_max_us` the range
    of `t_request_us`.
    """

    def __init__(self, key: GroupKey, epoch: Epoch) -> None:
        self.key = key
        self.epoch = epoch
        self.rows = 0
        self.raw_bytes = 0
        self.first = -1
        self.last = -1
        self.t_min_us = -1
        self.t_max_us = -1
        self._prefix = key.log + "."
        self._tuples: list[tuple[Any, ...]] = []
        self._slices: list[RecordBatch] = []
        self._constants: dict[str, tuple[Any, Array]] = {}
        self._slice_bytes = 0
        self._lines: dict[bytes, tuple[str | None, str | None]] = {}

    def exchange(
        self,
        exchange: Exchange,
        request: Message,
        response: Message,
        observation: Observation | None,
        decode_error: str | None,
    ) -> None:
        """Append one exchange; the messages hold its bytes without transfer coding."""
        seq = exchange.seq
        start = exchange.t_request_us
        line = self._lines.get(request.head)
        if line is None:
            if len(self._lines) >= HEADS_KEPT:
                self._lines.clear()
            line = self._lines[request.head] = _request_line(request.start_line)
        method, path = line
        ended, first, end = exchange.request_end_ns, exchange.first_byte_ns, exchange.end_ns
        self._append(
            (
                self._prefix + str(seq),
                "exchange",
                seq,
                None,
                exchange.connection,
                exchange.client,
                start,
                start + ended // 1000 if ended >= 0 else None,
                start + first // 1000 if first >= 0 else None,
                start + end // 1000 if end >= 0 else None,
                method,
                path,
                _status(response.head),
                _OUTCOMES.get(exchange.outcome) or f"outcome_{exchange.outcome}",
                exchange.reason or None,
                exchange.request_bytes,
                exchange.response_bytes,
                request.head,
                request.body,
                request.trailers or None,
                response.interim or None,
                response.head,
                response.body,
                response.trailers or None,
                request.length,
                request.sha256,
                response.length,
                response.sha256,
                request.complete,
                response.complete,
                observation.decoder if observation else None,
                decode_error,
                json_text(observation.inputs) if observation else None,
                json_text(observation.outputs) if observation else None,
                None,
            ),
            seq,
            seq,
            start,
            len(request.head) + len(request.body) + len(response.head) + len(response.body) + 512,
        )

    def gap(self, gap: Gap) -> None:
        """Append a run of sequence numbers that left no record."""
        last = gap.first_seq + max(gap.count, 1) - 1
        self._append(
            _sparse(
                record_id=self._prefix + str(gap.first_seq),
                kind="gap",
                seq=gap.first_seq,
                count=gap.count,
                t_request_us=gap.t_from_us,
                t_end_us=gap.t_to_us,
                reason=gap.reason,
            ),
            gap.first_seq,
            last,
            gap.t_from_us,
            512,
        )

    def delivery(self, delivery: Delivery) -> None:
        """Append the news that an already recorded response did not arrive whole."""
        self._append(
            _sparse(
                record_id=f"{self._prefix}{delivery.seq}-delivery",
                kind="delivery",
                seq=delivery.seq,
                t_request_us=delivery.t_us,
                t_end_us=delivery.t_us,
                outcome=_OUTCOMES.get(delivery.outcome) or f"outcome_{delivery.outcome}",
            ),
            delivery.seq,
            delivery.seq,
            delivery.t_us,
            512,
        )

    def event(self, event: Event, after_seq: int, segment: int, index: int) -> None:
        """Append an event, which follows exchange `after_seq` and has its place in the journal as its id."""
        self._append(
            _sparse(
                record_id=f"{self._prefix}{after_seq}-event-{segment}-{index}",
                kind="event",
                t_request_us=event.t_us,
                reason=event.name,
                details=json_text(event.details),
            ),
            after_seq,
            after_seq,
            event.t_us,
            512,
        )

    def slices(self) -> Iterator[RecordBatch]:
        """All rows so far as Arrow batches, in the order they were appended."""
        self._cut()
        return iter(self._slices)

    def _append(self, row: tuple[Any, ...], first: int, last: int, t_us: int, size: int) -> None:
        self._tuples.append(row)
        if self.rows == 0:
            self.first, self.last, self.t_min_us, self.t_max_us = first, last, t_us, t_us
        else:
            if first < self.first:
                self.first = first
            if last > self.last:
                self.last = last
            if t_us > self.t_max_us:
                self.t_max_us = t_us
            elif t_us < self.t_min_us:
                self.t_min_us = t_us
        self.rows += 1
        self.raw_bytes += size
        self._slice_bytes += size
        if len(self._tuples) >= SLICE_ROWS or self._slice_bytes >= SLICE_BYTES:
            self._cut()

    def _cut(self) -> None:
        if not self._tuples:
            return
        count = len(self._tuples)
        key, epoch = self.key, self.epoch
        shared = (
            key.log,
            key.route,
            key.boot,
            epoch.model,
            epoch.image_digest,
            epoch.artifact_digest,
            epoch.source,
            key.epoch,
        )
        arrays = {
            name: self._constant(name, value, count) for name, value in zip(SHARED, shared, strict=True)
        }
        for name, values in zip(_OWN, zip(*self._tuples, strict=True), strict=True):
            if name in _OFTEN_EQUAL and values.count(values[0]) == count:
                arrays[name] = self._constant(name, values[0], count)
            else:
                arrays[name] = Array(values, type=COLUMNS[name])
        self._tuples.clear()
        batch = RecordBatch.from_arrays([arrays[name] for name in COLUMNS], schema=SCHEMA)
        self._slices.append(batch)
        self._slice_bytes = 0

    def _constant(self, name: str, value: Any, count: int) -> Array:
        known = self._constants.get(name)
        if known is None or known[0] != value:
            made = Array((value,) * SLICE_ROWS, type=COLUMNS[name])
            known = self._constants[name] = (value, made)
        return known[1].slice(0, count)


def json_text(value: Any) -> str:
    """Value as JSON; what orjson refuses (huge integers, lone surrogates), the json module takes."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return dumps_any(value, default=str)


def _request_line(line: bytes) -> tuple[str | None, str | None]:
    """Method and target of a request line; None for each that is not there."""
    parts = line.split(b" ")
    if len(parts) != 3:
        return None, None
    return parts[0].decode("latin-1"), parts[1].decode("latin-1")


def _status(head: bytes) -> int | None:
    digits = head[9:12]
    return int(digits) if digits.isdigit() and len(digits) == 3 else None


def _sparse(**values: Any) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in _OWN)

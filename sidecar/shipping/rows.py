"""Entries of one log, one model and one date, gathered as the rows of one file.

Rows are kept as tuples and turned into Arrow columns a slice at a time, so that
the many small Python objects of a busy half minute never exist all at once.
Each row's leaf is made when it is appended; its index is known when the file
is made. The columns are the store's contract (`sidecar.schema`, docs/records.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from arro3.core import Array, RecordBatch

from sidecar.records import Delivery, Epoch, Event, Exchange, Gap, Message, Observation, Outcome
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS
from sidecar.shipping.columns import SCHEMA, UNPLACED, array
from sidecar.shipping.values import (
    Row,
    decision_of,
    decoded_json,
    json_text,
    request_line,
    sparse,
    status_of,
)

SLICE_ROWS = 1_000
SLICE_BYTES = 1 << 20
HEADS_KEPT = 64
DAY_US = 86_400_000_000
SALT_BYTES = 32

_OWN = (*ROW_COLUMNS, "leaf_hash", "salt")
_OFTEN_EQUAL = frozenset(
    name
    for name in _OWN
    if name.endswith(("_trailers", "_interim", "_complete", "_sha256"))
    or name in ("kind", "count", "client", "method", "path", "status", "outcome", "reason", "decoder")
    or name in ("decode_error", "decision", "keys", "redacted", "details")
    or name in ("subject_key_id", "wrapped_key", "key_commitment", "decoded_ciphertext")
)
"""Columns that are mostly one value over a whole slice, whose array is then made once and cut to length."""
_OUTCOMES = {int(outcome): outcome.label for outcome in Outcome}

LeafMaker = Callable[[Row, bytes | None], bytes]
"""The hash of a row's leaf, given the salt of its commitments."""


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


def log_values(key: GroupKey, epoch: Epoch) -> tuple[Any, ...]:
    """Values of `LOG_COLUMNS` for every row of a file."""
    return (
        key.log,
        key.route,
        key.boot,
        epoch.model,
        epoch.image_digest,
        epoch.artifact_digest,
        epoch.source,
        key.epoch,
    )


class Protected(Protocol):
    """The blobs of an exchange as they are stored when they are encrypted."""

    @property
    def request_body(self) -> bytes | None: ...
    @property
    def response_body(self) -> bytes | None: ...
    @property
    def decoded(self) -> bytes | None: ...
    @property
    def subject_key_id(self) -> bytes: ...
    @property
    def wrapped_key(self) -> bytes: ...
    @property
    def key_commitment(self) -> bytes: ...


class Vault(Protocol):
    """The keys of one file whose rows are encrypted."""

    def protect(
        self,
        record_id: str,
        request_body: bytes | None,
        response_body: bytes | None,
        decoded: bytes | None,
        subject: str | None,
    ) -> Protected:
        """Encrypt an exchange's blobs for its subject (None: the file's own)."""
        ...

    @property
    def used(self) -> bool: ...

    def close(self, batch: str) -> bytes:
        """The object that holds the keys of a batch, named so; nothing can be encrypted afterwards."""
        ...


class RowGroup:
    """The growing content of one file.

    `raw_bytes` is what the rows hold in payload bytes, `first` and `last` the
    range of sequence numbers they speak of (0 when none does), `t_min_us` and
    `t_max_us` the range of `t_request_us`, `leaves` the rows' leaf hashes,
    `pairs` their business keys, `mark` the kind of the log's own row that ends the file, if any.
    """

    def __init__(
        self,
        key: GroupKey,
        epoch: Epoch,
        leaf: LeafMaker,
        vault: Vault | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.key = key
        self.epoch = epoch
        self.rows = 0
        self.raw_bytes = 0
        self.first = 0
        self.last = 0
        self.t_min_us = -1
        self.t_max_us = -1
        self.leaves: list[bytes] = []
        self.pairs: set[tuple[str, str]] = set()
        self.mark: str | None = None
        self._leaf = leaf
        self.vault = vault
        self._random = random
        self._log_values = log_values(key, epoch)
        self._prefix = key.log + "."
        self._tuples: list[Row] = []
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
        keys: Mapping[str, str] | None = None,
        redacted: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Append one exchange; the messages hold its bytes without transfer coding, already redacted."""
        seq = exchange.seq
        start = exchange.t_request_us
        line = self._lines.get(request.head)
        if line is None:
            if len(self._lines) >= HEADS_KEPT:
                self._lines.clear()
            line = self._lines[request.head] = request_line(request.start_line)
        method, path = line
        ended, first, end = exchange.request_end_ns, exchange.first_byte_ns, exchange.end_ns
        record_id = self._prefix + str(seq)
        inputs = outputs = decision = None
        if observation is not None:
            inputs, outputs = json_text(observation.inputs), json_text(observation.outputs)
            decision = decision_of(observation)
        request_body: bytes | None = request.body
        response_body: bytes | None = response.body
        key_id = wrapped = commitment = decoded = None
        if keys:
            self.pairs.update(keys.items())
        if self.vault is not None:
            plain = decoded_json(inputs, outputs, decision)
            protected = self.vault.protect(record_id, request.body, response.body, plain, subject)
            request_body, response_body, decoded = (
                protected.request_body,
                protected.response_body,
                protected.decoded,
            )
            key_id, wrapped, commitment = (
                protected.subject_key_id,
                protected.wrapped_key,
                protected.key_commitment,
            )
            inputs = outputs = decision = None
        self._append(
            (
                record_id,
                "exchange",
                seq,
                None,
                exchange.connection,
                exchange.client or None,
                start,
                start + ended // 1000 if ended >= 0 else None,
                start + first // 1000 if first >= 0 else None,
                start + end // 1000 if end >= 0 else None,
                method,
                path,
                status_of(response.head),
                _OUTCOMES.get(exchange.outcome) or f"outcome_{exchange.outcome}",
                exchange.reason or None,
                exchange.request_bytes,
                exchange.response_bytes,
                request.head,
                request_body,
                request.trailers or None,
                response.interim or None,
                response.head,
                response_body,
                response.trailers or None,
                request.length,
                request.sha256,
                response.length,
                response.sha256,
                request.complete,
                response.complete,
                observation.decoder if observation else None,
                decode_error,
                inputs,
                outputs,
                decision,
                keys or None,
                redacted,
                key_id,
                wrapped,
                commitment,
                decoded,
                None,
            ),
            self._random(SALT_BYTES),
            seq,
            seq,
            start,
            len(request.head) + len(request.body) + len(response.head) + len(response.body) + 512,
        )

    def gap(self, gap: Gap) -> None:
        """Append a run of sequence numbers that left no record."""
        last = gap.first_seq + max(gap.count, 1) - 1
        row = sparse(
            record_id=self._prefix + str(gap.first_seq),
            kind="gap",
            seq=gap.first_seq,
            count=gap.count,
            t_request_us=gap.t_from_us,
            t_end_us=gap.t_to_us,
            reason=gap.reason,
        )
        self._append(row, None, gap.first_seq, last, gap.t_from_us)

    def delivery(self, delivery: Delivery) -> None:
        """Append the news that an already recorded response did not arrive whole."""
        row = sparse(
            record_id=f"{self._prefix}{delivery.seq}-delivery",
            kind="delivery",
            seq=delivery.seq,
            t_request_us=delivery.t_us,
            t_end_us=delivery.t_us,
            outcome=_OUTCOMES.get(delivery.outcome) or f"outcome_{delivery.outcome}",
        )
        self._append(row, None, delivery.seq, delivery.seq, delivery.t_us)

    def event(self, event: Event, after_seq: int, segment: int, index: int) -> None:
        """Append an event, which follows exchange `after_seq` and has its place in the journal as its id."""
        row = sparse(
            record_id=f"{self._prefix}{after_seq}-event-{segment}-{index}",
            kind="event",
            t_request_us=event.t_us,
            reason=event.name,
            details=json_text(event.details),
        )
        self._append(row, None, after_seq, after_seq, event.t_us)

    def batches(self, first_leaf: int, before: Sequence[Row], after: Sequence[Row]) -> list[RecordBatch]:
        """All rows as Arrow batches with their leaf indices, between the log's own rows."""
        self._cut()
        made: list[RecordBatch] = []
        index = first_leaf
        for batch in (*self._own(before), *self._slices, *self._own(after)):
            count = batch.num_rows
            indices = Array.from_numpy(np.arange(index, index + count, dtype=np.int64))
            made.append(RecordBatch.from_arrays([*batch.columns, indices], schema=SCHEMA))
            index += count
        return made

    def leaf(self, row: Row) -> bytes:
        """Leaf hash of one of the log's own rows."""
        return self._leaf(row, None)

    def _own(self, rows: Sequence[Row]) -> list[RecordBatch]:
        return [self._columns([(*row, self._leaf(row, None), None) for row in rows])] if rows else []

    def _append(
        self, row: Row, salt: bytes | None, first: int, last: int, t_us: int, size: int = 512
    ) -> None:
        leaf = self._leaf(row, salt)
        self.leaves.append(leaf)
        self._tuples.append((*row, leaf, salt))
        if last:
            self.first = min(self.first, first) if self.first else first
            self.last = max(self.last, last)
        if self.rows == 0:
            self.t_min_us = self.t_max_us = t_us
        elif t_us > self.t_max_us:
            self.t_max_us = t_us
        elif t_us < self.t_min_us:
            self.t_min_us = t_us
        self.rows += 1
        self.raw_bytes += size
        self._slice_bytes += size
        if len(self._tuples) >= SLICE_ROWS or self._slice_bytes >= SLICE_BYTES:
            self._cut()

    def _cut(self) -> None:
        if self._tuples:
            self._slices.append(self._columns(self._tuples))
            self._tuples.clear()
            self._slice_bytes = 0

    def _columns(self, rows: list[Row]) -> RecordBatch:
        """The rows as one Arrow batch with every column but the leaf index."""
        count = len(rows)
        arrays = {
            name: self._constant(name, value, count)
            for name, value in zip(LOG_COLUMNS, self._log_values, strict=True)
        }
        for name, values in zip(_OWN, zip(*rows, strict=True), strict=True):
            if name in _OFTEN_EQUAL and values.count(values[0]) == count:
                arrays[name] = self._constant(name, values[0], count)
            else:
                arrays[name] = array(name, values)
        return RecordBatch.from_arrays([arrays[name] for name in UNPLACED.names], schema=UNPLACED)

    def _constant(self, name: str, value: Any, count: int) -> Array:
        known = self._constants.get(name)
        if known is None or known[0] != value:
            made = array(name, (value,) * SLICE_ROWS)
            known = self._constants[name] = (value, made)
        return known[1].slice(0, count)

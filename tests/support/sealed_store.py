"""Whole sealed stores, made leaf by leaf from the ledger's parts, and the means to tamper with them.

A `LogMaker` seals what it is given as the sidecar does; `Tampered` opens one
object the way an attacker with write access would: rows and metadata changed
at will, re-encoded, and put back under the name that fits the new bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from arro3.core import RecordBatch
from arro3.io import read_parquet, write_parquet

from sidecar.key_filter import key_filter
from sidecar.ledger import base64text, enrolment
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.leaf import LeafEncoder
from sidecar.ledger.note import SigningKey
from sidecar.ledger.origin import Place, origin
from sidecar.ledger.tree import Frontier
from sidecar.privacy.encrypt import RecordSealer, SubjectKeys
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import MasterKey
from sidecar.schema import COLUMN_TYPES, LOG_COLUMNS, ROW_COLUMNS
from sidecar.shipping.columns import SCHEMA, array
from sidecar.shipping.parquet import path_safe

BOOT = "20261123T231500-9f3c2a71b0"
PLACE = Place("prod", "default", "mortgage", "7f3c0d52-8a44-4c10-9c1e-2f1f3b1f0c11")
DIGEST = "sha256:" + "ab" * 32
OTHER_DIGEST = "sha256:" + "cd" * 32
START_US = 1_795_478_400_000_000
"""2026-11-24 00:00 UTC."""
DAY_US = 86_400_000_000
REQUEST_HEAD = b"POST /predict HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n\r\n"
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

Row = dict[str, Any]


def encode(rows: list[Row], metadata: dict[str, Any]) -> bytes:
    """Rows as a batch file, as whoever can write Parquet would make it."""
    columns = [array(name, [row[name] for row in rows]) for name in SCHEMA.names]
    out = io.BytesIO()
    write_parquet(
        RecordBatch.from_arrays(columns, schema=SCHEMA),
        out,
        compression="zstd(1)",
        key_value_metadata={"sidecar": orjson.dumps(metadata).decode()},
        max_row_group_size=65_536,
    )
    return out.getvalue()


def leaf_hash(row: Row) -> bytes:
    encoder = LeafEncoder(tuple(row[name] for name in LOG_COLUMNS))
    return encoder.leaf(tuple(row[name] for name in ROW_COLUMNS), row["salt"])


def object_name(metadata: dict[str, Any], data: bytes) -> str:
    model, digest = path_safe(metadata["model"]), path_safe(metadata["digest"].replace(":", "-"))
    return (
        f"records/model={model}/digest={digest}/date={metadata['date']}/{metadata['origin']}"
        f"-L{metadata['first_leaf']:012d}-{metadata['last_leaf']:012d}"
        f"-S{metadata['first_seq']:012d}-{metadata['last_seq']:012d}"
        f"-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
    )


def put(store: Path, name: str, data: bytes) -> None:
    path = store / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def iso_date(t_us: int) -> str:
    return datetime.fromtimestamp(t_us // 1_000_000, UTC).date().isoformat()


class Encryption:
    """A master key, and the subject keys of the batch that is being made."""

    def __init__(self, master: MasterKey) -> None:
        self.master = master
        self.fresh()

    def fresh(self) -> None:
        self.keys = SubjectKeys()
        self.sealer = RecordSealer(self.keys)


@dataclass
class LogMaker:
    """One log that seals what it is given, batch by batch."""

    store: Path
    key: SigningKey
    route: str = "default"
    boot: str = BOOT
    place: Place = PLACE
    dead_boot: str | None = None
    enrolment_key: SigningKey | None = None
    model: str = "mortgage"
    digest: str | None = DIGEST
    epoch: int = 1
    t_us: int = START_US
    previous: dict[str, Any] | None = None
    continues: dict[str, Any] | None = None
    encryption: Encryption | None = None
    seq: int = 0
    recorded_by: str | None = None
    """The boot that recorded the exchanges, where another seals them."""
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.origin = origin(self.place, self.route, self.boot, self.dead_boot)
        self.key = self.key.named(self.origin)
        self.log = f"{self.recorded_by or self.dead_boot or self.boot}.{self.route}"
        self.frontier = Frontier()
        self.rows: list[Row] = []
        self.before = Frontier()
        self.checkpoint: Checkpoint | None = None
        self.last_sha256 = ""
        self.enrolled = None
        if self.enrolment_key is not None:
            self.enrolled = enrolment.certify(
                self.enrolment_key, self.place.prefix, self.boot, self.key.verifier.public_key
            )
        self._genesis()

    def _genesis(self) -> None:
        self.add(
            "genesis",
            details={
                "origin": self.origin,
                "public_key": str(self.key.verifier),
                "enrolment": self.enrolled,
                "cluster": self.place.cluster,
                "namespace": self.place.namespace,
                "workload": self.place.workload,
                "pod_uid": self.place.pod_uid,
                "route": self.route,
                "boot": self.boot,
                "version": "0",
                "previous": self.previous,
                "continues": self.continues,
            },
        )
        settings = {"hold": "relaxed"}
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        self.add("config", details={"settings": settings, "sha256": digest})
        self.identity()

    def _row(self, kind: str, **values: Any) -> Row:
        row: Row = dict.fromkeys(COLUMN_TYPES)
        row.update(
            log=self.log,
            route=self.route,
            boot=self.recorded_by or self.dead_boot or self.boot,
            model=self.model,
            image_digest=self.digest,
            identity_source="flag" if self.digest else "unknown",
            epoch=self.epoch,
            kind=kind,
            t_request_us=self.t_us,
        )
        row.update(values)
        return row

    def add(self, kind: str, details: dict[str, Any] | None = None, **values: Any) -> Row:
        """Append a leaf; what is not given is null."""
        leaf = self.frontier.size
        row = self._row(kind, **values)
        if row["record_id"] is None:
            row["record_id"] = f"{self.origin}.{kind}.{leaf}"
        if details is not None:
            row["details"] = json.dumps(details)
        row["leaf_index"] = leaf
        row["leaf_hash"] = leaf_hash(row)
        self.frontier.append(row["leaf_hash"])
        self.rows.append(row)
        return row

    def identity(self) -> None:
        self.add(
            "identity",
            details={
                "number": self.epoch,
                "model": self.model,
                "image_digest": self.digest,
                "artifact_digest": None,
                "source": "flag" if self.digest else "unknown",
                "since_us": self.t_us,
            },
        )

    def exchanges(self, count: int, status: int = 200, subject: str | None = None) -> None:
        for _ in range(count):
            self.exchange(status, subject)

    def exchange(self, status: int = 200, subject: str | None = None, **changed: Any) -> Row:
        self.seq += 1
        self.t_us += 250_000
        body, answer = b'{"n":%d}' % self.seq, b'{"deny":true}'
        values: Row = {
            "record_id": f"{self.log}.{self.seq}",
            "seq": self.seq,
            "connection": self.seq % 3,
            "client": "10.0.0.1:4000",
            "t_request_us": self.t_us,
            "t_request_end_us": self.t_us,
            "t_first_byte_us": self.t_us + 1_500,
            "t_end_us": self.t_us + 2_000,
            "method": "POST",
            "path": "/predict",
            "status": status,
            "outcome": "complete",
            "request_bytes": 100,
            "response_bytes": 80,
            "request_head": REQUEST_HEAD,
            "request_body": body,
            "response_head": RESPONSE_HEAD.replace(b"200", b"%d" % status),
            "response_body": answer,
            "request_body_length": len(body),
            "response_body_length": len(answer),
            "request_complete": True,
            "response_complete": True,
            "decoder": "plain_json",
            "inputs": f'{{"n":[{self.seq}]}}',
            "outputs": '{"deny":[true]}' if status == 200 else "{}",
            "decision": "deny" if status == 200 else None,
            "keys": {"applicant": f"A-{self.seq}"},
            "salt": os.urandom(32),
            **changed,
        }
        if self.encryption is not None:
            _encrypt(values, self.encryption.sealer, subject)
        return self.add("exchange", **values)

    def gap(self, count: int, reason: str = "disk_full") -> None:
        self.add(
            "gap",
            record_id=f"{self.log}.{self.seq + 1}",
            seq=self.seq + 1,
            count=count,
            t_end_us=self.t_us + 1_000,
            reason=reason,
        )
        self.seq += count

    def cut(self) -> str:
        """Seal what was added since the last cut as one object; gives its name."""
        if not self.rows:
            raise AssertionError("nothing to seal")
        first, last = self.rows[0]["leaf_index"], self.rows[-1]["leaf_index"]
        self.checkpoint = Checkpoint(self.origin, self.frontier.size, self.frontier.root())
        seqs = [row["seq"] for row in self.rows if row["seq"] is not None]
        ends = [row["seq"] + (row["count"] or 1) - 1 for row in self.rows if row["seq"] is not None]
        times = [row["t_request_us"] for row in self.rows]
        keys, key_object, entries = None, b"", None
        if self.encryption is not None:
            batch = f"{self.origin}-L{first:012d}-{last:012d}"
            keys, key_object = (
                f"subjects/{batch}.json",
                self.encryption.keys.close(batch, self.encryption.master),
            )
            entries = KeyObject.parse(key_object).digests()
        metadata = {
            "format": 2,
            "origin": self.origin,
            "log": self.log,
            "model": self.model,
            "digest": self.digest or "unknown",
            "date": iso_date(times[0]),
            "rows": len(self.rows),
            "first_leaf": first,
            "last_leaf": last,
            "first_seq": min(seqs, default=0),
            "last_seq": max(ends, default=0),
            "t_min_us": min(times),
            "t_max_us": max(times),
            "checkpoint": self.checkpoint.signed(self.key).format(),
            "public_key": str(self.key.verifier),
            "enrolment": self.enrolled,
            "keys": keys,
            "canonical": 1,
            "key_entries": entries,
            "frontier": [base64text.encode(each) for each in self.before.hashes],
            "key_filter": key_filter(pair for row in self.rows for pair in (row["keys"] or {}).items()),
        }
        data = encode(self.rows, metadata)
        name = object_name(metadata, data)
        put(self.store, name, data)
        if keys and self.encryption:
            put(self.store, keys, key_object)
            self.encryption.fresh()
        self.names.append(name)
        self.last_sha256 = hashlib.sha256(data).hexdigest()
        self.rows = []
        self.before = self.frontier.copy()
        return name

    def next(self) -> None:
        """Cut, and begin the next batch with the leaf that names the one just sealed."""
        name = self.cut()
        self.add("batch", details={"name": name, "sha256": self.last_sha256})

    def close(self) -> None:
        self.add("close", details={"size": self.frontier.size})
        self.cut()

    def facts(self) -> dict[str, Any]:
        """What the next log's genesis says of this one."""
        assert self.checkpoint is not None
        return {
            "origin": self.origin,
            "size": self.checkpoint.size,
            "root": base64text.encode(self.checkpoint.root),
            "batch": self.names[-1],
        }


def _encrypt(values: Row, sealer: RecordSealer, subject: str | None) -> None:
    decoded = json.dumps({name: values[name] for name in ("inputs", "outputs", "decision")}).encode()
    sealed = sealer.seal(
        values["record_id"], values["request_body"], values["response_body"], decoded, subject
    )
    values.update(
        request_body=sealed.request_body,
        response_body=sealed.response_body,
        decoded_ciphertext=sealed.decoded,
        inputs=None,
        outputs=None,
        decision=None,
        subject_key_id=sealed.subject_key_id,
        wrapped_key=sealed.wrapped_key,
        key_commitment=sealed.key_commitment,
    )


class Tampered:
    """One batch object laid open. Change `rows` and `metadata`, then `save`."""

    def __init__(self, store: Path, name: str) -> None:
        self.store, self.name = store, name
        reader = read_parquet(io.BytesIO((store / name).read_bytes()))
        self.metadata: dict[str, Any] = orjson.loads(reader.schema.metadata[b"sidecar"])
        self.rows: list[Row] = []
        for batch in reader:
            columns = [batch.column(name).to_pylist() for name in batch.schema.names]
            for values in zip(*columns, strict=True):
                row = dict(zip(batch.schema.names, values, strict=True))
                row["keys"] = None if row["keys"] is None else dict(row["keys"])
                self.rows.append(row)

    def row(self, seq: int) -> Row:
        return next(row for row in self.rows if row["seq"] == seq and row["kind"] == "exchange")

    def rehash(self) -> None:
        """Make every row's leaf hash fit its values again."""
        for row in self.rows:
            row["leaf_hash"] = leaf_hash(row)

    def renumber(self) -> None:
        """Make indices, counts and ranges fit the rows that are there."""
        first = self.metadata["first_leaf"]
        for number, row in enumerate(self.rows):
            row["leaf_index"] = first + number
        self.metadata.update(rows=len(self.rows), last_leaf=first + len(self.rows) - 1)

    def save(self, keep: bool = False) -> str:
        """Put it back under the name that fits; `keep` leaves the old object too."""
        data = encode(self.rows, self.metadata)
        name = object_name(self.metadata, data)
        if not keep:
            (self.store / self.name).unlink()
        put(self.store, name, data)
        return name


def tamper(store: Path, name: str, change: Callable[[Tampered], None]) -> str:
    """Open, change, save."""
    opened = Tampered(store, name)
    change(opened)
    return opened.save()

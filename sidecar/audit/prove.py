"""One record with all it takes to check it: found in the store and joined to its checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from sidecar.audit import naming, sealed
from sidecar.audit.batch import BatchFacts, check
from sidecar.audit.naming import BatchName
from sidecar.audit.parquet import BatchFile
from sidecar.audit.ranges import Range, subtrees
from sidecar.audit.sheet import LOG_NAMES, ROW_NAMES, Sheet
from sidecar.audit.sitefacts import SiteReading
from sidecar.audit.trust import Trust
from sidecar.audit.view import View
from sidecar.errors import LedgerError, RecordNotFound, StoreError
from sidecar.ledger import base64text, receipt
from sidecar.ledger.note import Note, VerifierKey
from sidecar.ledger.origin import parse as parse_origin
from sidecar.ledger.receipt import Receipt
from sidecar.ledger.tlog_proof import TlogProof
from sidecar.objects import Store

_NUMBERED = re.compile(r"^(?P<boot>[^.\s]+)\.(?P<route>.+)\.(?P<seq>[0-9]{1,18})(?:-[a-z0-9-]+)?$")
_SEALING = re.compile(
    r"^(?P<origin>.+)\.(?:genesis|config|identity|batch|heartbeat|close)\.(?P<leaf>[0-9]{1,18})$"
)


def prove(store: Store, record_id: str) -> Receipt:
    """The receipt of one record, checked before it is given.

    Raises RecordNotFound when no batch holds it, and StoreError when what is
    stored does not lead to its checkpoint.
    """
    batches = [named for entry in store.list(naming.RECORDS) if (named := naming.parse(entry.name))]
    for named in _candidates(record_id, batches):
        data = store.get(named.name)
        if not hashlib.sha256(data).hexdigest().startswith(named.hash):
            raise StoreError(f"{named.name}: is damaged, its name says otherwise: run `sidecar verify`")
        row = _row_of(named, data, record_id)
        if row is not None:
            return _receipt(store, named, data, row, batches)
    raise RecordNotFound(
        f"record {record_id}: not in the store {store.description}: take an id from `sidecar find`"
    )


def _candidates(record_id: str, batches: list[BatchName]) -> Iterator[BatchName]:
    """Batches whose names allow the record to be in them."""
    sealing = _SEALING.match(record_id)
    if sealing is not None:
        leaf = int(sealing["leaf"])
        for named in batches:
            if named.origin == sealing["origin"] and named.first_leaf <= leaf <= named.last_leaf:
                yield named
        return
    numbered = _NUMBERED.match(record_id)
    if numbered is None:
        return
    seq = int(numbered["seq"])
    for named in batches:
        if named.first_seq <= seq <= named.last_seq and _may_be_of(
            named, numbered["boot"], numbered["route"]
        ):
            yield named


def _may_be_of(named: BatchName, boot: str, route: str) -> bool:
    try:
        origin = parse_origin(named.origin)
    except LedgerError:
        return False
    same_boot = (origin.dead_boot or origin.boot) == boot or bool({"boot", "dead_boot"} & origin.shortened)
    return same_boot and (origin.route == route or "route" in origin.shortened)


def _row_of(named: BatchName, data: bytes, record_id: str) -> int | None:
    at = 0
    for count, columns in BatchFile(named.name, data).slices(("record_id",)):
        if record_id in columns["record_id"]:
            return at + columns["record_id"].index(record_id)
        at += count
    return None


def _receipt(store: Store, named: BatchName, data: bytes, row: int, batches: list[BatchName]) -> Receipt:
    facts, sheet = check(named, data), Sheet(named.name, data)
    signed = sealed.read(facts)
    if not signed.valid:
        raise StoreError(
            f"{named.name}: its checkpoint cannot be relied on: {signed.problem}: run `sidecar verify`"
        )
    before = _tree_before(store, facts, sheet, signed, batches)
    values = sheet.values(row)
    made = Receipt(
        log_values=tuple(values[name] for name in LOG_NAMES),
        row_values=tuple(_plain(values[name]) for name in ROW_NAMES),
        salt=values["salt"],
        leaf_hash=sheet.hashes[row],
        public_key=VerifierKey.parse(str(facts.metadata.get("public_key"))),
        enrolment=facts.metadata.get("enrolment"),
        proof=TlogProof(
            named.first_leaf + row,
            tuple(View(before, sheet.hashes).path(named.first_leaf + row)),
            _cosigned(store, signed),
        ),
    )
    verdict = receipt.verify(made)
    if not verdict.ok:
        failed = next(each for each in verdict.findings if each.passed is False)
        raise StoreError(f"{named.name}: {failed.step}: {failed.text}: run `sidecar verify`")
    return made


def _plain(value: Any) -> Any:
    """Maps as the receipt's JSON has them."""
    return dict(value) if isinstance(value, list) else value


def _tree_before(
    store: Store, facts: BatchFacts, sheet: Sheet, signed: sealed.Signed, batches: list[BatchName]
) -> Range:
    """The leaves before the batch: as its metadata says, else from the batches before it."""
    first = facts.named.first_leaf
    own = sealed.before(facts, first)
    if first == 0:
        own = Range()
    if own is None or not _leads(own, sheet, signed):
        own = Range()
        earlier = {each.first_leaf: each for each in batches if each.origin == facts.named.origin}
        while own.size < first:
            named = earlier.get(own.size)
            if named is None:
                raise StoreError(
                    f"log {facts.named.origin}: leaf {own.size} is not in the store, without which the "
                    "record cannot be proven: run `sidecar verify`"
                )
            own.push(check(named, store.get(named.name), recompute=False).claimed)
    if not _leads(own, sheet, signed):
        raise StoreError(
            f"{facts.named.name}: its records do not lead to its checkpoint: run `sidecar verify`"
        )
    return own


def _leads(before: Range, sheet: Sheet, signed: sealed.Signed) -> bool:
    after = before.copy()
    after.push(subtrees(before.size, sheet.hashes))
    return after.size == signed.size and after.root() == signed.root


def _cosigned(store: Store, signed: sealed.Signed) -> Note:
    """The checkpoint's note, with the witnesses' signatures if one has seen this very checkpoint."""
    note = Note.parse(signed.text)
    for sighting in SiteReading(store, Trust()).facts.sightings.get(signed.origin, ()):
        seen = sighting.seen
        if seen.size == signed.size and seen.root == base64text.encode(signed.root):
            try:
                found = Note.parse(seen.checkpoint)
            except LedgerError:
                continue
            if found.text == note.text:
                for each in found.signatures:
                    note = note.with_signature(each)
    return note

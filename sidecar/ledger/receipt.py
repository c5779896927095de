"""A record with all it takes to check it offline: what `prove` writes and `verify --receipt` reads.

A receipt is JSON. It holds the record's sealed values (binary ones as
base64), the salt of its commitments, its leaf hash, the inclusion proof with
the signed checkpoint in the form of c2sp.org/tlog-proof, the log's public key
and that key's enrolment. docs/evidence.md says how to check one by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sidecar.errors import LedgerError
from sidecar.ledger import base64text, enrolment
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.cosignature import CosignerKey
from sidecar.ledger.leaf import Row, Value, canonical, leaf_hash
from sidecar.ledger.note import Note, VerifierKey
from sidecar.ledger.proof import inclusion_root
from sidecar.ledger.tlog_proof import TlogProof
from sidecar.schema import CANONICAL_VERSION, LOG_COLUMNS, ROW_COLUMNS

FORMAT: Final = "sidecar-receipt/1"
MAX_RECEIPT_BYTES: Final = 1 << 30

_FIELDS = ("format", "canonical", "record", "salt", "leaf_hash", "public_key", "enrolment", "proof")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt holds; nothing in it is to be believed before `verify`."""

    log_values: Row
    row_values: Row
    salt: bytes | None
    leaf_hash: bytes
    public_key: VerifierKey
    """Named as the log's origin."""
    enrolment: str | None
    """The note that certifies the public key."""
    proof: TlogProof

    @property
    def record(self) -> dict[str, Value]:
        """The sealed values by their columns."""
        names = (*LOG_COLUMNS, *ROW_COLUMNS)
        return dict(zip(names, (*self.log_values, *self.row_values), strict=True))


class Step(StrEnum):
    """What is checked, in this order."""

    LEAF = "leaf"
    """The record hashes to the leaf."""
    PATH = "path"
    """The path leads from the leaf to the checkpoint's root."""
    CHECKPOINT = "checkpoint"
    """The log's key signed the checkpoint."""
    ENROLMENT = "enrolment"
    """A trusted enrolment key certified the log's key."""
    WITNESS = "witness"
    """The witnesses asked for cosigned the checkpoint."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How one step came out; `passed` is None when there was nothing to check it against."""

    step: Step
    passed: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, one a step and witness, whether or not an earlier one failed."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no step failed; what could not be checked counts as neither."""
        return all(each.passed is not False for each in self.findings)

    @property
    def failed(self) -> Step | None:
        """The first step that failed."""
        return next((each.step for each in self.findings if each.passed is False), None)

    @property
    def enrolled(self) -> bool:
        return any(each.step is Step.ENROLMENT and each.passed for each in self.findings)


def verify(
    receipt: Receipt, trusted: Sequence[VerifierKey] = (), witnesses: Iterable[CosignerKey] = ()
) -> Verdict:
    """Check every step from the receipt's own bytes and the keys given, and nothing else.

    Without trusted enrolment keys the log's key vouches for itself: whoever
    made the receipt may have made the log.
    """
    findings = [_leaf(receipt), _path(receipt), _checkpoint(receipt), _enrolment(receipt, trusted)]
    findings += [_witness(receipt, each) for each in witnesses]
    return Verdict(tuple(findings))


def _leaf(receipt: Receipt) -> Finding:
    try:
        found = leaf_hash(canonical(receipt.log_values, receipt.row_values, receipt.salt))
    except LedgerError as error:
        return Finding(Step.LEAF, False, str(error))
    if found != receipt.leaf_hash:
        return Finding(Step.LEAF, False, "the record is not the one that was sealed: it was changed")
    return Finding(Step.LEAF, True, f"the record hashes to leaf {found.hex()}")


def _path(receipt: Receipt) -> Finding:
    try:
        checkpoint = Checkpoint.parse(receipt.proof.checkpoint.text)
        index, size = receipt.proof.index, checkpoint.size
        root = inclusion_root(receipt.leaf_hash, index, size, receipt.proof.path)
    except LedgerError as error:
        return Finding(Step.PATH, False, str(error))
    if root != checkpoint.root:
        return Finding(Step.PATH, False, f"leaf {index} is not in the log of {size} leaves with this root")
    return Finding(Step.PATH, True, f"leaf {index} is in the log's first {size}")


def _checkpoint(receipt: Receipt) -> Finding:
    try:
        checkpoint = Checkpoint.open(receipt.proof.checkpoint, [receipt.public_key])
    except LedgerError as error:
        return Finding(Step.CHECKPOINT, False, str(error))
    return Finding(Step.CHECKPOINT, True, f"signed by the key of log {checkpoint.origin}")


def _enrolment(receipt: Receipt, trusted: Sequence[VerifierKey]) -> Finding:
    key = receipt.public_key
    if receipt.enrolment is None:
        text = "unenrolled: nobody certified the log's key"
        return Finding(Step.ENROLMENT, False if trusted else None, text)
    try:
        if trusted:
            signer = enrolment.check(receipt.enrolment, trusted, key.name, key.public_key)
            return Finding(Step.ENROLMENT, True, f"the log's key is certified by {signer.name}")
        note = Note.parse(receipt.enrolment)
        if not enrolment.Enrolment.parse(note.text).covers(key.name, key.public_key):
            return Finding(Step.ENROLMENT, False, "the enrolment is that of another log's key")
    except LedgerError as error:
        return Finding(Step.ENROLMENT, False, str(error))
    names = ", ".join(each.name for each in note.signatures)
    text = f"unchecked: certified in the name of {names}: give the enrolment key that you trust"
    return Finding(Step.ENROLMENT, None, text)


def _witness(receipt: Receipt, witness: CosignerKey) -> Finding:
    try:
        time_s = witness.cosigned_at(receipt.proof.checkpoint)
    except LedgerError as error:
        return Finding(Step.WITNESS, False, f"{witness.name}: {error}")
    return Finding(Step.WITNESS, True, f"{witness.name} saw it at {time_s} seconds since 1970")


def write(receipt: Receipt) -> str:
    """The receipt as JSON."""
    kinds = {**LOG_COLUMNS, **ROW_COLUMNS}
    document = {
        "format": FORMAT,
        "canonical": CANONICAL_VERSION,
        "record": {name: _to_json(kinds[name], value) for name, value in receipt.record.items()},
        "salt": _to_json("binary", receipt.salt),
        "leaf_hash": base64text.encode(receipt.leaf_hash),
        "public_key": str(receipt.public_key),
        "enrolment": receipt.enrolment,
        "proof": receipt.proof.format(),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse(text: str) -> Receipt:
    """Read a receipt. Raises LedgerError naming what is malformed, missing or unknown in it."""
    if len(text) > MAX_RECEIPT_BYTES:
        raise LedgerError(f"receipt: longer than {MAX_RECEIPT_BYTES} characters")
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"receipt: not JSON ({error}): give a file that `prove` wrote") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise LedgerError(f"receipt: not of the format {FORMAT}: give a file that `prove` wrote")
    if type(document.get("canonical")) is not int or document["canonical"] != CANONICAL_VERSION:
        raise LedgerError(
            f"receipt: sealed by canonical version {document.get('canonical')!r}, "
            f"this build knows {CANONICAL_VERSION}: use a newer one"
        )
    _same_names("receipt", document, _FIELDS)
    record = document["record"]
    if not isinstance(record, dict):
        raise LedgerError("receipt: its record is no object")
    _same_names("receipt: record", record, (*LOG_COLUMNS, *ROW_COLUMNS))
    digest = _from_json("leaf_hash", "binary", document["leaf_hash"])
    salt = _from_json("salt", "binary", document["salt"])
    certificate = document["enrolment"]
    if not isinstance(digest, bytes) or not (certificate is None or isinstance(certificate, str)):
        raise LedgerError("receipt: its leaf_hash or enrolment is no text")
    return Receipt(
        log_values=tuple(_from_json(name, kind, record[name]) for name, kind in LOG_COLUMNS.items()),
        row_values=tuple(_from_json(name, kind, record[name]) for name, kind in ROW_COLUMNS.items()),
        salt=salt if isinstance(salt, bytes) else None,
        leaf_hash=digest,
        public_key=VerifierKey.parse(_text(document, "public_key")),
        enrolment=certificate,
        proof=TlogProof.parse(_text(document, "proof")),
    )


def _to_json(kind: str, value: Value) -> Any:
    if isinstance(value, bytes):
        return base64text.encode(value)
    if kind == "map" and value is not None:
        return dict(value)  # type: ignore[arg-type]
    return value


def _from_json(name: str, kind: str, value: Any) -> Value:
    """The column's value; other types than the column's are left for the leaf step to refuse."""
    if value is None or kind not in ("binary", "map"):
        return value  # type: ignore[no-any-return]
    if kind == "map":
        if not isinstance(value, dict):
            raise LedgerError(f"receipt: its {name} is no object")
        return value
    try:
        return base64text.decode(value)
    except (ValueError, AttributeError) as error:
        raise LedgerError(f"receipt: its {name} is not base64") from error


def _text(document: dict[str, Any], name: str) -> str:
    if not isinstance(document[name], str):
        raise LedgerError(f"receipt: its {name} is no text")
    return str(document[name])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _same_names(what: str, found: dict[str, Any], wanted: Iterable[str]) -> None:
    missing = [name for name in wanted if name not in found]
    unknown = sorted(found.keys() - set(wanted))
    if missing or unknown:
        names = ", ".join([*(f"no {name}" for name in missing), *(f"unknown {name!r}" for name in unknown)])
        raise LedgerError(f"{what}: {names}")

"""A store of several logs as verification sees it, and the report on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.inventory import Selection
from sidecar.audit.report import LogReport, StoreReport
from sidecar.audit.trust import Trust
from sidecar.audit.verify import Job, verify
from sidecar.ledger import base64text
from sidecar.ledger.cosignature import CosignerKey, cosign
from sidecar.ledger.note import Note, SigningKey
from sidecar.ledger.origin import Place
from sidecar.objects import AUDITOR, open_store
from sidecar.privacy.master import MasterKey
from sidecar.site_log import KeyAuthor, open_site_log
from tests.support.sealed_store import (
    DAY_US,
    OTHER_DIGEST,
    START_US,
    Encryption,
    LogMaker,
)

NOW_US = START_US + 30 * DAY_US
ENROLMENT_KEY = SigningKey("enrolment", b"e" * 32)
BOOT_KEY = SigningKey("boot", b"b" * 32)
OTHER_BOOT_KEY = SigningKey("boot2", b"c" * 32)
OPERATOR = SigningKey("operator", b"o" * 32)
STRANGER = SigningKey("stranger", b"s" * 32)
EVERYTHING = Selection()
WITNESS = SigningKey("witness", b"w" * 32)
OTHER_PLACE = Place("prod", "default", "mortgage", "9d0b1c7a-1111-4c10-9c1e-2f1f3b1f0c22")
OTHER_BOOT = "20261124T080000-1122334455"


@dataclass
class Store:
    """A store on disk with two closed logs; `log` is the one that tests tamper with."""

    root: Path
    log: LogMaker
    other: LogMaker

    def report(
        self,
        trust: Iterable[SigningKey] = (ENROLMENT_KEY,),
        witnesses: Iterable[SigningKey] = (),
        **more: Any,
    ) -> StoreReport:
        return report(self.root, trust, witnesses, **more)

    def append(self, kind: str, body: dict[str, Any], key: SigningKey = OPERATOR) -> None:
        append(self.root, kind, body, key)

    def witness(self, log: LogMaker, key: SigningKey = WITNESS, time_s: int | None = None) -> None:
        """Append what a witness that sees the log now would say."""
        assert log.checkpoint is not None
        when = time_s if time_s is not None else NOW_US // 1_000_000 - 3_600
        note = cosign(key, log.checkpoint.signed(log.key), when)
        append(self.root, "witness", sighting(log, note, key), key)

    def path(self, name: str) -> Path:
        return self.root / name


def report(
    root: Path,
    trust: Iterable[SigningKey] = (ENROLMENT_KEY,),
    witnesses: Iterable[SigningKey] = (),
    selection: Selection = EVERYTHING,
    now_us: int = NOW_US,
    master: MasterKey | None = None,
    operators: Iterable[SigningKey] | None = None,
) -> StoreReport:
    """`operators`: by default ours, wherever an enrolment key is given."""
    keys = tuple(key.verifier for key in trust)
    authors = operators if operators is not None else [OPERATOR] if keys else []
    trusted = Trust(
        keys,
        tuple(CosignerKey.of(key.verifier) for key in witnesses),
        tuple(key.verifier for key in authors),
    )
    job = Job(str(root), AUDITOR, trusted, selection, 1, now_us, master)
    return verify(open_store(str(root)), job, None, lambda done, total: None)


def append(root: Path, kind: str, body: dict[str, Any], key: SigningKey = OPERATOR) -> None:
    open_site_log(open_store(str(root))).append(KeyAuthor(key), kind, body)


def sighting(log: LogMaker, note: Note, key: SigningKey) -> dict[str, Any]:
    assert log.checkpoint is not None
    seen = {
        "origin": log.origin,
        "size": log.checkpoint.size,
        "root": base64text.encode(log.checkpoint.root),
        "key": str(log.key.verifier),
        "checkpoint": note.format(),
        "frontier": [base64text.encode(each) for each in log.frontier.hashes],
        "batch": log.names[-1],
        "files": len(log.names),
        "names": "00" * 32,
    }
    return {
        "cosigner": str(CosignerKey.of(key.verifier)),
        "site_size": 0,
        "site_root": base64text.encode(bytes(32)),
        "checkpoints": [seen],
        "problems": [],
        "timestamp": None,
    }


def enrolment(place: Place, since_us: int = START_US) -> dict[str, Any]:
    return {
        "prefix": place.prefix,
        "cluster": place.cluster,
        "namespace": place.namespace,
        "workload": place.workload,
        "pod_uid": place.pod_uid,
        "digest": None,
        "public_key": str(ENROLMENT_KEY.verifier),
        "since_us": since_us,
        "retired_us": None,
    }


def erase(key_object: str, batch: str, ids: list[str]) -> dict[str, Any]:
    return {
        "tags": {"test": "ab" * 32},
        "reason": "request 17",
        "objects": [{"name": key_object, "batch": batch, "subject_key_ids": sorted(ids)}],
        "journal_until_us": NOW_US,
    }


def make(root: Path, close: bool = True, encryption: Encryption | None = None) -> Store:
    """Three batches of one log (20, 19 and 20 exchanges, and a gap), two of another under another digest."""
    log = LogMaker(root, BOOT_KEY, enrolment_key=ENROLMENT_KEY, encryption=encryption)
    log.exchanges(20)
    log.next()
    log.exchanges(10, status=500)
    log.gap(3)
    log.exchanges(9)
    log.next()
    log.exchanges(20)
    if close:
        log.close()
    else:
        log.cut()
    other = LogMaker(
        root,
        OTHER_BOOT_KEY,
        boot=OTHER_BOOT,
        place=OTHER_PLACE,
        enrolment_key=ENROLMENT_KEY,
        digest=OTHER_DIGEST,
        t_us=START_US + DAY_US,
    )
    other.exchanges(5)
    other.next()
    other.exchanges(5)
    other.close()
    return Store(root, log, other)


def failures(found: StoreReport) -> list[Finding]:
    """Everything that failed, in the store and its logs."""
    return [
        each
        for findings in (found.findings, *(log.findings for log in found.logs))
        for each in findings
        if each.failure
    ]


def the_failure(found: StoreReport) -> Finding:
    """The one thing that happened; fails when there is none, or another."""
    those = failures(found)
    assert len(those) == 1, [(each.kind, each.text) for each in those]
    assert not found.intact
    assert found.exit_code == 1
    return those[0]


def warnings(found: StoreReport) -> set[Kind]:
    return {
        each.kind
        for findings in (found.findings, *(log.findings for log in found.logs))
        for each in findings
        if not each.failure
    }


def log_of(found: StoreReport, log: LogMaker) -> LogReport:
    return next(each for each in found.logs if each.origin == log.origin)

"""Key objects against the rows that need them: erased, removed, changed, or opening nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import NAMED, Finding, Kind, named
from sidecar.audit.parquet import BatchFile
from sidecar.audit.sitefacts import Order, SiteReading
from sidecar.errors import Damaged, ObjectMissing, PrivacyError, StoreError
from sidecar.objects import Store
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import MasterKey
from sidecar.privacy.opening import open_record

_OPENED = (
    "record_id",
    "subject_key_id",
    "wrapped_key",
    "key_commitment",
    "request_body",
    "response_body",
    "decoded_ciphertext",
)


ERASURE_GRACE_US = 10 * 60_000_000
"""How long an erasure may be under way between its order and its end."""


@dataclass(slots=True)
class SubjectsVerdict:
    """What became of the subject keys of one log's batches."""

    erased_records: int = 0
    findings: list[Finding] = field(default_factory=list)


def check_subjects(
    keys_store: Store,
    store: Store,
    batches: list[BatchFacts],
    site: SiteReading,
    master: MasterKey | None,
    now_us: int,
) -> SubjectsVerdict:
    """Every subject key a row names is there as it was written, or a trusted order to erase it is."""
    verdict = SubjectsVerdict()
    erased: Counter[int] = Counter()
    for facts in batches:
        name = facts.metadata.get("keys")
        if not isinstance(name, str) or not facts.subjects:
            continue
        try:
            found: KeyObject | None = _read(keys_store.get(name), facts)
        except ObjectMissing:
            found = None
        except (ValueError, PrivacyError) as error:
            verdict.findings.append(Finding(Kind.ALTERED, f"its key object: {error}", name, field="keys"))
            continue
        if not _accounted_for(facts, found, site.facts.orders.get(name, {})):
            # Whoever erases says so first: the order may have come after the site log was read.
            site.read_on()
        _presence(facts, name, found, site.facts.orders.get(name, {}), verdict, erased, now_us)
        if found is not None:
            verdict.findings += _entries(facts, name, found)
        if master is not None and found is not None:
            verdict.findings += _opened(store, facts, name, found, master)
    for index, records in sorted(erased.items()):
        verdict.erased_records += records
        text = f"{records:,} records cannot be opened any more: erased by entry {index} of the site log"
        verdict.findings.append(Finding(Kind.ERASED, text, f"site/{index:012d}.json"))
    return verdict


def _read(data: bytes, facts: BatchFacts) -> KeyObject:
    """The key object, if it is what its batch's metadata says. Raises ValueError for what is not."""
    found = KeyObject.parse(data)
    batch = facts.named.file.rsplit("-S", 1)[0]
    if found.batch != batch:
        raise ValueError(f"it says it is that of {found.batch}")
    if found.to_bytes() != data:
        raise ValueError("its bytes are not in the one form of a key object")
    known = facts.metadata.get("key_entries")
    if isinstance(known, list):
        strange = sum(digest not in known for digest in found.digests())
        if strange:
            raise ValueError(
                f"{strange} of its {len(found.entries)} entries are not those it was written with"
            )
    return found


def _accounted_for(facts: BatchFacts, found: KeyObject | None, ordered: dict[str, Order]) -> bool:
    present = {entry.id.hex() for entry in found.entries} if found is not None else set()
    return facts.subjects.keys() <= present | ordered.keys()


def _presence(
    facts: BatchFacts,
    name: str,
    found: KeyObject | None,
    ordered: dict[str, Order],
    verdict: SubjectsVerdict,
    erased: Counter[int],
    now_us: int,
) -> None:
    present = {entry.id.hex() for entry in found.entries} if found is not None else set()
    gone = facts.subjects.keys() - present
    unordered = {each for each in gone if each not in ordered}
    forged = {each for each in gone if each in ordered and not ordered[each].trusted}
    for each in gone - unordered - forged:
        erased[ordered[each].index] += facts.subjects[each]
    if unordered:
        records = sum(facts.subjects[each] for each in unordered)
        text = f"{len(unordered)} subject keys of {records:,} records are gone and no erasure says so"
        verdict.findings.append(Finding(Kind.KEYS_REMOVED, text, name))
    waiting = [each for key, each in ordered.items() if key in present and each.trusted]
    late = [each for each in waiting if now_us - each.t_us > ERASURE_GRACE_US]
    if late:
        text = (
            f"{len(late)} subject keys were ordered to be erased by entry {late[0].index} of the site log "
            "and are still there: run `sidecar erase` again"
        )
        verdict.findings.append(Finding(Kind.NOT_ERASED, text, name, field="keys"))
    elif waiting:
        text = f"{len(waiting)} subject keys were just ordered to be erased and are still there"
        verdict.findings.append(Finding(Kind.NOTE, text, name))


def _entries(facts: BatchFacts, name: str, found: KeyObject) -> Iterator[Finding]:
    """Entries that went without their key, and keys that open nothing.

    Several people can have one key, each an entry. An erasure takes a key with all its entries, so while
    every key is there every entry is too; where keys are gone, what went with them cannot be told any more.
    """
    present = {entry.id.hex() for entry in found.entries}
    if idle := present - facts.subjects.keys():
        text = f"{len(idle)} subject keys are kept for it that none of its records names"
        yield Finding(Kind.INSERTED, text, name, field="keys")
    known = facts.metadata.get("key_entries")
    if isinstance(known, list) and facts.subjects.keys() <= present:
        gone = len(set(map(str, known)) - set(found.digests()))
        if gone:
            text = (
                f"{gone} of its first {len(known)} entries are gone and no erasure says so: "
                "`sidecar erase` would not find whose they were"
            )
            yield Finding(Kind.KEYS_REMOVED, text, name, field="keys")


def _opened(
    store: Store, facts: BatchFacts, name: str, found: KeyObject, master: MasterKey
) -> Iterator[Finding]:
    """Open every record that can be opened; what does not open as its leaf commits to is named."""
    if found.master != master.id:
        text = f"its keys are under master key {found.master}, not the one given: they were not opened"
        yield Finding(Kind.NOTE, text, name)
        return
    damaged: list[str] = []
    present = {entry.id for entry in found.entries}
    try:
        for count, columns in BatchFile(facts.named.name, store.get(facts.named.name)).slices(_OPENED):
            for at in range(count):
                row: dict[str, Any] = {column: columns[column][at] for column in _OPENED}
                if row["subject_key_id"] in present:
                    try:
                        open_record(row, found, master)
                    except Damaged:
                        damaged.append(str(row["record_id"]))
    except StoreError:
        return
    if damaged:
        yield Finding(
            Kind.ALTERED,
            f"{named(damaged)}: the key kept for it does not open what its leaf commits to",
            name,
            records=tuple(damaged[:NAMED]),
            field="wrapped",
        )

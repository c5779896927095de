"""Key objects against the rows that need them: erased, keys removed, damaged."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.sitefacts import Order
from sidecar.errors import ObjectMissing
from sidecar.objects import Store


@dataclass(slots=True)
class SubjectsVerdict:
    """What became of the subject keys of one log's batches."""

    erased_records: int = 0
    findings: list[Finding] = field(default_factory=list)


def check_subjects(
    store: Store, batches: list[BatchFacts], orders: dict[str, dict[str, Order]]
) -> SubjectsVerdict:
    """Every subject key a row names is there, or a trusted order to erase it is."""
    verdict = SubjectsVerdict()
    erased: Counter[int] = Counter()
    for facts in batches:
        name = facts.metadata.get("keys")
        if not isinstance(name, str) or not facts.subjects:
            continue
        try:
            present = _ids(store.get(name))
        except ObjectMissing:
            present = set()
        except ValueError as error:
            verdict.findings.append(Finding(Kind.ALTERED, f"its key object {error}", name, field="keys"))
            continue
        ordered = orders.get(name, {})
        gone = facts.subjects.keys() - present
        unordered = {each for each in gone if each not in ordered}
        forged = {each for each in gone if each in ordered and not ordered[each].trusted}
        for each in gone - unordered - forged:
            erased[ordered[each].index] += facts.subjects[each]
        if unordered:
            records = sum(facts.subjects[each] for each in unordered)
            text = f"{len(unordered)} subject keys of {records:,} records are gone and no erasure says so"
            verdict.findings.append(Finding(Kind.KEYS_REMOVED, text, name))
        waiting = [each for each in ordered if each in present and ordered[each].trusted]
        if waiting:
            text = f"{len(waiting)} subject keys were ordered to be erased and are still there"
            verdict.findings.append(Finding(Kind.NOTE, text, name))
    for index, records in sorted(erased.items()):
        verdict.erased_records += records
        text = f"{records:,} records cannot be opened any more: erased by entry {index} of the site log"
        verdict.findings.append(Finding(Kind.ERASED, text, f"site/{index:012d}.json"))
    return verdict


def _ids(data: bytes) -> set[str]:
    """Subject key ids in a key object. Raises ValueError, saying what is wrong, for what is none."""
    try:
        found: Any = json.loads(data)
        if found["format"] != 1:
            raise ValueError("is of another format")
        return {str(each["id"]) for each in found["subjects"]}
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("is not what a key object should be") from error
    except json.JSONDecodeError as error:
        raise ValueError("is damaged") from error

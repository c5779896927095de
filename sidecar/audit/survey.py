"""Verification of a whole store: every log on its own, then the logs against each other and the site log."""

from __future__ import annotations

from sidecar.audit import naming, sealed
from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.inventory import Inventory, Selection, fingerprint, strays
from sidecar.audit.log import LogWalk, Walk
from sidecar.audit.logend import LogEnd, end_of
from sidecar.audit.naming import BatchName
from sidecar.audit.numbers import check_numbers
from sidecar.audit.ranges import Range, subtrees
from sidecar.audit.report import LogReport, StoreReport
from sidecar.audit.sheet import Sheet
from sidecar.audit.sitefacts import SiteReading
from sidecar.audit.subjects import check_subjects
from sidecar.audit.succession import check_succession
from sidecar.audit.trust import KeyVerdict, Trust, judge_key
from sidecar.audit.witnessed import AHEAD_US, compare
from sidecar.audit.workers import Workers
from sidecar.errors import LedgerError, ObjectMissing, StoreError
from sidecar.ledger.origin import parse as parse_origin
from sidecar.objects import Store
from sidecar.privacy.master import MasterKey

LATE_BATCHES = 20
"""How often a log is walked again for batches that came while the store was listed."""
ENROLMENT_GRACE_US = 15 * 60_000_000
"""How long a pod that was just enrolled may take to leave its first batch."""


class Survey:
    """Takes one log after the other, keeps little of each, and holds them against each other at the end."""

    def __init__(
        self,
        store: Store,
        trust: Trust,
        now_us: int,
        selection: Selection,
        inventory: Inventory,
        site: SiteReading,
        workers: Workers,
        master: MasterKey | None = None,
        keys_store: Store | None = None,
    ) -> None:
        """`keys_store`: where the key objects are, if not in the store; with `master` they are opened too."""
        self._store = store
        self._trust = trust
        self._now_us = now_us
        self._selection = selection
        self._inventory = inventory
        self._workers = workers
        self._present = {each.origin for each in inventory.batches}
        self._master = master
        self._keys_store = keys_store or store
        self._reading = site
        self._site = site.facts
        self._logs: dict[str, LogReport] = {}
        self._ends: dict[str, LogEnd] = {}
        self._strangers: dict[str, list[BatchName]] = {}
        """Batches of a log that are named as another's."""
        self._hashes: list[tuple[str, str]] = []

    def take(self, origin: str, batches: list[BatchFacts]) -> None:
        """Verify one log, given all batches that are named as its own."""
        own = []
        for facts in batches:
            self._hashes.append((facts.named.name, facts.sha256))
            signed = sealed.read(facts)
            if signed.valid and signed.origin != origin:
                self._strangers.setdefault(signed.origin, []).append(facts.named)
            else:
                own.append(facts)
        if own:
            self._verify(origin, own)

    def finish(self, report: StoreReport) -> None:
        """Fill the report, once every log was taken."""
        report.site_entries, report.findings = self._site.entries, list(self._site.findings)
        for origin, strangers in sorted(self._strangers.items()):
            # Rare, and somebody's doing: the log is read again, now with what was named otherwise.
            names = [each for each in self._inventory.batches if each.origin == origin]
            group = list(self._workers.check((each, True) for each in (*names, *strangers)))
            self._verify(origin, [each for each in group if _of(each) in (origin, None)])
        if self._selection.everything:
            report.findings += self._vanished()
            report.findings += self._absent_pods()
        check_succession(self._ends, self._logs, self._present, set(self._site.removals))
        check_numbers(self._ends, self._logs)
        for origin, log in self._logs.items():
            self._unclosed(self._ends[origin], log)
        report.logs = [log for _, log in sorted(self._logs.items())]
        report.findings += strays(self._inventory.strays)
        report.objects_sha256 = fingerprint(self._hashes)

    def _verify(self, origin: str, batches: list[BatchFacts]) -> None:
        try:
            walk = self._walk(origin, batches)
            key = judge_key(walk, self._trust, self._site_key(origin))
            log = self._log_report(walk, key, batches)
            self._witnessed(walk, key, log)
            self._ends[origin] = end_of(walk)
        except StoreError as error:
            log = LogReport(origin, files=len(batches))
            log.findings.append(Finding(Kind.UNREADABLE, f"it could not be read to its end: {error}"))
            self._ends[origin] = LogEnd(origin, 0, closed=False, empty=True)
        self._logs[origin] = log

    def _walk(self, origin: str, batches: list[BatchFacts]) -> Walk:
        """Walk the log; what seems gone and is there now was put while others were listed."""
        for _ in range(LATE_BATCHES):
            walk = LogWalk(origin, batches, self._store.get, self._site.removals.get(origin, ())).run()
            late = [named for each in walk.findings if (named := self._late(each, batches)) is not None]
            if not late:
                break
            batches += self._workers.check((named, True) for named in late)
        return walk

    def _late(self, finding: Finding, batches: list[BatchFacts]) -> BatchName | None:
        named = naming.parse(finding.object or "") if finding.kind is Kind.REMOVED else None
        if named is None or any(each.named.name == named.name for each in batches):
            return None
        try:
            self._store.size(named.name)
        except ObjectMissing:
            return None
        return named

    def _log_report(self, walk: Walk, key: KeyVerdict, group: list[BatchFacts]) -> LogReport:
        links = [link.facts for link in walk.links]
        log = LogReport(walk.origin)
        log.records = sum(each.rows for each in links)
        log.exchanges = sum(each.kinds.get("exchange", 0) for each in links)
        log.files, log.size_bytes = len(group), sum(each.size_bytes for each in group)
        log.models = tuple(sorted({str(each.metadata.get("model")) for each in links if each.metadata}))
        log.from_us = min((each.t_first_us for each in links if each.t_first_us is not None), default=None)
        retained = {each.last_leaf: each.first_leaf for each in walk.findings if each.kind is Kind.RETAINED}
        for link in walk.links:
            whole = link.first == log.intact_leaves or retained.get(link.first - 1) == log.intact_leaves
            if not link.good or not whole:
                break
            log.intact_leaves = link.end
            last = link.facts.t_last_us
            log.to_us = last if log.to_us is None or (last or 0) > log.to_us else log.to_us
        log.unproven, log.closed = walk.unproven, walk.closed
        log.key = str(key.key) if key.key is not None else None
        log.enrolled_by = key.enrolled_by
        log.findings = [*walk.findings, *key.findings, *_future(walk, self._now_us), *_gaps(links)]
        log.lost = sum(sum(each.gaps.values()) for each in links)
        stores = self._keys_store, self._store
        subjects = check_subjects(*stores, links, self._reading, self._master, self._now_us)
        log.erased = subjects.erased_records
        log.findings += subjects.findings
        return log

    def _site_key(self, origin: str) -> str | None:
        """The enrolment key that a trusted operator named for the log's pod."""
        if not self._trust.operators:
            return None
        try:
            found = self._site.enrolled.get(parse_origin(origin).prefix)
        except LedgerError:
            return None
        return found[0].public_key if found is not None and found[1] else None

    def _witnessed(self, walk: Walk, key: KeyVerdict, log: LogReport) -> None:
        sightings = self._site.sightings.get(walk.origin)
        if not sightings:
            return
        root_at = _RootAt(walk, self._store)
        seen = compare(walk, key.key, sightings, self._trust, root_at, self._now_us)
        log.witnessed_size, log.witnessed_us, log.witnessed_by = seen.size, seen.at_us, seen.by
        # A log that is known to be re-signed or broken differs from what was seen for that very reason.
        if log.intact or (seen.findings and seen.findings[0].kind is Kind.TRUNCATED):
            log.findings += seen.findings

    def _vanished(self) -> list[Finding]:
        """Logs that a witness saw and that are gone whole."""
        found = []
        for origin, sightings in sorted(self._site.sightings.items()):
            if origin not in self._present and origin not in self._logs and origin not in self._site.removals:
                size = max(each.seen.size for each in sightings)
                text = f"{origin}: a witness saw {size:,} leaves of this log, nothing of it is left"
                found.append(Finding(Kind.REMOVED, text))
        return found

    def _absent_pods(self) -> list[Finding]:
        """Pods that were enrolled and left no log."""
        prefixes = set()
        for origin in self._present | set(self._site.removals):
            try:
                prefixes.add(parse_origin(origin).prefix)
            except LedgerError:
                continue
        found = []
        for prefix, (enrolled, trusted) in sorted(self._site.enrolled.items()):
            if prefix in prefixes or not trusted:
                continue
            pod = f"pod {enrolled.pod_uid} ({enrolled.namespace}/{enrolled.workload})"
            if enrolled.retired_us is not None and enrolled.retired_us <= self._now_us:
                # Pods that never ran leave nothing, and whoever ends pods by program cannot tell which did.
                found.append(Finding(Kind.NOTE, f"{pod} was retired without a log: {prefix}"))
            elif self._now_us - enrolled.since_us < ENROLMENT_GRACE_US:
                found.append(Finding(Kind.NOTE, f"{pod} was enrolled just now and has no log yet"))
            else:
                found.append(Finding(Kind.MISSING, f"{pod} was enrolled and left no log: {prefix}"))
        return found

    def _unclosed(self, end: LogEnd, log: LogReport) -> None:
        """Add a remark to a log that does not end in a close, unless its end is accounted for."""
        kinds = {each.kind for each in log.findings}
        by_retention = any(
            each.kind is Kind.RETAINED and each.last_leaf == end.end - 1 for each in log.findings
        )
        if end.closed or end.empty or by_retention or kinds & {Kind.TRUNCATED, Kind.FUTURE}:
            return
        text = "it does not end in a close: still running, killed, or its end was removed unseen"
        log.findings.append(Finding(Kind.UNCLOSED, text))


class _RootAt:
    """Root of a log's tree at any size: known at batch ends, recomputed from one batch elsewhere."""

    def __init__(self, walk: Walk, store: Store) -> None:
        self._walk = walk
        self._store = store

    def __call__(self, size: int) -> bytes | None:
        known = self._walk.roots.get(size)
        if known is not None:
            return known
        for link in self._walk.links:
            if link.good and link.before is not None and link.first < size < link.end:
                sheet = Sheet(link.facts.named.name, self._store.get(link.facts.named.name))
                tree: Range = link.before.copy()
                tree.push(subtrees(link.first, sheet.hashes[: size - link.first]))
                return tree.root()
        return None


def _of(facts: BatchFacts) -> str | None:
    """The log that the batch's checkpoint is of, if that can be told."""
    signed = sealed.read(facts)
    return signed.origin if signed.valid else None


def _future(walk: Walk, now_us: int) -> list[Finding]:
    for link in walk.links:
        last = link.facts.t_last_us
        if link.good and last is not None and last > now_us + AHEAD_US:
            text = "it holds times that are yet to come: the clock of whoever sealed it was wrong"
            return [
                Finding(
                    Kind.FUTURE, text, link.facts.named.name, link.first, link.end - 1, field="t_request_us"
                )
            ]
    return []


def _gaps(links: list[BatchFacts]) -> list[Finding]:
    lost: dict[str, int] = {}
    for facts in links:
        for reason, count in facts.gaps.items():
            lost[reason] = lost.get(reason, 0) + count
    if not lost:
        return []
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(lost.items()))
    return [
        Finding(
            Kind.GAP, f"{sum(lost.values()):,} exchanges left no record, counted when it happened: {reasons}"
        )
    ]

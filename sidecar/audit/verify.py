"""Verification from its inputs to its report: inventory, batches by workers, survey."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sidecar import __version__
from sidecar.audit.batch import BatchFacts
from sidecar.audit.inventory import Selection, copies, take_inventory
from sidecar.audit.report import StoreReport, site_head
from sidecar.audit.resume import Progress
from sidecar.audit.sitefacts import SiteReading
from sidecar.audit.stamps import StampedAt
from sidecar.audit.survey import Survey
from sidecar.audit.trust import Trust
from sidecar.audit.workers import Task, Workers
from sidecar.objects import Store
from sidecar.privacy.master import MasterKey
from sidecar.shipping.options import StoreOptions
from sidecar.site.log import Head

Advance = Callable[[int, int], None]
"""Told the bytes done and the bytes to do after every batch."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to verify and with what."""

    url: str
    options: StoreOptions
    trust: Trust
    selection: Selection
    jobs: int
    now_us: int
    master: MasterKey | None = None
    keys_store: Store | None = None
    stamped_at: StampedAt | None = None
    """Checks time stamps in the site log; None leaves them unchecked, which the report says."""
    site_head: Head | None = None
    """How far an earlier report saw the site log."""


def verify(store: Store, job: Job, state: Progress | None, advance: Advance) -> StoreReport:
    """The report on a store. Raises StoreError when the store itself cannot be listed or read."""
    started = time.monotonic()
    report = StoreReport(
        store=store.description,
        started_us=job.now_us,
        scope=str(job.selection),
        trusted=tuple(str(each) for each in job.trust.keys),
        witnesses=tuple(str(each) for each in job.trust.witnesses),
        operators=tuple(str(each) for each in job.trust.operators),
        version=__version__,
    )
    site = SiteReading(store, job.trust, job.stamped_at, job.site_head)
    inventory, chosen = take_inventory(store, job.selection)
    site.read_on()
    # Log by log, so that few logs are held at a time.
    chosen.sort(key=lambda named: (named.origin, named.first_leaf, named.name))
    tasks = [(named, job.selection.everything or job.selection.wants(named)) for named in chosen]
    workers = Workers(job.url, job.options, job.jobs)
    survey = Survey(
        store, job.trust, job.now_us, job.selection, inventory, site, workers, job.master, job.keys_store
    )
    waiting = Counter(named.origin for named, _ in tasks)
    arrived: dict[str, list[BatchFacts]] = {}
    for facts in _facts(workers, tasks, inventory.sizes, state, advance):
        origin = facts.named.origin
        arrived.setdefault(origin, []).append(facts)
        waiting[origin] -= 1
        if not waiting[origin]:
            survey.take(origin, arrived.pop(origin))
    survey.finish(report)
    report.findings += [*site.cut(), *site.stamps.findings(), *copies(store)]
    report.site_head = site_head(site.head)
    report.seconds = time.monotonic() - started
    return report


def _facts(
    workers: Workers,
    tasks: list[Task],
    sizes: dict[str, int],
    state: Progress | None,
    advance: Advance,
) -> Iterator[BatchFacts]:
    total = sum(sizes[named.name] for named, _ in tasks)
    done = 0
    rest: list[Task] = []
    for named, recompute in tasks:
        known = state.known(named, sizes[named.name], recompute) if state is not None else None
        if known is None:
            rest.append((named, recompute))
            continue
        done += sizes[named.name]
        yield known
    advance(done, total)
    for facts in workers.check(rest):
        if state is not None:
            state.add(facts)
        done += sizes[facts.named.name]
        advance(done, total)
        yield facts

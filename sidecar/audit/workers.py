"""Batches read and hashed by several processes, in any order, few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context

from sidecar.audit.batch import BatchFacts, check
from sidecar.audit.naming import BatchName
from sidecar.errors import StoreError
from sidecar.objects import Store, open_store
from sidecar.shipping.options import StoreOptions

Task = tuple[BatchName, bool]
"""A batch and whether to recompute its leaves."""
AHEAD = 3
"""Tasks given out per process beyond the one it works on."""
WORTH_A_PROCESS_BYTES = 8 << 20
"""Below this a pool takes longer to start than the work."""

_store: Store | None = None


def check_all(
    store: Store, url: str, options: StoreOptions, tasks: list[Task], jobs: int, size_bytes: int
) -> Iterator[BatchFacts]:
    """Facts of every task's batch, as they come."""
    if jobs <= 1 or len(tasks) < 2 or size_bytes < WORTH_A_PROCESS_BYTES:
        for named, recompute in tasks:
            yield check_one(store, named, recompute)
        return
    # Forked children would share the store client's threads, which do not survive a fork.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _open, (url, options))
    with pool:
        try:
            yield from _drain(pool, iter(tasks), jobs * (1 + AHEAD))
        finally:
            pool.shutdown(cancel_futures=True)


def _drain(pool: ProcessPoolExecutor, tasks: Iterable[Task], at_once: int) -> Iterator[BatchFacts]:
    rest = iter(tasks)
    running: set[Future[BatchFacts]] = {pool.submit(_work, task) for task in islice(rest, at_once)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(_work, task) for task in islice(rest, len(done))}
        for future in done:
            yield future.result()


def check_one(store: Store, named: BatchName, recompute: bool) -> BatchFacts:
    """Facts of one batch; what cannot be fetched is unreadable, and the rest goes on."""
    try:
        data = store.get(named.name)
    except StoreError as error:
        return BatchFacts(named, 0, unreadable=str(error))
    return check(named, data, recompute)


def _open(url: str, options: StoreOptions) -> None:
    global _store
    _store = open_store(url, options)


def _work(task: Task) -> BatchFacts:
    assert _store is not None
    return check_one(_store, *task)

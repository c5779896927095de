"""Batches read and hashed in processes of their own, few at a time, in any order.

Also when one is enough: what is read may have been made to kill its reader. A
damaged Parquet file can ask for more memory than there is, which aborts the
process. The verification goes on, and the object that did it is named.
"""

from __future__ import annotations

import atexit
import contextlib
import resource
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
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
MEMORY_BYTES = 4 << 30
"""Address space of a worker: what unpacks to more ends the worker and not the machine."""
DIED = "the Parquet reader died on it"

_executors: dict[int, ProcessPoolExecutor] = {}
_opened: dict[str, Store] = {}


class Workers:
    """Processes that check batches of one store."""

    def __init__(self, url: str, options: StoreOptions, jobs: int) -> None:
        self._url = url
        self._options = options
        self._jobs = jobs

    def check(self, tasks: Iterable[Task]) -> Iterator[BatchFacts]:
        """Facts of every task's batch, as they come; of one that kills its reader, that it did."""
        rest = iter(tasks)
        running: dict[Future[BatchFacts], Task] = {}
        while True:
            for task in islice(rest, self._jobs * (1 + AHEAD) - len(running)):
                running[self._submit(task)] = task
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            suspects = []
            for future in done:
                task = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    suspects.append(task)
            if suspects:
                # The whole pool is gone; one of those that were under way did it.
                suspects += running.values()
                running.clear()
                self._restart()
                for task in suspects:
                    yield self._alone(task) if len(suspects) > 1 else _died(task)

    def check_one(self, task: Task) -> BatchFacts:
        """Facts of one batch."""
        return next(self.check((task,)))

    def _alone(self, task: Task) -> BatchFacts:
        try:
            return self._submit(task).result()
        except BrokenProcessPool:
            self._restart()
            return _died(task)

    def _submit(self, task: Task) -> Future[BatchFacts]:
        executor = _executors.get(self._jobs)
        if executor is None:
            # Forked children would share the store client's threads, which do not survive a fork.
            executor = ProcessPoolExecutor(self._jobs, get_context("spawn"), _prepare)
            _executors[self._jobs] = executor
        try:
            return executor.submit(_work, self._url, self._options, task)
        except BrokenProcessPool:
            self._restart()
            return self._submit(task)

    def _restart(self) -> None:
        executor = _executors.pop(self._jobs, None)
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


def _died(task: Task) -> BatchFacts:
    return BatchFacts(task[0], 0, unreadable=DIED)


@atexit.register
def _stop() -> None:
    for executor in _executors.values():
        executor.shutdown(wait=False, cancel_futures=True)


def _prepare() -> None:
    # Ctrl-C is the parent's to act upon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _work(url: str, options: StoreOptions, task: Task) -> BatchFacts:
    store = _opened.get(url)
    if store is None:
        _opened.clear()
        store = _opened[url] = open_store(url, options)
    named, recompute = task
    try:
        return check(named, store.get(named.name), recompute)
    except StoreError as error:
        return BatchFacts(named, 0, unreadable=str(error), known=False)
    except MemoryError:
        return BatchFacts(named, 0, unreadable=f"it takes more than {MEMORY_BYTES >> 30} GiB to read")

"""Glue: a folder of journals, looked at again and again; those of pods that are gone are drained."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.backoff import Backoff
from sidecar.clock import SystemClock
from sidecar.cluster.api import Api, Object
from sidecar.drain.folder import ASIDE, PodFolder, pod_folder
from sidecar.drain.judgement import Pods, Verdict, judge, pods_of
from sidecar.drain.metrics import Metrics
from sidecar.drain_run import Means, Refused, Shipped, drain, quiet_s, remove_done
from sidecar.errors import ClusterError, JournalLocked, SidecarError, UsageError

log = logging.getLogger(__name__)

AGAIN = (30.0, 600.0)
"""First and longest wait before a journal is tried again."""


@dataclass(slots=True)
class Known:
    """What this drainer knows of one folder."""

    pod: PodFolder
    state: str = "quiet"
    reason: str = ""
    """Why it was refused."""
    said: str = ""
    gone_s: float | None = None
    """Monotonic time when its pod was first found gone."""
    tried_s: float = 0.0
    """Wall clock at the end of the last attempt, which writes into the folder."""
    again_s: float = 0.0
    """Monotonic time of the next attempt."""
    backoff: Backoff = field(default_factory=lambda: Backoff(*AGAIN))
    stop: threading.Event = field(default_factory=threading.Event)
    """Ends the attempt that is being made."""


class Drainer:
    """One folder of journals. `look` judges them, `work` drains those that are due."""

    def __init__(
        self,
        root: Path,
        means: Means,
        after_s: float,
        pods: PodSource | None,
        metrics: Metrics,
        parallel: int = 2,
    ) -> None:
        self._root = root
        self._means = means
        self._after_s = after_s
        self._pods = pods
        self._metrics = metrics
        self._known: dict[str, Known] = {}
        self._unsure = False
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="drain")
        self._running: dict[str, asyncio.Future[None]] = {}
        self._parallel = parallel

    @property
    def unsure(self) -> bool:
        """Whether the API could not say who is alive when it was last asked."""
        return self._unsure

    @property
    def journals(self) -> Mapping[str, Known]:
        return self._known

    async def look(self) -> None:
        """See what folders there are, and which pods are gone. Raises UsageError without the root."""
        await asyncio.to_thread(remove_done, self._root)
        found = await asyncio.to_thread(self._folders)
        # After the folders: a pod whose folder is there was known to the API before.
        pods = await self._pods.list() if self._pods is not None else None
        self._unsure = self._pods is not None and pods is None
        self._metrics.api_up.set(self._pods is not None and not self._unsure)
        for name in self._known.keys() - found.keys() - self._running.keys():
            del self._known[name]
        for name, pod in found.items():
            known = self._known.setdefault(name, Known(pod))
            if self._unsure:
                continue
            quiet = await asyncio.to_thread(self._quiet_s, name, known)
            verdict = judge(pod, pods, quiet, self._after_s)
            if name in self._running:
                if verdict is Verdict.ALIVE:
                    # The next pod of this name has come; it cannot start without the lock.
                    known.stop.set()
            elif verdict is not Verdict.GONE:
                self._known[name] = Known(pod, verdict.value)
            elif known.gone_s is None:
                known.gone_s, known.state = time.monotonic(), "waiting"
        self._metrics.last_pass.set(time.time())
        self._show()

    def work(self) -> None:
        """Begin to drain what is due, as far as there is room."""
        now_s = time.monotonic()
        due = [name for name, known in self._known.items() if known.gone_s is not None]
        for name in sorted(due, key=lambda each: self._known[each].gone_s or 0.0):
            known = self._known[name]
            if name not in self._running and known.again_s <= now_s and len(self._running) < self._parallel:
                known.state = "draining"
                self._running[name] = asyncio.ensure_future(self._drain(name, known))
        self._show()

    async def settle(self) -> None:
        """Until what was begun has ended."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def end(self) -> None:
        """Give what is being drained its grace, and begin nothing more."""
        for name in self._running:
            self._known[name].stop.set()
        await self.settle()
        self._pool.shutdown()

    async def _drain(self, name: str, known: Known) -> None:
        loop = asyncio.get_running_loop()
        arguments = (self._root / name, known.pod, self._means, SystemClock(), known.stop)
        try:
            shipped = await loop.run_in_executor(self._pool, drain, *arguments)
        except JournalLocked as error:
            # Somebody is alive, or another drainer is at it.
            self._later(known, "alive", str(error))
        except Refused as refused:
            self._later(known, "refused", str(refused), refused.reason)
        except SidecarError as error:
            self._failed(known, str(error))
        except Exception as error:
            log.exception("%s", name)
            self._failed(known, f"{name}: {type(error).__name__}")
        else:
            self._known.pop(name, None)
            if shipped is not None:
                self._drained(name, shipped)
        finally:
            known.tried_s = time.time()
            del self._running[name]
            self._show()

    def _drained(self, name: str, shipped: Shipped) -> None:
        log.info("drained", extra={"journal": name, "rows": shipped.rows, "bytes": shipped.bytes})
        if shipped.aside:
            log.warning("%s: damaged files of it are kept in %s%s", name, ASIDE, name)
        self._metrics.drained.inc()
        self._metrics.rows.inc(shipped.rows)
        self._metrics.bytes.inc(shipped.bytes)

    def _failed(self, known: Known, said: str) -> None:
        self._metrics.failures.inc()
        self._later(known, "failed", said)

    def _later(self, known: Known, state: str, said: str, reason: str = "") -> None:
        if said != known.said:
            log.log(logging.INFO if state == "alive" else logging.WARNING, "%s", said)
        known.state, known.said, known.reason = state, said, reason
        known.again_s = time.monotonic() + known.backoff.failed()

    def _folders(self) -> dict[str, PodFolder]:
        try:
            names = sorted(
                each.name for each in self._root.iterdir() if each.is_dir() and not each.is_symlink()
            )
        except OSError as error:
            raise UsageError(
                f"journals {self._root}: {error.strerror}: give --journals its folder"
            ) from error
        return {name: pod for name in names if (pod := pod_folder(name)) is not None}

    def _quiet_s(self, name: str, known: Known) -> float:
        """Seconds since somebody else last wrote in it."""
        try:
            quiet = quiet_s(self._root / name, time.time())
        except OSError:
            return 0.0
        if known.gone_s is not None and time.time() - quiet <= known.tried_s + 1.0:
            return max(quiet, self._after_s)
        return quiet

    def _show(self) -> None:
        every = self._known.values()
        aside = sum(1 for _ in self._root.glob(f"{ASIDE}*"))
        self._metrics.show(
            [each.state for each in every] + ["aside"] * aside,
            [each.reason for each in every if each.state == "refused"],
        )
        since = [each.gone_s for each in every if each.gone_s is not None]
        self._metrics.oldest.set(time.monotonic() - min(since) if since else 0.0)


def _slim(pod: Object) -> Object:
    """What is kept of a pod: a node's may be hundreds, and their specs are long."""
    metadata = pod.get("metadata") or {}
    return {
        "metadata": {key: metadata.get(key) for key in ("uid", "namespace", "name")},
        "status": {"phase": (pod.get("status") or {}).get("phase")},
    }


class PodSource:
    """The pods of one node, or of the whole cluster, as the API lists them."""

    def __init__(self, api: Api, node: str | None) -> None:
        self._api = api
        self._query = {"fieldSelector": f"spec.nodeName={node}"} if node else {}
        self._said = ""

    async def list(self) -> Pods | None:
        """None while the API cannot be asked: then nobody is taken for gone."""
        try:
            items, _ = await self._api.list("/api/v1/pods", _slim, **self._query)
        except ClusterError as error:
            if str(error) != self._said:
                log.warning("%s: no journal is touched until it answers", error)
            self._said = str(error)
            return None
        self._said = ""
        return pods_of(items)

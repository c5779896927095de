"""The recorder as a peer: `sidecar run` with capture and analyst on, everything else by default."""

from __future__ import annotations

import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidecar.counters import Counters, Global, Route, find_all
from tests.bench.peers import Peer, Running
from tests.bench.processes import (
    BenchError,
    Cores,
    Process,
    command_line,
    free_port,
    move_threads,
    tree,
    wait_listening,
)


@dataclass
class RunningSidecar(Running):
    """Its roles are `proxy` (the recorder), `analyst` and `supervisor`."""

    admin_port: int = 0

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def counters(self) -> Counters:
        """The counters file of this boot, mapped; the caller closes it."""
        found = find_all(self.folder / "journal")
        if not found:
            raise BenchError(f"no counters file in {self.folder / 'journal'}")
        return Counters.open(found[-1])

    def metrics(self) -> dict[str, float]:
        """Samples of /metrics summed over labels; empty while the analyst does not answer."""
        try:
            text = _get(self.admin_port, "/metrics")
        except OSError:
            return {}
        samples: dict[str, float] = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                samples[name] = samples.get(name, 0.0) + float(value)
        return samples


@dataclass(frozen=True)
class Tally:
    """What the recorder itself has counted."""

    started: int
    ended: int
    shed: int
    cut: int
    committed: int
    capture_bytes: int

    @classmethod
    def of(cls, running: RunningSidecar) -> Tally:
        counters = running.counters()
        try:
            values = {slot: sum(counters.route(name, slot) for name in counters.routes) for slot in Route}
            capture = counters.get(Global.CAPTURE_BYTES)
        finally:
            counters.close()
        return cls(
            started=values[Route.STARTED],
            ended=values[Route.ENDED],
            shed=values[Route.SHED],
            cut=values[Route.CUT],
            committed=values[Route.COMMITTED_SEQ],
            capture_bytes=capture,
        )


class Sidecar(Peer):
    """`analyst_apart` puts the analyst on the load generator's core instead of the recorder's."""

    def __init__(
        self, name: str, about: str, options: Sequence[str] = (), analyst_apart: bool = False
    ) -> None:
        self.name = name
        self.about = about
        self.options = list(options)
        self.analyst_apart = analyst_apart

    def missing(self) -> str | None:
        program = _program()
        return None if program.exists() else f"{program} is not there: run `make setup`"

    @contextmanager
    def start(self, work: Path, cores: Cores, upstream_port: int, sink_port: int) -> Iterator[RunningSidecar]:
        folder = work / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        port, health, admin = free_port(), free_port(), free_port()
        command = [str(_program()), "run", "--listen", f"127.0.0.1:{port}"]
        command += ["--upstream", f"http://127.0.0.1:{upstream_port}", "--model", "mortgage"]
        command += ["--image-digest", "sha256:" + "ab" * 32]
        command += ["--store", str(folder / "store"), "--journal", str(folder / "journal")]
        command += ["--health", f"127.0.0.1:{health}", "--admin", f"127.0.0.1:{admin}", *self.options]
        process = Process(self.name, command, folder / "log", [cores.proxy], cwd=folder)
        try:
            wait_listening(process, port)
            _wait_ok(process, health, "/readyz")
            _wait_ok(process, admin, "/healthz")
            roles = _roles(process)
            if self.analyst_apart:
                move_threads(roles["analyst"][0], cores.load)
            yield RunningSidecar(self.name, port, folder, process, roles, admin)
        finally:
            process.stop(timeout_s=60)
            shutil.rmtree(folder / "store", ignore_errors=True)
            shutil.rmtree(folder / "journal", ignore_errors=True)


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Knows no proxies, whatever the environment says."""


def _program() -> Path:
    return Path(sys.executable).parent / "sidecar"


def _get(port: int, path: str) -> str:
    with _OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def _wait_ok(process: Process, port: int, path: str, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while True:
        process.check_alive()
        try:
            _get(port, path)
            return
        except OSError as error:
            if time.monotonic() > end:
                said = process.last_words()
                raise BenchError(
                    f"{process.name}: no {path} after {timeout_s:.0f} s: {error}: {said}"
                ) from error
            time.sleep(0.1)


def _roles(process: Process) -> dict[str, list[int]]:
    """Which of the supervisor's children is which, by their command lines."""
    roles: dict[str, list[int]] = {"proxy": [], "analyst": [], "supervisor": [process.pid]}
    for pid in tree(process.pid)[1:]:
        line = command_line(pid)
        if "sidecar.recorder" in line:
            roles["proxy"].append(pid)
        elif "sidecar.pipeline" in line:
            roles["analyst"].append(pid)
        else:
            roles["supervisor"].append(pid)
    if not roles["proxy"] or not roles["analyst"]:
        raise BenchError(
            f"{process.name}: no recorder or no analyst among {[command_line(p) for p in tree(process.pid)]}"
        )
    return roles

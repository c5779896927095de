"""Processes of the bench: started on named cores, measured from /proc, ended by their own ids."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """Something the bench needs is not there or did not work; the message says what."""


@dataclass(frozen=True)
class Cores:
    """Where things run. None where the machine has a single core: then nothing is pinned."""

    load: int | None
    proxy: int | None

    @classmethod
    def choose(cls) -> Cores:
        """The first two cores this process may use, so that results compare over machines of any size."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)

    def both(self) -> list[int]:
        return [core for core in (self.load, self.proxy) if core is not None]


class Process:
    """A child of the bench. Use as a context manager; leaving it ends the process."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        cores: Iterable[int | None],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        pinned = {core for core in cores if core is not None}
        libc = ctypes.CDLL(None)

        def prepare() -> None:
            # A bench that is killed must not leave proxies behind on the user's ports.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if pinned:
                os.sched_setaffinity(0, pinned)

        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=prepare,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def check_alive(self) -> None:
        """Raises BenchError with the end of the log if the process is gone."""
        if self.popen.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.popen.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-1500:].strip() or "it said nothing"

    def stop(self, timeout_s: float = 10.0) -> int:
        """End it by SIGTERM, then its whole process group by SIGKILL; the exit status."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                return self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        return self.popen.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """A loopback port nobody listens on, below the ephemeral range: no client socket takes it meanwhile."""
    for _ in range(200):
        port = random.randrange(18_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError("no free port between 18000 and 32000")


def wait_listening(process: Process, port: int, timeout_s: float = 20.0) -> None:
    """Return once the port accepts connections; BenchError when the process dies or the time is over."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        process.check_alive()
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"{process.name} does not listen on {port} after {timeout_s:.0f} s")


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; the name before it may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_stat_fields(int(entry.name))[1]), []).append(int(entry.name))
            except (OSError, IndexError):
                continue
    found = [pid]
    for parent in found:
        found.extend(parents.get(parent, ()))
    return found


def command_line(pid: int) -> str:
    """Its arguments joined by blanks; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def cpu_us(pids: Iterable[int]) -> int:
    """User and system time of these processes so far; a process that is gone counts as zero."""
    total = 0
    for pid in pids:
        try:
            fields = _stat_fields(pid)
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) * TICK_US
    return total


def anonymous_bytes(pids: Iterable[int]) -> int:
    """RssAnon of these processes, summed."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def machine_busy_us(cores: Sequence[int]) -> tuple[int, int]:
    """CPU time spent, and stolen by the hypervisor, on these cores so far (on all if none is named)."""
    names = {f"cpu{core}" for core in cores} or {"cpu"}
    busy = stolen = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name in names:
            ticks = [int(number) for number in numbers]
            busy += ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
            stolen += ticks[7]
    return busy * TICK_US, stolen * TICK_US


def move_threads(pid: int, core: int | None) -> None:
    """Pin every thread a process has now; later ones inherit it from the thread that makes them."""
    if core is None:
        return
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), {core})
        except ProcessLookupError:
            continue

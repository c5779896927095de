"""What every phase of the bench is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.peers import Peer, Running
from tests.bench.processes import BenchError, Cores, anonymous_bytes, command_line, cpu_us, machine_busy_us


@dataclass
class Context:
    work: Path
    cores: Cores
    peers: list[Peer]
    rounds: int
    seconds: int
    """Of the run at 32 connections; the others take part of it."""
    quick: bool
    sidecar_options: list[str]
    skipped: dict[str, str]
    """Peer or phase → why it was left out; filled while the bench runs."""
    disk_mib_s: dict[str, dict[str, float]] = field(default_factory=dict)
    """File writes that the machine takes, for memory touched first and touched again."""

    def turns(self) -> Iterator[tuple[int, Peer]]:
        """Round after round, every peer once in each, starting with another one each time."""
        for number in range(self.rounds):
            shift = number % len(self.peers)
            for peer in self.peers[shift:] + self.peers[:shift]:
                if peer.name not in self.skipped:
                    yield number, peer

    @contextmanager
    def guard(self, peer: Peer) -> Iterator[None]:
        """A peer that fails is named and left out from then on; the others go on."""
        try:
            yield
        except (BenchError, OSError) as error:
            self.skipped[peer.name] = str(error)
            say(f"{peer.name}: left out: {error}")


@dataclass(frozen=True)
class Span:
    """CPU time and memory between two looks."""

    cpu_us: dict[str, int]
    """By role."""
    anonymous_bytes: dict[str, int]
    """By role, at the second look."""
    busy_us: int
    """CPU time of everything on the bench's cores."""
    stolen_us: int


class Watch:
    """Looks at a proxy's processes and at the machine before a run, and again after it."""

    def __init__(self, running: Running, cores: Cores) -> None:
        self._running = running
        self._cores = cores
        self._before = self._look()
        self._machine = machine_busy_us(cores.both())

    def _look(self) -> dict[str, int]:
        return {role: cpu_us(pids) for role, pids in self._running.roles.items()}

    def stop(self) -> Span:
        busy, stolen = machine_busy_us(self._cores.both())
        after = self._look()
        # The supervisor starts a dead one again at once; its CPU time would be missing from the sums.
        for role, pids in self._running.roles.items():
            if any(not command_line(pid) for pid in pids):
                raise BenchError(f"{self._running.peer}: its {role} process ended during the run")
        return Span(
            cpu_us={role: after[role] - self._before[role] for role in after},
            anonymous_bytes={role: anonymous_bytes(pids) for role, pids in self._running.roles.items()},
            busy_us=busy - self._machine[0],
            stolen_us=stolen - self._machine[1],
        )


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def say(text: str) -> None:
    print(text, flush=True)

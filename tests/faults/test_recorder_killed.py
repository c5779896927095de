"""SIGKILL of the recorder under load, again and again."""

from __future__ import annotations

import random
import socket
import statistics
import time
from pathlib import Path

import pytest

from sidecar.counters import Global, Route
from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, Sidecar, running_sidecar

pytestmark = pytest.mark.faults

CONNECTIONS = 8
PROBE_S = 10.0


def serve_time_s(port: int, identity: str) -> float:
    """How long a new connection takes from its first packet to a whole answer.

    Raises OSError when it is refused, reset or not served within PROBE_S.
    """
    body = b'{"id": "%s"}' % identity.encode()
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=PROBE_S) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: model\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        answer = b""
        while identity.encode() not in answer:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError(f"closed after {answer!r}")
            answer += data
    return time.monotonic() - began_s


class Killer:
    """Kills the recorder at random moments, and measures how soon the next one serves."""

    def __init__(self, running: Sidecar, seed: int) -> None:
        self.running = running
        self.random = random.Random(seed)
        self.times_s: list[float] = []
        """When each kill happened."""
        self.waits_s: list[float] = []
        self.answered: set[str] = set()
        self.in_flight = 0
        """Exchanges begun and not ended at the moments of the kills, as the shared counters say."""

    def strike(self, load: Load) -> None:
        load.more(self.random.randrange(5, 60))
        time.sleep(self.random.random() * 0.05)
        counters = self.running.counters()
        try:
            self.times_s.append(time.monotonic())
            assert self.running.kill(Global.RECORDER_PID), "the recorder was not running"
            self.in_flight += counters.route("default", Route.STARTED)
            self.in_flight -= counters.route("default", Route.ENDED)
        finally:
            counters.close()
        identity = f"probe-{len(self.times_s)}"
        self.waits_s.append(serve_time_s(self.running.port, identity))
        self.answered.add(identity)

    def explains(self, connected_s: float, failed_s: float) -> bool:
        """Whether a recorder that had the connection was killed."""
        return any(connected_s - 1.0 <= killed_s <= failed_s for killed_s in self.times_s)


def check(
    running: Sidecar, load: Load, killer: Killer, report: Report, title: str, most_missing: int | None
) -> None:
    assert load.refused == []
    assert [failure for failure in load.failed if failure.reason == "hung"] == []
    assert [f for f in load.failed if not killer.explains(f.connected_s, f.failed_s)] == []
    assert len(load.failed) <= CONNECTIONS * len(killer.times_s)
    assert load.statuses() == {200}
    answered = set(load.answered) | killer.answered
    found = read_evidence(running.store)
    found.check_single()
    ends = found.check_sequences()
    assert set(found.ids) <= load.sent | killer.answered, "the store holds what nobody sent"
    missing = answered - set(found.ids)
    assert len(missing) <= found.missing_count
    assert found.missing_count <= len(missing) + len(load.failed)
    assert set(found.reasons()) <= {"killed"}
    # Records and gaps together are exactly what the shared counter says was begun.
    assert sum(ends.values()) == len(found.exchanges) + found.missing_count
    if most_missing is not None:
        assert len(missing) <= most_missing
    kills = len(killer.times_s)
    waits = sorted(killer.waits_s)
    report(
        f"{title}: {kills} kills, {len(answered)} answered, {len(load.failed)} cut off, "
        f"{len(missing)} answered and not recorded, gaps count {found.missing_count}, in flight at the kills "
        f"{killer.in_flight}; next answer after {statistics.median(waits):.3f} s median, {waits[-1]:.3f} s worst"
    )


def test_only_its_connections_fail_and_gaps_count_what_was_not_committed(
    tmp_path: Path, upstream: ModelServer, kills: int, report: Report
) -> None:
    with running_sidecar(tmp_path, upstream.port) as running:
        killer = Killer(running, seed=1)
        with Load(running.port, CONNECTIONS) as load:
            for _ in range(kills):
                killer.strike(load)
            load.more(50)
        assert running.tracebacks() == []
        assert running.stop() == 0
        check(running, load, killer, report, "recorder, relaxed", most_missing=None)


def test_before_response_loses_nothing_that_was_answered(
    tmp_path: Path, upstream: ModelServer, kills: int, report: Report
) -> None:
    with running_sidecar(tmp_path, upstream.port, durability="before_response") as running:
        killer = Killer(running, seed=2)
        with Load(running.port, CONNECTIONS) as load:
            for _ in range(kills):
                killer.strike(load)
            load.more(50)
        # Only what left uncommitted after `hold_limit`, which is counted, may be missing.
        expired = running.status()["routes"]["default"]["held_expired"]
        assert running.tracebacks() == []
        assert running.stop() == 0
        check(running, load, killer, report, f"recorder, before_response, {expired} expired", expired)

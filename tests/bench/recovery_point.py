"""`python -m tests.bench.recovery_point`: what a pod loses that is deleted by force.

A real sidecar records paced traffic. At a random moment everything is killed and
the journal's folder is removed, as an emptyDir goes with its pod. What was
answered and is not in the store is lost: how many, and how old the oldest was.
"""

from __future__ import annotations

import argparse
import http.client
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.evidence import read_evidence
from tests.support.running import Sidecar, model_server


class Paced(threading.Thread):
    """One client that sends so many requests a second, and notes when each was answered."""

    def __init__(self, port: int, per_s: float) -> None:
        super().__init__(daemon=True)
        self.answered: dict[str, float] = {}
        self._port = port
        self._per_s = per_s
        self._ended = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        began_s = time.monotonic()
        number = 0
        while not self._ended.is_set():
            number += 1
            due_s = began_s + number / self._per_s - time.monotonic()
            if due_s > 0:
                time.sleep(due_s)
            name = f"r-{number}"
            try:
                connection.request(
                    "POST", "/predict", f'{{"id": "{name}"}}', {"Content-Type": "application/json"}
                )
                connection.getresponse().read()
            except OSError:
                return
            except http.client.HTTPException:
                return
            self.answered[name] = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self.join()


@dataclass(frozen=True, slots=True)
class Loss:
    """What one deletion cost."""

    answered: int
    lost: int
    oldest_s: float
    """How long before the kill the oldest lost answer was given."""


def one(folder: Path, upstream: int, per_s: float, batch_age_s: float, life_s: float) -> Loss:
    """Record for `life_s`, delete by force, and compare."""
    running = Sidecar(folder, upstream, batch_age=f"{batch_age_s}s").start()
    client = Paced(running.port, per_s)
    client.start()
    time.sleep(life_s)
    killed_s = time.monotonic()
    running.kill_group()
    client.end()
    shutil.rmtree(running.journal)
    stored = set(read_evidence(running.store).ids) if running.store.exists() else set()
    lost = [at for name, at in client.answered.items() if name not in stored]
    return Loss(len(client.answered), len(lost), killed_s - min(lost, default=killed_s))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--batch-age", type=float, default=30.0, help="seconds")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    losses = []
    with model_server() as server:
        for _ in range(given.kills):
            # Long enough for a first batch; the moment within the next is chance.
            life_s = given.batch_age * (1.2 + chance.random())
            with tempfile.TemporaryDirectory() as name:
                loss = one(Path(name), server.port, given.rate, given.batch_age, life_s)
            losses.append(loss)
            print(
                f"killed after {life_s:5.1f} s: {loss.answered} answered, {loss.lost} lost, "
                f"the oldest {loss.oldest_s:.1f} s old",
                flush=True,
            )
    worst = max(losses, key=lambda each: each.lost)
    print(
        f"{given.rate:g} requests/s, batch_age {given.batch_age:g} s, {given.kills} kills: lost median "
        f"{statistics.median(each.lost for each in losses):g}, worst {worst.lost}; "
        f"oldest {max(each.oldest_s for each in losses):.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

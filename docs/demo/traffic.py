"""The bank's clients: sends the applications at a steady rate and measures what the sidecar adds.

A process of its own, so that drawing the terminal does not disturb the clock:

    python docs/demo/traffic.py PLAN.json

prints one JSON line a second. SIGUSR1 shifts the population, SIGTERM ends it.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from docs.demo.applications import Application, as_filed, mlflow_body, open_inference_body, shifted
from docs.demo.latency import Pairs

CONNECTIONS = 4
"""Keep-alive connections on each way, used in turn."""
TIMEOUT_S = 10.0
SEED = 1996


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the traffic process has to know."""

    applications: str
    server: str
    path: str
    direct_port: int
    sidecar_port: int
    rate: float
    """Applications per second through the sidecar."""
    pair_every: int
    """Every so many, one is also sent straight to the model."""

    @property
    def encode(self) -> Callable[[Application], bytes]:
        return mlflow_body if self.server == "mlflow" else open_inference_body


class Caller:
    """Keep-alive connections to one port, used in turn; a broken one is opened again on its next use."""

    def __init__(self, port: int, path: str, connections: int = CONNECTIONS) -> None:
        self._path = path
        self._turn = cycle(
            [http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S) for _ in range(connections)]
        )

    def call(self, body: bytes) -> float:
        """Seconds from the request to the whole answer. Raises OSError unless it is a 200."""
        connection = next(self._turn)
        started = time.perf_counter()
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise OSError(f"no answer: {error!r}") from error
        took = time.perf_counter() - started
        if response.status != 200:
            raise OSError(f"status {response.status}: {answer[:200].decode(errors='replace')}")
        return took


class Driver:
    """Sends, counts and reports until told to stop."""

    def __init__(self, plan: Plan, applications: Sequence[Application]) -> None:
        self._plan = plan
        self._encode = plan.encode
        self._sidecar = Caller(plan.sidecar_port, plan.path)
        self._direct = Caller(plan.direct_port, plan.path)
        self._applications = applications
        self._population: Iterator[Application] = as_filed(applications, SEED)
        self._coin = random.Random(SEED)
        self._pairs = Pairs()
        self.sent = 0
        self.errors = 0
        self.last_error = ""
        self.shifted = False
        self.running = True

    def shift(self) -> None:
        """From the next application on, the population is the riskier one."""
        if not self.shifted:
            self.shifted = True
            self._population = shifted(self._applications, SEED)

    def stop(self) -> None:
        self.running = False

    def run(self, report: Callable[[str], None]) -> None:
        """Returns after `stop`. A slow server lowers the rate; nothing is sent late in a burst."""
        step_s = 1 / self._plan.rate
        due = next_report = time.monotonic()
        while self.running:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + step_s, time.monotonic() - step_s)
            self.send(next(self._population))
            if time.monotonic() >= next_report:
                report(self.line())
                next_report = time.monotonic() + 1
        report(self.line())

    def send(self, application: Application) -> None:
        """One application through the sidecar; every so often the same one directly, before or after."""
        body = self._encode(application)
        paired = self.sent % self._plan.pair_every == 0
        direct_first = paired and self._coin.random() < 0.5
        self.sent += 1
        try:
            direct_s = self._direct.call(body) if direct_first else 0.0
            sidecar_s = self._sidecar.call(body)
            if paired and not direct_first:
                direct_s = self._direct.call(body)
        except OSError as error:
            self.errors += 1
            self.last_error = str(error)
            return
        # The first use of each connection is the connecting, not the answering.
        if paired and self.sent > CONNECTIONS * self._plan.pair_every:
            self._pairs.add(direct_s, sidecar_s)

    def line(self) -> str:
        """The state as one JSON line."""
        latency = self._pairs.latency()
        return json.dumps(
            {
                "sent": self.sent,
                "errors": self.errors,
                "last_error": self.last_error,
                "shifted": self.shifted,
                "latency": asdict(latency) if latency else None,
            }
        )


def main(plan_file: str) -> None:
    plan = Plan(**json.loads(Path(plan_file).read_text()))
    driver = Driver(plan, json.loads(Path(plan.applications).read_text())["applications"])
    signal.signal(signal.SIGUSR1, lambda *_: driver.shift())
    signal.signal(signal.SIGTERM, lambda *_: driver.stop())
    driver.run(lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(sys.argv[1])

"""A real journal filled by the real writer, and stand-ins for what only reads exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from sidecar.clock import SystemClock
from sidecar.counters import Counters, Global, Route
from sidecar.errors import DecodeError
from sidecar.intake import Analysis
from sidecar.journal.limits import JournalLimits
from sidecar.journal.writer import JournalWriter
from sidecar.records import Epoch, Exchange, Message, Observation, Outcome, Sample

BOOT = "20261123T231500-9f3c2a71b0"
START_US = 1_795_475_700_000_000
EPOCH = Epoch("default", 1, "mortgage", "sha256:" + "ab" * 32, None, "flag")


def exchange(number: int, body: bytes = b"", answer: bytes = b"", route: str = "default") -> Exchange:
    """A POST of a small JSON object and its answer, as they were on the wire."""
    body = body or orjson.dumps({"n": number, "kind": f"k{number % 7}"})
    answer = answer or orjson.dumps({"score": number * 0.5})
    made = Exchange(route, number % 32, "127.0.0.1:40000", START_US + number * 1_000, 0)
    made.epoch = 1
    made.outcome = Outcome.COMPLETE
    made.request = [
        b"POST /predict?v=1 HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    ]
    made.response = [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (len(answer), answer)
    ]
    made.request_bytes, made.response_bytes = len(made.request[0]), len(made.response[0])
    made.request_end_ns, made.first_byte_ns, made.end_ns = 1_000, 500_000, 750_000
    return made


def fill(
    folder: Path,
    exchanges: Iterable[Exchange],
    boot: str = BOOT,
    routes: Sequence[str] = ("default",),
    epochs: Sequence[Epoch] = (EPOCH,),
    limits: JournalLimits | None = None,
    also: Callable[[JournalWriter], None] = lambda writer: None,
) -> Counters:
    """Write the exchanges as one boot's recorder would, close the journal, and return its counters."""
    folder.mkdir(exist_ok=True)
    path = folder / f"counters-{boot}.bin"
    counters = Counters.open(path) if path.exists() else Counters.create(folder, boot, routes)
    counters.set(Global.BOOT_WALL_US, START_US)

    async def write() -> None:
        writer = JournalWriter(folder, boot, counters, SystemClock(), limits or JournalLimits(), epochs)
        writer.start(asyncio.get_running_loop())
        for count, each in enumerate(exchanges, 1):
            counters.slots[counters.base(each.route) + Route.STARTED] += 1
            writer.append(each)
            if count % 500 == 0:
                writer.flush()
                while writer.pending_bytes > 4 << 20:
                    await asyncio.sleep(0.002)
        also(writer)
        await writer.close(30.0)

    asyncio.run(write())
    return counters


class JsonDecoder:
    """Reads plain JSON objects; `trap` is called with each request body first."""

    def __init__(self, trap: Callable[[bytes], None] = lambda body: None) -> None:
        self._trap = trap

    def observe(self, path: str, request: Message, response: Message) -> Observation:
        self._trap(request.body)
        try:
            inputs, outputs = orjson.loads(request.body), orjson.loads(response.body)
        except ValueError as error:
            raise DecodeError(f"not JSON: {error}") from error
        return Observation(
            "plain_json",
            1,
            {name: [value] for name, value in inputs.items()},
            {name: [value] for name, value in outputs.items()},
        )


class CountingMonitor:
    """Counts observations, and keeps the sum of the field `n`: enough to see one lost or doubled."""

    def __init__(self, count: int = 0, total: int = 0) -> None:
        self.count = count
        self.total = total

    baseline = None
    plan = None

    def follow(self, previous: Any) -> None:
        """It compares nothing."""

    def add(self, samples: Sequence[Sample]) -> None:
        observations = [sample.observation for sample in samples if sample.observation]
        self.count += len(observations)
        self.total += sum(each.inputs["n"][0] for each in observations)

    def advance(self, now_us: int) -> None:
        """It has no panes."""

    def alarms(self) -> Sequence[Any]:
        """Nor alarms."""
        return ()

    def state(self) -> bytes:
        return orjson.dumps([self.count, self.total])

    @classmethod
    def restore(cls, state: bytes) -> CountingMonitor:
        return cls(*orjson.loads(state))

    def summary(self) -> dict[str, Any]:
        return {"observations": self.count, "total": self.total}


def analysis(trap: Callable[[bytes], None] = lambda body: None) -> Analysis:
    return Analysis(
        JsonDecoder(trap), lambda key: CountingMonitor(), lambda key, state: CountingMonitor.restore(state)
    )

"""Clients that send requests one after the other, each with an id of its own, and remember what came back."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

HANG_S = 20.0
"""An exchange without an end for so long counts as hung."""


def json_body(identity: str) -> bytes:
    """A prediction's request."""
    number = sum(identity.encode())
    return b'{"id": "%s", "debt_ratio": 0.%d, "score": %d}' % (
        identity.encode(),
        number % 90 + 10,
        number % 7,
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """One exchange without a whole answer. Times: monotonic seconds."""

    identity: str
    connected_s: float
    failed_s: float
    reason: str


class Load:
    """Used as a context: traffic flows inside it, in a thread of its own."""

    def __init__(
        self,
        port: int,
        connections: int = 8,
        pause_s: float = 0.004,
        prefix: str = "x",
        path: str = "/predict",
        body: Callable[[str], bytes] = json_body,
        per_connection: int = 0,
    ) -> None:
        """`per_connection`: exchanges before a connection is closed and made anew, 0 for no limit."""
        self.answered: dict[str, int] = {}
        """Status of every whole answer, by id."""
        self.failed: list[Failure] = []
        self.refused: list[str] = []
        """Connection attempts that failed."""
        self.slowest_s = 0.0
        self._port = port
        self._connections = connections
        self._pause_s = pause_s
        self._prefix = prefix
        self._path = path
        self._body = body
        self._per_connection = per_connection
        self._numbers = itertools.count(1)
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    @property
    def sent(self) -> set[str]:
        return {*self.answered, *(failure.identity for failure in self.failed)}

    def statuses(self) -> set[int]:
        return set(self.answered.values())

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Every exchange in flight ends first."""
        self._stopping = True
        self._thread.join()

    def more(self, count: int, patience_s: float = 60.0) -> None:
        """Return once so many more exchanges were answered."""
        goal = len(self.answered) + count
        deadline = time.monotonic() + patience_s
        while len(self.answered) < goal:
            assert time.monotonic() < deadline, f"{count} more answers did not come in {patience_s:g} s"
            assert self._thread.is_alive(), "the load died"
            time.sleep(0.005)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        while not self._stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.refused.append(str(error))
                await asyncio.sleep(0.05)
                continue
            connected_s = time.monotonic()
            try:
                await self._talk(reader, writer, connected_s)
            finally:
                writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connected_s: float
    ) -> None:
        for count in itertools.count(1):
            if self._stopping:
                return
            identity = f"{self._prefix}-{next(self._numbers)}"
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(HANG_S):
                    status, going_on = await self._exchange(reader, writer, identity)
            except (OSError, EOFError, TimeoutError) as error:
                reason = "hung" if isinstance(error, TimeoutError) else repr(error)
                self.failed.append(Failure(identity, connected_s, time.monotonic(), reason))
                return
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            self.answered[identity] = status
            if not going_on or count == self._per_connection:
                return
            await asyncio.sleep(self._pause_s)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identity: str
    ) -> tuple[int, bool]:
        """Status, and whether the connection may be used again."""
        body = self._body(identity)
        writer.write(
            b"POST %s HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (self._path.encode(), len(body), body)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        answer = await reader.readexactly(int(length))
        status = int(head[9:12])
        assert status != 200 or identity.encode() in answer, f"{identity}: another one's answer: {answer!r}"
        return status, b"connection: close" not in head

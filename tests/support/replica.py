"""One long-running cluster command as a process, and kubelet's and Prometheus' calls to it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from tests.bench.processes import free_port
from tests.support.kube_api import KubeApi

PATIENCE_S = 30.0


async def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    try:
        async with asyncio.timeout(patience_s):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited {patience_s:g} s: {what}") from None


class Replica:
    """A subclass names its command; each replica has a token of its own, which tells its writes."""

    COMMAND: tuple[str, ...]

    def __init__(self, kube: KubeApi, name: str, more: tuple[str, ...]) -> None:
        self.kube, self.name = kube, name
        self.path = kube.folder / f"{name}.log"
        self.admin = free_port()
        token = kube.folder / f"token-{name}"
        token.write_text(f"token-{name}")
        kube.tokens.add(f"token-{name}")
        self.command = [
            *(sys.executable, "-m", "sidecar.cli", *self.COMMAND, "--identity", name),
            *("--admin", f"127.0.0.1:{self.admin}", "--log-format", "text"),
            *("--api", kube.access.url, "--token-file", str(token), "--ca-file", str(kube.access.ca_file)),
            *more,
        ]
        self.session = aiohttp.ClientSession()

    @classmethod
    @asynccontextmanager
    async def started(cls, kube: KubeApi, name: str, *more: str) -> AsyncIterator[Self]:
        """Started, not necessarily ready; ended with the context."""
        one = cls(kube, name, more)
        try:
            await one.start()
            yield one
            assert "Traceback" not in one.log
        finally:
            if one.process.returncode is None:
                one.process.kill()
                await one.process.wait()
            await one.session.close()

    async def start(self) -> None:
        with self.path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self.command, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.path.read_text()

    async def end(self) -> int:
        """The exit code after SIGTERM, as kubelet sends it."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def ask(self, path: str) -> tuple[int, str]:
        """Status and text of the admin port; (0, "") when nobody answers."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.admin}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self.ask("/readyz"))[0] != 200:
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def metric(self, line: str) -> float | None:
        """The value of the first sample whose line begins so."""
        _, text = await self.ask("/metrics")
        found = [each.split()[-1] for each in text.splitlines() if each.startswith(line)]
        return float(found[0]) if found else None

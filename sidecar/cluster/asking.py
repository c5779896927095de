"""Asks many sidecars for their status: few at once, each in bounded time, all in bounded time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from sidecar.cluster.api import Api, Object
from sidecar.cluster.coverage import Answer
from sidecar.cluster.report import Report, parse
from sidecar.errors import ClusterError

STATUS = "/api/v1/status"
NOT_ASKED = "not asked: the time for all of them was over"
_MOST_BYTES = 8 * 2**20
_MOST_CHARACTERS = 200

Fetch = Callable[[Mapping[str, Any]], Awaitable[bytes]]
"""The body of a pod's status. Raises Silent."""


class Silent(Exception):
    """A sidecar does not answer; the text says why."""


def through_api(api: Api, port: int) -> Fetch:
    """By the API server's proxy of pods, which reaches them from outside the cluster."""

    async def fetch(pod: Mapping[str, Any]) -> bytes:
        metadata = pod["metadata"]
        path = (
            f"/api/v1/namespaces/{quote(metadata['namespace'])}/pods/{quote(metadata['name'])}:{port}/proxy"
        )
        try:
            return await api.content(path + STATUS)
        except ClusterError as error:
            if error.status == 403:
                refused = "may not be asked: grant get on pods/proxy, or ask from inside the cluster"
                raise Silent(refused) from error
            raise Silent(str(error).removeprefix(f"GET {path}{STATUS}: ")) from error

    return fetch


def directly(session: aiohttp.ClientSession, port: int) -> Fetch:
    """At the pod's address, as only the cluster's own network can."""

    async def fetch(pod: Mapping[str, Any]) -> bytes:
        address = str((pod.get("status") or {}).get("podIP") or "")
        if not address:
            raise Silent("its pod has no address")
        host = f"[{address}]" if ":" in address else address
        try:
            async with session.get(f"http://{host}:{port}{STATUS}", allow_redirects=False) as response:
                if response.status != 200:
                    raise Silent(f"answers {response.status}")
                body = await response.content.read(_MOST_BYTES + 1)
                while len(body) <= _MOST_BYTES and (more := await response.content.read(_MOST_BYTES)):
                    body += more
        except aiohttp.ClientConnectorError as error:
            # In the system's words: the library's name its own classes and settings.
            number = error.os_error.errno
            raise Silent(f"port {port}: {os.strerror(number) if number else error.os_error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Silent(f"port {port}: {error or type(error).__name__}") from error
        if len(body) > _MOST_BYTES:
            raise Silent("its answer is too large")
        return body

    return fetch


async def ask_all(
    pods: Iterable[Object], fetch: Fetch, at_once: int = 16, each_s: float = 5.0, all_s: float = 60.0
) -> list[Answer]:
    """What each pod's sidecar says, in the order of the pods; a text where it says nothing.

    They are asked in that order, and those that `all_s` leaves no time for are NOT_ASKED.
    """
    gate = asyncio.Semaphore(at_once)

    async def ask(pod: Object) -> Report | str:
        async with gate:
            try:
                async with asyncio.timeout(each_s):
                    return parse(await fetch(pod))
            except TimeoutError:
                return f"no answer in {each_s:g} s"
            except Silent as error:
                return " ".join(str(error).split())[:_MOST_CHARACTERS]
            except ValueError as error:
                return f"its answer {error}"

    tasks = [asyncio.create_task(ask(pod)) for pod in pods]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, timeout=all_s)
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [NOT_ASKED if task.cancelled() else task.result() for task in tasks]

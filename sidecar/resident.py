"""What commands share that run in a cluster until told to end: the API, sockets, background work."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from aiohttp import web

from sidecar.cluster.api import SERVICE_ACCOUNT, Access
from sidecar.errors import SidecarError, UsageError
from sidecar.inject.names import SYSTEM_NAMESPACE
from sidecar.listening import listen, resolve
from sidecar.parameters import Parsed
from sidecar.served import served
from sidecar.settings_values import Address, parse_listen

Work = Coroutine[Any, Any, None]
Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
LISTEN = Parsed("HOST:PORT", parse_listen)


def service_account_options(command: Command) -> Command:
    """Adds the options that `service_account` takes: url, token_file, ca_file, api_host, api_port."""
    for option in reversed(
        (
            click.option("--api", "url", metavar="URL", help="The Kubernetes API.  [default: as in a pod]"),
            click.option("--token-file", type=_FILE, default=SERVICE_ACCOUNT / "token", help="Bearer token."),
            click.option(
                "--ca-file", type=_FILE, default=SERVICE_ACCOUNT / "ca.crt", help="The API's authority."
            ),
            click.option("--api-host", envvar="KUBERNETES_SERVICE_HOST", hidden=True),
            click.option("--api-port", envvar="KUBERNETES_SERVICE_PORT_HTTPS", default="443", hidden=True),
        )
    ):
        command = option(command)
    return command


def replica_options(command: Command) -> Command:
    """Adds what every replica of a command is told: admin, namespace, identity, log_format; and the API."""
    log_formats = click.Choice(["auto", "json", "text"])
    for option in (
        click.option("--log-format", type=log_formats, default="auto", help="How it logs."),
        click.option("--identity", envvar="POD_NAME", help="This replica's name.  [default: the host's]"),
        service_account_options,
        click.option(
            "--namespace",
            default=SYSTEM_NAMESPACE,
            show_default=True,
            envvar="POD_NAMESPACE",
            help="Its own.",
        ),
        click.option(
            "--admin",
            type=LISTEN,
            default="*:15190",
            show_default=True,
            help="/healthz, /readyz and /metrics.",
        ),
    ):
        command = option(command)
    return command


def service_account(
    name: str, url: str | None, token_file: Path, ca_file: Path, api_host: str | None, api_port: str
) -> Access:
    """The API as a pod reaches it, or as the options say. Raises UsageError in the command's name."""
    if url is None:
        if not api_host:
            raise UsageError(f"{name}: this is no pod: give --api URL, --token-file and --ca-file")
        url = f"https://[{api_host}]:{api_port}" if ":" in api_host else f"https://{api_host}:{api_port}"
    return Access(url.rstrip("/"), token_file, ca_file)


async def until_signal(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `serve` with an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(stop)


async def first(events: Iterable[asyncio.Event], failed: asyncio.Future[None]) -> None:
    """Until one of the events is set. Raises what made background work fail."""
    waiting: list[asyncio.Future[Any]] = [asyncio.create_task(each.wait()) for each in events]
    await asyncio.wait([*waiting, failed], return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    if failed.done():
        failed.result()


@asynccontextmanager
async def in_background(*work: Work) -> AsyncIterator[asyncio.Future[None]]:
    """Runs coroutines beside; the future fails with the first that ends, which none should."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not failed.done():
            failed.set_exception(task.exception() or SidecarError("background work ended by itself"))

    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield failed
    finally:
        failed.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def listen_on(
    stack: AsyncExitStack, name: str, address: Address, app: web.Application, tls: ssl.SSLContext | None
) -> None:
    opened = listen(name, address, resolve(name, address))
    await stack.enter_async_context(served(app, opened, tls, shutdown_s=60.0))

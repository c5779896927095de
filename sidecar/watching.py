"""`sidecar watch`: adds the panes of all pods as they arrive and raises the model's alarms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from sidecar import listening, logs
from sidecar.alert_options import alert_options
from sidecar.alert_sending import courier
from sidecar.alerting.courier import Courier
from sidecar.alerting.notice import Notice
from sidecar.archive.commands import Moment
from sidecar.backoff import Backoff
from sidecar.clock import SystemClock
from sidecar.errors import StoreError, UsageError
from sidecar.fleet.pane_file import Series
from sidecar.keyring import STORE
from sidecar.lookup import open_source
from sidecar.objects import for_command
from sidecar.parameters import Parsed
from sidecar.settings_values import Address, parse_duration, parse_listen
from sidecar.watch_metrics import exposition
from sidecar.watcher import Watcher

log = logging.getLogger("sidecar.watch")

DRAIN_S = 20.0
STALE_LOOKS = 5
"""Looks that may fail before `/readyz` says so."""
DURATION = Parsed("DURATION", parse_duration)


@click.command()
@STORE
@click.option("--model", metavar="NAME", help="Only this model.")
@click.option("--once", is_flag=True, help="Look once and end, for a CronJob.")
@click.option("--interval", type=DURATION, default="30s", show_default=True, help="Time between looks.")
@click.option(
    "--wait",
    type=DURATION,
    default="10m",
    show_default=True,
    help="How long after its end a pane waits for pods that have not shipped it.",
)
@click.option(
    "--since",
    type=Moment(),
    help="Begin with panes shipped then or later.  [default: where it ended, or 24h]",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the state here.  [default: in the store]",
)
@click.option(
    "--name", default="watch", show_default=True, metavar="NAME", help="The watcher whose state it is."
)
@click.option(
    "--listen",
    type=Parsed("HOST:PORT", parse_listen),
    help="Where to answer /metrics, /healthz and /readyz.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="How it logs.",
)
@alert_options
def watch(
    store: str,
    model: str | None,
    once: bool,
    interval: float,
    wait: float,
    since: int | None,
    state: Path | None,
    name: str,
    listen: Address | None,
    log_format: str,
    alert_urls: tuple[str, ...],
    alert_secret_file: Path | None,
    alert_rate: str,
) -> None:
    """Add up the panes of all pods as they arrive, and raise the alarms of each model.

    It owns each model's budget of false alarms; what a single sidecar shows is
    advice. Ends on SIGTERM; with --once after one look, with 1 if that failed.
    """
    if not interval or not wait:
        raise UsageError("watch: --interval and --wait must be longer than 0")
    if not name.replace("-", "").isalnum():
        raise UsageError(f"watch: --name {name!r}: letters, digits and - only")
    logs.configure(log_format, "info", "watch")
    if state is not None:
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"watch: --state {state}: {error.strerror}: give a writable folder") from error
    clock = SystemClock()
    told: dict[str, Series] = {}

    def tell(series: Series, notice: Notice, once_only: bool) -> None:
        told[notice.key] = series
        loop.call_soon_threadsafe(sender.offer, notice, once_only)

    def done(notice: Notice) -> None:
        series = told.get(notice.key)
        if series is not None:
            watcher.told(series, notice)

    loop = asyncio.new_event_loop()
    sender = courier(alert_urls, alert_secret_file, alert_rate, clock, done)
    watcher = Watcher(
        for_command(store),
        clock,
        tell if alert_urls else None,
        name=name,
        instance=secrets.token_hex(8),
        model=model,
        wait_us=int(wait * 1e6),
        since_us=since,
        folder=state,
        records=open_source(store),
    )
    try:
        loop.run_until_complete(_run(watcher, sender, once, interval, listen))
    finally:
        loop.close()


async def _run(
    watcher: Watcher, sender: Courier, once: bool, interval_s: float, listen: Address | None
) -> None:
    async with _served(watcher, sender, interval_s, listen):
        if once:
            # A signal ends it as it ends any command: the next look begins where the last was kept.
            await asyncio.to_thread(watcher.look)
            await _drain(watcher, sender)
            return
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        sending = asyncio.ensure_future(sender.run())
        try:
            await _look_on(watcher, interval_s, stop)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        await _drain(watcher, sender)


async def _look_on(watcher: Watcher, interval_s: float, stop: asyncio.Event) -> None:
    backoff = Backoff(first_s=1.0, cap_s=max(60.0, interval_s))
    while not stop.is_set():
        wait_s = interval_s
        try:
            taken = await asyncio.to_thread(watcher.look)
            if watcher.health.error:
                log.info("store %s can be looked through again", watcher.store.description)
            watcher.health.error = ""
            backoff.succeeded()
            if taken:
                log.info("%d files of panes taken", taken)
        except StoreError as error:
            if watcher.health.error != str(error):
                log.warning("%s; tried again", error)
            watcher.health.error = str(error)
            wait_s = min(backoff.failed(), max(interval_s, 1.0))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)


async def _drain(watcher: Watcher, sender: Courier) -> None:
    await asyncio.sleep(0)
    if not sender.idle and not await sender.drain(DRAIN_S):
        log.warning("not every alert was taken in time: the next start tells them")
    await asyncio.to_thread(watcher.mark_told)


@asynccontextmanager
async def _served(
    watcher: Watcher, sender: Courier, interval_s: float, listen: Address | None
) -> AsyncIterator[None]:
    if listen is None:
        yield
        return
    from aiohttp import web

    from sidecar.served import served

    clock = SystemClock()

    async def scrape(request: web.Request) -> web.Response:
        body = exposition(watcher, sender)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(request: web.Request) -> web.Response:
        looked_us = watcher.health.looked_us
        stale = not looked_us or clock.wall_us() - looked_us > STALE_LOOKS * max(interval_s, 12.0) * 1e6
        words = watcher.health.error or ("not looked yet" if stale else "ok")
        return web.Response(text=words + "\n", status=503 if stale else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape), web.get("/healthz", health), web.get("/readyz", ready)])
    opened = listening.listen("watch: --listen", listen, listening.resolve("watch: --listen", listen))
    log.info("listening on %s", ", ".join(str(each.getsockname()[:2]) for each in opened))
    async with served(app, opened):
        yield

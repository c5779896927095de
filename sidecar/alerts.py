"""`sidecar alarms` and `sidecar alert test`: what is open, who knows, and whether receivers listen."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import click
import msgspec

from sidecar.alarm_store import Acknowledgement, AlarmStore, StoredAlarm
from sidecar.alert_options import alert_options
from sidecar.alert_sending import rate, secret, targets
from sidecar.alerting.notice import Notice
from sidecar.alerting.post import Answer, post, session
from sidecar.alerting.target import Target
from sidecar.archive.text import safe
from sidecar.archive.when import readable
from sidecar.errors import SidecarError, StoreError, UsageError
from sidecar.keyring import JSON, STORE
from sidecar.objects import for_command
from sidecar.statistics.alarm_order import in_order


@click.command()
@STORE
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option("--all", "resolved", is_flag=True, help="Also those that are over.")
@click.option("--ack", metavar="ID", help="Acknowledge this alarm: it stays quiet until it is over.")
@click.option("--by", metavar="NAME", help="Who acknowledges it.")
@click.option("--reason", metavar="TEXT", default="", help="Why, or what is being done.")
@JSON
def alarms(
    store: str,
    model: str | None,
    resolved: bool,
    ack: str | None,
    by: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """List the alarms that `sidecar watch` has raised, or acknowledge one."""
    if (ack is None) != (by is None):
        raise UsageError("alarms: --ack ID and --by NAME go together: say who acknowledges which alarm")
    kept = AlarmStore(for_command(store))
    found: list[StoredAlarm] = []
    problems = 0
    for each in kept.all():
        if isinstance(each, StoreError):
            problems += 1
            click.echo(f"sidecar: {each}", err=True)
        elif model is None or each.model == model:
            found.append(each)
    if ack is not None and by is not None:
        _acknowledge(kept, found, ack, by, reason)
        return
    shown = [each for each in found if resolved or each.alarm.active]
    shown = in_order(shown, lambda each: each.as_told)
    for each in shown:
        click.echo(json.dumps(_json(each)) if as_json else _text(each))
    if not shown and not as_json:
        click.echo("no alarm is open" if not resolved else "no alarms", err=True)
    if problems:
        raise StoreError(f"{problems} alarms could not be read, named above: restore them")


def _acknowledge(kept: AlarmStore, found: list[StoredAlarm], ack: str, by: str, reason: str) -> None:
    wanted = [each for each in found if each.alarm.id.startswith(ack)]
    if not wanted:
        raise StoreError(f"no alarm {ack}: take an id from `sidecar alarms`")
    if len(wanted) > 1:
        raise UsageError(f"alarms: --ack {ack} begins several ids: give more of it")
    (each,) = wanted
    if not each.alarm.active:
        raise StoreError(f"alarm {each.alarm.id} is over: there is nothing to acknowledge")
    if not kept.acknowledge(each, Acknowledgement(by, reason, time.time_ns() // 1000)):
        before = kept.acknowledgement(each.name.removesuffix(".json"))
        raise StoreError(f"alarm {each.alarm.id} was acknowledged by {before.by} at {readable(before.at_us)}")
    click.echo(f"{each.alarm.id} acknowledged: the watcher stays quiet about it until it is over")


def _json(each: StoredAlarm) -> dict[str, object]:
    return {
        "model": each.model,
        "digest": each.digest or None,
        "plan": each.plan,
        "state": each.state,
        "acknowledged": None if each.acknowledged is None else msgspec.to_builtins(each.acknowledged),
        "alarm": msgspec.to_builtins(each.alarm),
    }


def _text(each: StoredAlarm) -> str:
    alarm = each.alarm
    lines = [
        f"{alarm.id}  {alarm.severity:<8}  {each.state:<12}  {safe(each.model)}  "
        f"since {readable(alarm.since_us)}",
        f"  {safe(alarm.sentence)}",
    ]
    if alarm.record_ids:
        lines.append(f"  look at {safe(', '.join(alarm.record_ids))}")
    if each.acknowledged:
        note = f": {each.acknowledged.reason}" if each.acknowledged.reason else ""
        lines.append(f"  acknowledged by {safe(each.acknowledged.by + note)}")
    return "\n".join(lines)


@click.group()
def alert() -> None:
    """Send alerts."""


@alert.command("test")
@alert_options
@JSON
def test(alert_urls: tuple[str, ...], alert_secret_file: Path | None, alert_rate: str, as_json: bool) -> None:
    """Send a test alert to every receiver and say what came back."""
    if not alert_urls:
        raise UsageError("alert test: no receiver: give --alert-url or SIDECAR_ALERT_URL")
    rate(alert_rate)
    aims, key = targets(alert_urls), secret(alert_secret_file)
    now_us = time.time_ns() // 1000
    notice = Notice(
        f"test-{now_us}", "test", "", "test", "warning", "test",
        "This is a test of Sidecar's alerts; nothing is wrong.", now_us, now_us, now_us,
    )  # fmt: skip
    answers = asyncio.run(_ask(aims, notice, now_us, key))
    for target, answer in zip(aims, answers, strict=True):
        if as_json:
            said = {
                "target": target.shown,
                "taken": answer.taken,
                "status": answer.status,
                "words": answer.words,
            }
            click.echo(json.dumps(said))
        else:
            click.echo(f"{target.shown}: {answer.words}")
    failed = sum(not answer.taken for answer in answers)
    if failed:
        raise SidecarError(f"{failed} of {len(answers)} receivers did not take the test alert, as said above")


async def _ask(aims: list[Target], notice: Notice, now_us: int, key: bytes | None) -> list[Answer]:
    async with session() as client:
        return list(await asyncio.gather(*(post(client, aim, notice, now_us, key) for aim in aims)))

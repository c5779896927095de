"""Glue for `sidecar replay`: a recorded request is sent again, and the answers are compared.

Exit codes: 0 the same, 1 different or not to be replayed, 2 a wrong command line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from sidecar.archive.commands import JSON, STORE, Problems
from sidecar.archive.show import load, message
from sidecar.archive.text import safe
from sidecar.audit.replay import Request, Target, header, prepare
from sidecar.audit.replay_compare import MOST_DIFFERENCES, Difference, Verdict, compare
from sidecar.audit.replay_send import Answer, send
from sidecar.decode.content import decoded_body
from sidecar.errors import DecodeError
from sidecar.lookup import decrypt, open_source
from sidecar.records import Message

__all__ = ["replay"]

LIMIT_BYTES = 256 << 20
_SHOWN_CHARACTERS = 200


class _Header(click.ParamType):  # type: ignore[type-arg]
    name = "NAME:VALUE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        text = str(value)
        try:
            # A file keeps a credential out of the list of processes.
            return header(Path(text[1:]).read_text().strip() if text.startswith("@") else text)
        except OSError as error:
            self.fail(f"{text[1:]}: {error.strerror}", param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("record_id")
@STORE
@click.option("--against", required=True, metavar="URL", help="The server: http://HOST:PORT[/PREFIX].")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="X",
    help="Numbers may differ by X times the larger of 1 and their size. [default: 0, none]",
)
@click.option(
    "--ignore", multiple=True, metavar="PATH", help="Differences at or below this JSONPath do not count."
)
@click.option(
    "--header",
    "headers",
    type=_Header(),
    multiple=True,
    help="Sent in place of recorded ones of that name, such as a credential; @FILE: the line in a file.",
)
@click.option("--timeout", type=click.FloatRange(0.001, 3600), default=30.0, show_default=True, metavar="S")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="CA certificates for https, instead of the system's.",
)
@click.option("--master-key", type=click.Path(path_type=Path), metavar="FILE", help="Opens encrypted bodies.")
@JSON
def replay(
    record_id: str,
    store: str,
    against: str,
    tolerance: float,
    ignore: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
    timeout: float,
    ca: Path | None,
    master_key: Path | None,
    as_lines: bool,
) -> None:
    """Send a recorded request again and compare the answers."""
    target = Target.parse(against)
    source, problems = open_source(store), Problems()
    shown = load(source, record_id, problems)
    if master_key is not None and shown.encrypted:
        decrypt(source, shown, master_key)
    request = prepare(shown, target, headers)
    answer = send(request, target, timeout, str(ca) if ca is not None else None)
    verdict = compare(
        (shown.row["status"], _plain(message(shown.row, "response"))),
        (answer.status, _plain(answer.message)),
        tolerance,
        ignore,
    )
    if as_lines:
        click.echo(_text(_as_json(record_id, against, request, answer, verdict)))
    else:
        _print(record_id, request, answer, verdict)
    problems.leave()
    sys.exit(0 if verdict.same else 1)


def _plain(part: Message) -> bytes:
    """The body without its content coding; as it is where that cannot be taken off."""
    try:
        return decoded_body(part, LIMIT_BYTES)
    except DecodeError:
        return part.body


def _as_json(
    record_id: str, against: str, request: Request, answer: Answer, verdict: Verdict
) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "against": against,
        "same": verdict.same,
        "status": {"recorded": verdict.recorded_status, "replayed": verdict.replayed_status},
        "same_bytes": verdict.same_bytes,
        "same_json": verdict.same_json,
        "differences": [_difference(each) for each in verdict.differences],
        "notes": list(request.notes),
        "took_ms": round(answer.took_ms, 3),
    }


def _difference(each: Difference) -> dict[str, Any]:
    shown = {"path": each.path, "recorded": each.recorded, "replayed": each.replayed}
    return shown if each.absent is None else {**shown, "absent": each.absent}


def _print(record_id: str, request: Request, answer: Answer, verdict: Verdict) -> None:
    click.echo(f"record      {record_id}")
    for note in request.notes:
        click.secho(f"note        {safe(note)}", fg="yellow")
    same_status = verdict.recorded_status == verdict.replayed_status
    recorded = verdict.recorded_status or "none"
    shown = str(recorded) if same_status else f"{recorded} recorded, {verdict.replayed_status} now"
    click.secho(f"status      {shown}", fg=None if same_status else "red")
    click.echo(f"answered    in {answer.took_ms:.1f} ms")
    if verdict.same_bytes:
        body = "the same bytes"
    elif verdict.same_json:
        body = "the same JSON in other bytes"
    elif verdict.same_json is None:
        body = "other bytes, which are not both JSON"
    else:
        more = "at least " if len(verdict.differences) == MOST_DIFFERENCES else ""
        body = f"JSON that differs at {more}{len(verdict.differences)} paths"
    click.echo(f"body        {body}")
    for each in verdict.differences:
        click.echo(
            f"  {safe(each.path)}: {_value(each, 'recorded')} recorded, {_value(each, 'replayed')} now"
        )
    word, color = ("the answers are the same", "green") if verdict.same else ("the answers DIFFER", "red")
    click.secho(word, fg=color)


def _value(each: Difference, side: str) -> str:
    if each.absent == side:
        return "nothing"
    text = _text(getattr(each, side))
    return safe(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


def _text(value: Any) -> str:
    """As JSON; what orjson refuses (lone surrogates, huge integers), the json module writes."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)

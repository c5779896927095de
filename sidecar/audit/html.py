"""The report as one HTML file that can be filed: no scripts, nothing loaded, light, dark and on paper."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from sidecar.audit import text
from sidecar.audit.findings import MEANING, Finding
from sidecar.audit.report import LogReport, StoreReport, iso

LOGS_LISTED = 2_000
"""Of more, those that are intact without a remark are only counted: the file must stay one that opens."""


_COLUMNS = ("Log", "State", "Records", "Intact to", "Signed", "Witnessed")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_name("report.css")


def page(report: StoreReport) -> str:
    """The whole document."""
    good = report.intact
    title = "Intact" if good else "Not intact"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}: verification of {escape(report.store)}</title>"
        f"<style>{_STYLE.read_text()}</style></head><body>"
        f"<main>{_head(report)}{_tiles(report)}{_found(report)}{_logs(report)}{_made(report)}{_words(report)}"
        f"{_limits()}</main></body></html>\n"
    )


def _head(report: StoreReport) -> str:
    kind = "good" if report.intact else "bad"
    if report.intact and not report.trusted:
        kind = "warn"
    sentence = text.verdict(report)
    return (
        '<header><p class="kicker">Sidecar · verification report</p>'
        f"<h1>{escape(report.store)}</h1>"
        f'<p class="verdict {kind}"><span class="mark" aria-hidden="true">{_mark(kind)}</span>'
        f"<span>{escape(sentence[0].upper() + sentence[1:])}</span></p></header>"
    )


def _mark(kind: str) -> str:
    return {"good": "✓", "bad": "✕", "warn": "!"}[kind]


def _tiles(report: StoreReport) -> str:
    intact = len(report.logs) - len(report.failed)
    lost = sum(log.lost for log in report.logs)
    erased = sum(log.erased for log in report.logs)
    tiles = [
        (f"{intact:,} of {len(report.logs):,}", "logs intact"),
        (f"{report.records:,}", "records"),
        (f"{sum(log.exchanges for log in report.logs):,}", "of them exchanges"),
        (f"{lost:,}", "exchanges lost and counted"),
        (f"{erased:,}", "records erased on order"),
        (f"{sum(log.files for log in report.logs):,}", "objects"),
    ]
    cells = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for value, label in tiles)
    return f'<dl class="tiles">{cells}</dl>'


def _found(report: StoreReport) -> str:
    """Everything that failed, before everything else."""
    parts = [_finding(each) for each in report.findings if each.failure]
    for log in report.failed:
        parts += [_finding(each, log.origin) for each in log.findings if each.failure]
    if not parts:
        return ""
    return f'<section><h2>What happened</h2><ol class="findings">{"".join(parts)}</ol></section>'


def _finding(finding: Finding, origin: str | None = None) -> str:
    facts = []
    if origin:
        facts.append(("log", origin))
    if finding.object:
        facts.append(("object", finding.object))
    if finding.first_leaf is not None and finding.last_leaf is not None:
        leaves = f"{finding.first_leaf:,}"
        facts.append(
            (
                "leaves",
                leaves if finding.last_leaf <= finding.first_leaf else f"{leaves} to {finding.last_leaf:,}",
            )
        )
    if finding.field:
        facts.append(("field", finding.field))
    if finding.records:
        facts.append(("records", ", ".join(finding.records)))
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    kind = "bad" if finding.failure else "plain"
    tag = f'<b class="tag {kind}">{escape(str(finding.kind))}</b>'
    return (
        f'<li class="{kind}"><p>{tag} {_sentence(finding.text)}</p>'
        + (f'<dl class="facts">{rows}</dl>' if rows else "")
        + "</li>"
    )


def _sentence(words: str) -> str:
    return escape(words[:1].upper() + words[1:] + ("" if words.endswith(".") else "."))


def _logs(report: StoreReport) -> str:
    if not report.logs:
        return '<section><h2>Logs</h2><p class="note">There are none.</p></section>'
    shown = sorted(report.logs, key=lambda log: (log.intact, not log.findings, log.origin))[:LOGS_LISTED]
    left = len(report.logs) - len(shown)
    more = f'<p class="note">And {left:,} more, intact without remarks.</p>' if left else ""
    heads = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    return (
        f"<section><h2>Logs</h2><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(map(_log, shown))}</tbody></table>{more}"
        f"{_remarks(report)}</section>"
    )


def _log(log: LogReport) -> str:
    kind = "bad" if not log.intact else "warn" if log.notes else "good"
    tags = "".join(f'<b class="tag warn">{escape(each)}</b> ' for each in log.notes)
    state = f'<b class="tag {kind if kind != "warn" else "good"}">{escape(log.status)}</b> {tags}'
    signed = f"enrolled by {log.enrolled_by}" if log.enrolled_by else "by a key no trusted key vouches for"
    witnessed = "never"
    if log.witnessed_size:
        witnessed = f"{log.witnessed_size:,} leaves"
        witnessed += f", {iso(log.witnessed_us)} by {log.witnessed_by}" if log.witnessed_us else ""
    models = f'<span class="models">{escape(", ".join(log.models))}</span>'
    cells = [
        f"<code>{_breakable(log.origin)}</code>{models}",
        state,
        f"{log.records:,}",
        f"<time>{escape(iso(log.to_us) or '–')}</time>",
        escape(signed),
        escape(witnessed),
    ]
    labelled = zip(_COLUMNS, cells, strict=True)
    return (
        "<tr>"
        + "".join(f'<td data-label="{name}"><div>{value}</div></td>' for name, value in labelled)
        + "</tr>"
    )


def _breakable(origin: str) -> str:
    """The origin with places to break a line at."""
    return escape(origin).replace(".", ".<wbr>")


def _remarks(report: StoreReport) -> str:
    """What is no failure, and still to be known."""
    parts = [_finding(each) for each in report.findings if not each.failure]
    for log in report.logs:
        parts += [_finding(each, log.origin) for each in log.findings if not each.failure]
        if len(parts) > LOGS_LISTED:
            break
    return f'<h3>Remarks</h3><ol class="findings">{"".join(parts)}</ol>' if parts else ""


def _made(report: StoreReport) -> str:
    """How the report came about, so that it can be made again."""
    rows: list[tuple[str, Iterable[str]]] = [
        ("Store", [report.store]),
        ("Begun", [iso(report.started_us) or ""]),
        ("Took", [f"{report.seconds:.1f} s"]),
        ("Sidecar", [report.version]),
        ("Checked", [report.scope or "every sealed object"]),
        ("Site log", [f"{report.site_entries:,} entries", *filter(None, [report.site_head])]),
        ("Enrolment keys", report.trusted or ["none given: keys were taken on faith"]),
        ("Operator keys", report.operators or ["none given"]),
        ("Witness keys", report.witnesses or ["none given"]),
        ("Objects", [f"SHA-256 {report.objects_sha256}"]),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{'<br>'.join(escape(each) for each in values)}</dd></div>"
        for name, values in rows
    )
    return (
        f'<section><h2>How it was checked</h2><dl class="facts wide">{cells}</dl>'
        '<p class="note">Everything was recomputed from the stored objects and the keys above. The last line '
        "is the SHA-256 over the lines <code>sha256, two spaces, name</code> of all batch objects, sorted by "
        "name: whoever gets the same value has the same objects.</p></section>"
    )


def _words(report: StoreReport) -> str:
    used = {each.kind for each in report.findings}
    for log in report.logs:
        used |= {each.kind for each in log.findings}
    if not used:
        return ""
    rows = "".join(
        f"<div><dt>{escape(str(kind))}</dt><dd>{escape(MEANING[kind])}</dd></div>"
        for kind in MEANING
        if kind in used
    )
    return f'<section><h2>The words used</h2><dl class="facts wide">{rows}</dl></section>'


_LIMITS = (
    "That the sidecar recorded what really happened: one that was compromised while it ran seals what it "
    "is told to.",
    "That all traffic went through it: what bypassed the sidecar left no record.",
    "That nothing is missing behind the last leaf a witness saw: the end of a log that is not closed may "
    "have been removed before anybody looked.",
)


def _limits() -> str:
    items = "".join(f"<li>{each}</li>" for each in _LIMITS)
    return f"<section><h2>What this does not prove</h2><ul>{items}</ul></section>"

"""Logs against the genesis of the log that came after them, which names what it found."""

from __future__ import annotations

from typing import Any

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.logend import LogEnd
from sidecar.audit.report import LogReport
from sidecar.ledger import base64text


def check_succession(
    ends: dict[str, LogEnd], logs: dict[str, LogReport], present: set[str], retained: set[str]
) -> None:
    """Add findings to logs that are not what their successor's genesis says they were.

    `present` are the logs of the whole store, `retained` those of which batches were removed on record.
    """
    for origin, end in sorted(ends.items()):
        if logs[origin].intact:
            for named in end.successor_of:
                _check(origin, named, ends, logs, present, retained)


def _check(
    origin: str,
    named: dict[str, Any],
    ends: dict[str, LogEnd],
    logs: dict[str, LogReport],
    present: set[str],
    retained: set[str],
) -> None:
    other, size = str(named.get("origin")), named.get("size")
    if not isinstance(size, int):
        return
    if other not in present:
        if other not in retained:
            text = f"the log before it, {other}, of {size:,} leaves, is not in the store"
            logs[origin].findings.append(Finding(Kind.REMOVED, text))
        return
    end, log = ends.get(other), logs.get(other)
    if end is None or log is None or not log.intact:
        return
    if size > end.end:
        missing = size - end.end
        text = f"the log after it, {origin}, names {size:,} leaves: the last {missing:,} records are gone"
        log.findings.append(Finding(Kind.TRUNCATED, text, None, end.end, size - 1))
        return
    root = end.roots.get(size)
    if root is not None and base64text.encode(root) != named.get("root"):
        text = f"the log after it, {origin}, names another root for its first {size:,} leaves"
        log.findings.append(Finding(Kind.FORKED, text, None, 0, size - 1))

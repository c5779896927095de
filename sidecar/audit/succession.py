"""Logs against the genesis of the log that came after them, which names what it found."""

from __future__ import annotations

from typing import Any

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.log import Walk
from sidecar.audit.report import LogReport
from sidecar.ledger import base64text


def check_succession(
    walks: dict[str, Walk], logs: dict[str, LogReport], present: set[str], retained: set[str]
) -> None:
    """Add findings to logs that are not what their successor's genesis says they were."""
    for origin, walk in sorted(walks.items()):
        genesis = next(
            (leaf for link in walk.links for leaf in link.facts.sealing if leaf.kind == "genesis"), None
        )
        if genesis is None or not logs[origin].intact:
            continue
        for name in ("previous", "continues"):
            named = genesis.details.get(name)
            if isinstance(named, dict):
                _check(origin, named, walks, logs, present, retained)


def _check(
    origin: str,
    named: dict[str, Any],
    walks: dict[str, Walk],
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
    walk, log = walks.get(other), logs.get(other)
    if walk is None or log is None or not log.intact:
        return
    if size > walk.end:
        missing = size - walk.end
        text = f"the log after it, {origin}, names {size:,} leaves: the last {missing:,} records are gone"
        log.findings.append(Finding(Kind.TRUNCATED, text, None, walk.end, size - 1))
        return
    root = walk.roots.get(size)
    if root is not None and base64text.encode(root) != named.get("root"):
        text = f"the log after it, {origin}, names another root for its first {size:,} leaves"
        log.findings.append(Finding(Kind.FORKED, text, None, 0, size - 1))

"""Sequence numbers over all logs that one boot's exchanges went into: none missing, none twice."""

from __future__ import annotations

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.logend import LogEnd
from sidecar.audit.report import LogReport


def check_numbers(ends: dict[str, LogEnd], logs: dict[str, LogReport]) -> None:
    """Add findings where the runs of a recorder's numbers do not join; only for logs that are all there."""
    runs: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for origin, end in ends.items():
        for recorded, found in end.runs.items():
            # A boot's name is its own only within its pod.
            recorder = _pod(origin), recorded
            runs.setdefault(recorder, []).extend((first, last, origin) for first, last in found)
    for (_, recorded), numbers in runs.items():
        those = [logs[origin] for origin in sorted({origin for _, _, origin in numbers})]
        if all(log.intact and _whole(log) for log in those):
            _check(recorded, sorted(numbers), logs, closed=all(log.closed for log in those))


def _pod(origin: str) -> str:
    return ".".join(origin.split(".")[:4])


def _whole(log: LogReport) -> bool:
    return not any(each.kind is Kind.RETAINED for each in log.findings)


def _check(recorded: str, runs: list[tuple[int, int, str]], logs: dict[str, LogReport], closed: bool) -> None:
    expected = 1
    for first, last, origin in runs:
        if first > expected:
            count = first - expected
            text = f"{count:,} numbers from {recorded}.{expected} on have neither record nor gap"
            # While a log is open, what is missing may still be on its way.
            kind = Kind.HOLE if closed else Kind.NOTE
            logs[origin].findings.append(Finding(kind, text))
        elif first < expected:
            text = f"{recorded}.{first} was sealed a second time"
            logs[origin].findings.append(Finding(Kind.DUPLICATED, text, records=(f"{recorded}.{first}",)))
        expected = max(expected, last + 1)

"""The report as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.audit.findings import Finding
from sidecar.audit.report import LogReport, StoreReport, iso

Line = tuple[str, str]
"""A style (`good`, `bad`, `warn`, `plain`, `dim`) and the text."""


def lines(report: StoreReport) -> Iterator[Line]:
    """One line for each log, below it what happened; then the store, then the verdict."""
    for log in report.logs:
        yield from _log(log)
    for finding in sorted(report.findings, key=lambda each: not each.failure):
        yield from _finding(finding, "")
    yield "plain", ""
    yield "dim", summary(report)
    yield ("good" if report.intact else "bad"), verdict(report)


def log_line(log: LogReport) -> str:
    """`intact  <origin>  5,012 records to 2026-11-25T02:10:11.000Z · gap · unclosed`"""
    until = f"{log.records:,} records to {iso(log.to_us)}"
    if not log.intact:
        until = f"{log.records:,} records, the first {log.intact_leaves:,} intact"
        until += f" to {iso(log.to_us)}" if log.intact_leaves else ""
    words = " · ".join([until, *log.notes])
    return f"{log.status:<12} {log.origin}  {words}"


def summary(report: StoreReport) -> str:
    files = sum(log.files for log in report.logs)
    size = sum(log.size_bytes for log in report.logs)
    text = (
        f"{len(report.logs):,} logs, {files:,} objects, {report.records:,} records, {readable_bytes(size)} "
        f"in {report.seconds:.1f} s; site log of {report.site_entries:,} entries"
    )
    return f"{text}; checked: {report.scope}" if report.scope else text


def verdict(report: StoreReport) -> str:
    """The overall answer in one sentence."""
    if not report.logs and not report.findings:
        return "nothing sealed was found to verify"
    if report.intact:
        if not report.trusted:
            return "intact, as far as the store itself can tell: no trusted key was given (--trust)"
        return "intact: every record is as it was sealed under a trusted key"
    broken = len(report.failed)
    plural = "log" if len(report.logs) == 1 else "logs"
    parts = [f"{broken} of {len(report.logs):,} {plural}"] if broken else []
    beyond = sum(each.failure for each in report.findings)
    what = "1 thing that concerns" if beyond == 1 else f"{beyond} things that concern"
    parts += [f"{what} no single log"] if beyond else []
    return f"NOT INTACT: {' and '.join(parts)}"


def _log(log: LogReport) -> Iterator[Line]:
    yield ("bad" if not log.intact else "warn" if log.notes else "good"), log_line(log)
    for finding in sorted(log.findings, key=lambda each: not each.failure):
        yield from _finding(finding, "    ")
    if log.unproven:
        yield "warn", f"    {log.unproven:,} records could not be joined to a checkpoint because of that"


def _finding(finding: Finding, indent: str) -> Iterator[Line]:
    yield ("bad" if finding.failure else "plain"), f"{indent}{finding.kind}: {finding.text}"
    if finding.object and finding.failure:
        yield "dim", f"{indent}  object {finding.object}"


def readable_bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1_000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1_000
    return f"{size:,.1f} TB"

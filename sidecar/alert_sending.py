"""Glue: the courier that settings or options of alerts ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sidecar.alerting.courier import Courier
from sidecar.alerting.notice import Notice
from sidecar.alerting.outbox import Rate
from sidecar.alerting.target import Target, parse_target
from sidecar.clock import Clock
from sidecar.errors import UsageError
from sidecar.settings_values import rate_of, shown_alert_url

LEAST_SECRET = 16


def targets(urls: Sequence[str]) -> list[Target]:
    """The receivers. Raises UsageError for an address that is none."""
    found = []
    for url in urls:
        try:
            found.append(parse_target(url))
        except ValueError as error:
            raise UsageError(f"alert_url: {shown_alert_url(url)!r} {error}") from error
    return found


def secret(path: Path | None) -> bytes | None:
    """The secret in a file, without white space at its ends. Raises UsageError where there is none."""
    if path is None:
        return None
    try:
        found = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"alert_secret_file: {path}: {error.strerror}: give a readable file") from error
    if len(found) < LEAST_SECRET:
        raise UsageError(f"alert_secret_file: {path}: has {len(found)} bytes: give at least {LEAST_SECRET}")
    return found


def rate(text: str) -> Rate:
    """`30 per 1m`. Raises UsageError with the remedy."""
    try:
        return Rate(*rate_of(text))
    except ValueError as error:
        raise UsageError(f"alert_rate: {text[:40]!r} {error}") from error


def courier(
    urls: Sequence[str],
    secret_file: Path | None,
    rate_text: str,
    clock: Clock,
    done: Callable[[Notice], None] = lambda notice: None,
) -> Courier:
    """What tells these receivers."""
    return Courier(targets(urls), rate(rate_text), clock, secret(secret_file), done)

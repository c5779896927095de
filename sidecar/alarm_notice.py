"""What is told of an alarm, by a watcher or by a single sidecar."""

from __future__ import annotations

import msgspec

from sidecar.alerting.notice import Notice
from sidecar.statistics.alarm import Alarm


def notice_of(alarm: Alarm, key: str, model: str, digest: str, advisory_of: str = "") -> Notice:
    """What is told of an alarm in its present state; `key` tells it from every other."""
    return Notice(
        key,
        model,
        digest,
        alarm.state,
        alarm.severity,
        alarm.quantity,
        alarm.sentence,
        alarm.since_us,
        alarm.opened_us,
        alarm.updated_us,
        alarm.resolved_us,
        msgspec.to_builtins(alarm),
        advisory_of=advisory_of,
    )

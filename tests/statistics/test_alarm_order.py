"""Alarms in the order in which a person should read them."""

from __future__ import annotations

import random
from typing import Any

from sidecar.statistics.alarm import Alarm, Effect, Level
from sidecar.statistics.alarm_order import telling_first


def alarm(quantity: str, **more: Any) -> Alarm:
    level = Level(words="", rows=1)
    facts: dict[str, Any] = {
        "id": quantity, "quantity": quantity, "kind": "distribution", "severity": "critical", "state": "open",
        "opened_us": 1, "updated_us": 1, "since_us": 1, "before": level, "after": level, "log_evidence": 30.0,
        "threshold": 20.0, "effect": Effect(), "contributions": [], "record_ids": [], "sentence": "",
        "advisory": False, "promise": "",
    }  # fmt: skip
    return Alarm(**(facts | more))


def test_the_worst_and_most_telling_come_first_whenever_they_opened() -> None:
    wanted = [
        alarm("bias/sex/f", log_evidence=40.0),
        alarm("outputs.deny"),
        alarm("inputs.income", log_evidence=90.0, opened_us=5),
        alarm("joint/inputs.a*inputs.b", log_evidence=300.0, state="escalated", opened_us=8),
        alarm("joint/projection-0", log_evidence=400.0, opened_us=9),
        alarm("band/denials", severity="warning", opened_us=3),
        alarm("inputs.age", severity="warning"),
        alarm("joint/projection-1", severity="warning", opened_us=9),
        alarm("outputs.score", state="acknowledged", log_evidence=500.0),
        alarm("inputs.new", state="resolved", severity="warning", opened_us=7),
        alarm("outputs.old", state="resolved", opened_us=2),
    ]
    shuffled = random.Random(4).sample(wanted, len(wanted))
    assert [each.quantity for each in telling_first(shuffled)] == [each.quantity for each in wanted]

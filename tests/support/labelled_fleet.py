"""A fleet whose exchanges are in the store twice, as panes and as records, so that labels find them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sidecar.label_desk import row_of
from sidecar.objects import Store, open_store
from sidecar.records import Epoch, Exchange, Message, Observation
from sidecar.shipping.knowledge import Knowledge
from sidecar.shipping.labels_file import encode_labels
from sidecar.shipping.rows import DAY_US, GroupKey
from sidecar.statistics.label_event import LabelEvent
from sidecar.statistics.monitor import Monitor
from sidecar.statistics.watch_spec import WatchSpec, parse_watch
from tests.support.fleet import DIGEST, MINUTE_US, SETTINGS, T0_US, Pod, Row, baseline, row
from tests.support.sealing import group_for, sealer_of
from tests.support.stored_sample import REQUEST_HEAD

LABELS = {
    "outcome": "outputs.approved",
    "positive": True,
    "score": "outputs.score",
    "by": "inputs.region",
    "groups": ["north", "south", "west"],
    "bands": [{"figure": "accuracy", "low": 0.7}],
}


@dataclass
class Decision:
    """One exchange of the fleet."""

    record_id: str
    t_us: int
    values: Row

    @property
    def approved(self) -> bool:
        return self.values[2] >= 0.5


class LabelledPod(Pod):
    """A pod that seals what it counts, and counts decisions."""

    def __init__(
        self, name: str, store: Store, root: Path, watch: WatchSpec, model: str = "mortgage"
    ) -> None:
        super().__init__(name, baseline(), store, model)
        self.monitor = Monitor(msgspec.structs.replace(SETTINGS, watch=watch), baseline())
        self.monitors = {("default", DIGEST): self.monitor}
        self.root, self.boot = root, f"boot-{name}"
        self.epoch = Epoch("default", 1, model, DIGEST, None, "flag", T0_US)
        self.sealed = Knowledge()

    def decide(self, number: int, rows: list[Row]) -> list[Decision]:
        start, first = T0_US + number * MINUTE_US, self.sent
        step = MINUTE_US // (len(rows) + 1)
        self.minute(number, rows)
        made = group_for(GroupKey(self.boot, "default", 1, start // DAY_US), self.epoch)
        decisions = []
        for place, values in enumerate(rows):
            exchange = Exchange("default", 1, "10.0.0.1:4000", start + place * step, 0)
            exchange.seq = first + place
            income, region, score = values
            outputs: dict[str, list[Any]] = {"score": [score], "approved": [score >= 0.5]}
            seen = Observation("test", 1, {"income": [income], "region": [region]}, outputs)
            message = Message(REQUEST_HEAD, b"{}", length=2)
            made.exchange(exchange, message, message, seen, None, {"case": f"{self.name}-{first + place}"})
            decisions.append(Decision(f"{self.boot}.default.{first + place}", start + place * step, values))
        encoded = sealer_of(self.boot).seal(made, self.sealed)
        self.store.put_new(encoded.name, encoded.data)
        return decisions


def labelled_traffic(
    root: Path, minutes: int, pods: int = 2, per_minute: int = 20, labels: object = LABELS
) -> list[Decision]:
    """Runs so many minutes over so many pods into the store at `root`; every decision."""
    root.mkdir(exist_ok=True)
    store = open_store(str(root))
    watch = parse_watch({"labels": labels})
    fleet = [LabelledPod(f"pod-{number}", store, root, watch) for number in range(pods)]
    chance = random.Random(3)
    decisions = []
    for minute in range(minutes):
        for pod in fleet:
            decisions += pod.decide(minute, [row(chance) for _ in range(per_minute)])
    for pod in fleet:
        pod.ship(final=True)
    return decisions


def truth(decision: Decision, accuracy: float) -> bool:
    """What turns out to be true, as the decision said in that part of all cases, the same every time."""
    right = random.Random(decision.record_id).random() < accuracy
    return decision.approved if right else not decision.approved


def label(
    root: Path, decisions: list[Decision], told: Callable[[Decision], bool], t: str | None = None
) -> None:
    """Puts labels of these decisions into the store."""
    events = [LabelEvent(each.record_id, label=told(each), t=t) for each in decisions]
    name, data = encode_labels(map(row_of, events))
    open_store(str(root)).put_new(name, data)

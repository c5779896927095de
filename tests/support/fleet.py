"""Pods that count traffic with real monitors and ship their panes into a directory or bucket."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sidecar.clock import ManualClock
from sidecar.objects import Store
from sidecar.pane_shipping import PaneShipper, Whereabouts
from sidecar.records import Epoch, Observation, Sample
from sidecar.shipping.knowledge import Knowledge, LogEnd
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.monitor import Monitor, MonitorSettings

MINUTE_US = 60_000_000
T0_US = 1_790_000_040_000_000
DIGEST = "sha256:" + "ab" * 32
SETTINGS = MonitorSettings(baseline_exchanges=2000, pane_us=MINUTE_US, watermark_us=2 * MINUTE_US, ships=True)

Row = tuple[float, str, float]
"""Income, region, score."""


def row(chance: random.Random, shift: float = 0.0) -> Row:
    income = chance.gauss(50 + 10 * shift, 10)
    return round(income, 2), chance.choice(("north", "north", "south", "west")), round(chance.random(), 3)


def sample(number: int, t_us: int, values: Row, boot: str = "boot") -> Sample:
    income, region, score = values
    seen = Observation("test", 1, {"income": [income], "region": [region]}, {"score": [score]})
    return Sample(f"{boot}.default.{number}", t_us, 200, 0, 1500, seen)


def baseline(model: int = 0) -> Baseline:
    """Of the first traffic of a model that stays as it is."""
    chance = random.Random(7 + model)
    monitor = Monitor(SETTINGS)
    monitor.add([sample(n, T0_US - 10**10 + n * 100_000, row(chance)) for n in range(2000)])
    assert monitor.baseline is not None
    return monitor.baseline


class Pod:
    """One sidecar's counting and shipping."""

    def __init__(self, name: str, under: Baseline, store: Store, model: str = "mortgage") -> None:
        self.name, self.store = name, store
        self.clock = ManualClock(T0_US)
        self.monitor = Monitor(SETTINGS, under)
        self.monitors = {("default", DIGEST): self.monitor}
        self.shipper = PaneShipper(Whereabouts(pod=name), 300.0, self.clock)
        self.known = Knowledge(logs={f"boot-{name}.default": LogEnd(1)})
        self.known.epochs[f"boot-{name}", "default", 1] = Epoch(
            "default", 1, model, DIGEST, None, "flag", T0_US
        )
        self.sent = 0
        self.objects: list[tuple[str, bytes]] = []

    def minute(self, number: int, rows: Sequence[Row]) -> None:
        """Counts these rows in that minute and ships what is due after it."""
        start = T0_US + number * MINUTE_US
        step = MINUTE_US // (len(rows) + 1)
        self.monitor.add(
            [
                sample(self.sent + n, start + n * step, each, f"boot-{self.name}")
                for n, each in enumerate(rows)
            ]
        )
        self.sent += len(rows)
        self.clock.advance(60)
        self.ship()

    def ship(self, final: bool = False) -> None:
        made = self.shipper.take(self.monitors, self.known, 0, self.clock.wall_us(), final)
        self.shipper.committed(final)
        for name, data in made:
            self.store.put_new(name, data)
        self.objects += made


def traffic(
    pods: Sequence[Pod],
    minutes: int,
    shift: Callable[[int], float] = lambda minute: 0.0,
    per_minute: int = 40,
    seed: int = 1,
) -> list[list[Row]]:
    """Runs so many minutes over all pods; the rows of each minute."""
    chance = random.Random(seed)
    every: list[list[Row]] = []
    for minute in range(minutes):
        rows = [row(chance, shift(minute)) for _ in range(per_minute * len(pods))]
        every.append(rows)
        for index, pod in enumerate(pods):
            pod.minute(minute, rows[index :: len(pods)])
    for pod in pods:
        pod.ship(final=True)
    return every

"""The watch file of docs/statistics.md is one that the parsers take, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sidecar.statistics.alarm import Alarm
from sidecar.statistics.bands import band_tallies, parse_bands
from sidecar.statistics.budget import parse_budget
from sidecar.statistics.decision import parse_decision
from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.groups import group_tallies, parse_bias
from sidecar.statistics.labels import parse_labels
from sidecar.statistics.means import mean_tallies, parse_means
from sidecar.statistics.quantity import Quantity
from sidecar.statistics.segments import parse_segments, segment_tallies
from tests.statistics.row_samples import field, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "statistics.md"
PANE_US = 60_000_000
FIELDS = {
    "inputs.score": field("score", "numeric", [300.0, 600.0, 850.0]),
    "inputs.income": field("income", "numeric", [0.0, 5.0, 10.0], mean=5.0, scale=1.0),
    "inputs.region": field("region", "categorical", {"north": 60, "south": 40}),
    "inputs.black": field("black", "categorical", {"no": 80, "yes": 20}),
    "inputs.dir": field("dir", "numeric", [float(edge) for edge in range(21)]),
    "inputs.lvr": field("lvr", "numeric", [float(edge) for edge in range(21)]),
}


def documented() -> dict[str, Any]:
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return dict(yaml.safe_load(block))


def tallies() -> list[Any]:
    watch = documented()
    decision = parse_decision(watch["decision"])
    parse_labels(watch["labels"])
    return [
        *band_tallies(parse_bands(watch["bands"]), decision, FIELDS),
        *mean_tallies(parse_means(watch["means"]), FIELDS),
        *segment_tallies(parse_segments(watch["segments"]), decision, FIELDS),
        *group_tallies(parse_bias(watch["bias"]), decision, FIELDS, watch["favourable"]),
    ]


def alarms(denied: dict[str, float], panes: int, seed: int) -> list[Alarm]:
    """The alarms of traffic in which groups are denied at these rates, 60 rows a pane."""
    rng = np.random.default_rng(seed)
    made = tallies()
    starts = np.cumsum([0, *(each.size for each in made)])
    quantities: list[Quantity] = []
    for each, start in zip(made, starts, strict=False):
        if hasattr(each, "quantities"):
            quantities += each.quantities(int(start))
    evaluator = Evaluator(quantities, parse_budget("1 per 30d"), PANE_US)
    for pane in range(panes):
        black = rng.choice(["no", "yes"], 60, p=[0.7, 0.3])
        deny = [int(rng.random() < denied[group]) for group in black]
        inputs = {
            "black": black.tolist(),
            "score": rng.uniform(300, 850, 60).tolist(),
            "income": rng.normal(5, 1, 60).tolist(),
            "region": rng.choice(["north", "south"], 60).tolist(),
            "dir": rng.uniform(0, 20, 60).tolist(),
            "lvr": rng.uniform(0, 20, 60).tolist(),
        }
        rows = table(inputs, {"predict": deny})
        vector = np.concatenate([each.count(rows) for each in made])
        evaluator.step(pane * PANE_US, vector, {})
    return list(evaluator.alarms())


def test_groups_with_one_rate_raise_no_alarm() -> None:
    assert alarms({"no": 0.14, "yes": 0.14}, 300, 1) == []


def test_a_group_that_is_denied_more_often_raises_the_alarms_on_bias_and_only_those() -> None:
    found = alarms({"no": 0.1, "yes": 0.40}, 300, 2)
    names = {alarm.quantity for alarm in found}
    assert "bias/inputs.black/yes" in names
    assert any(name.startswith("information/inputs.black/yes below") for name in names)
    assert not any(name.startswith("mean/") or name.endswith("above") for name in names)

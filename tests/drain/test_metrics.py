"""What a drainer tells, and that the guide names it."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest

from sidecar.drain.metrics import REASONS, STATES, Metrics

GUIDE = Path(__file__).parents[2] / "docs" / "kubernetes-data-loss.md"


def test_every_state_and_reason_is_there_from_the_start_and_shown_as_it_is() -> None:
    metrics = Metrics()
    metrics.show(["alive", "alive", "refused"], ["keys"])
    text = generate_latest(metrics.registry).decode()
    assert set(re.findall(r'sidecar_drain_journals\{state="(\w+)"\}', text)) == set(STATES)
    assert 'sidecar_drain_journals{state="alive"} 2.0' in text
    assert 'sidecar_drain_refused_journals{reason="keys"} 1.0' in text
    metrics.show([], [])
    text = generate_latest(metrics.registry).decode()
    assert 'sidecar_drain_journals{state="alive"} 0.0' in text
    assert 'sidecar_drain_refused_journals{reason="keys"} 0.0' in text


def test_the_guide_names_every_metric_state_and_reason() -> None:
    guide = GUIDE.read_text()
    for family in Metrics().registry.collect():
        name = family.name
        assert name in guide or f"`{name.removeprefix('sidecar_drain')}_total`" in guide, name
    for word in (*STATES, *REASONS):
        assert f"`{word}`" in guide, word

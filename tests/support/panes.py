"""Panes and files of panes as sidecars write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sidecar.fleet.pane_file import PaneFile, read
from sidecar.records import Pane
from sidecar.shipping.panes import PaneFacts, encode_panes, panes_name

MINUTE_US = 60_000_000
T0_US = 1_790_000_040_000_000
"""A whole minute."""
FACTS = PaneFacts(
    model="mortgage",
    digest="sha256:" + "ab" * 32,
    plan="cd" * 32,
    route="default",
    cluster="",
    namespace="",
    workload="",
    pod="pod-1",
    writer="0" * 16,
    serial=0,
    boots=("boot-1",),
    pane_us=MINUTE_US,
    complete_to_us=0,
    final=False,
    shipped_us=T0_US,
)


def packed(values: Sequence[int]) -> bytes:
    return np.asarray(values, dtype="<i8").tobytes()


def pane(
    number: int,
    counts: Mapping[str, Sequence[int]],
    exchanges: int = 1,
    late: bool = False,
    record_ids: Mapping[str, Sequence[str]] | None = None,
) -> Pane:
    start_us = T0_US + number * MINUTE_US
    if late:
        start_us -= start_us % 3_600_000_000
    return Pane(
        start_us,
        3_600_000_000 if late else MINUTE_US,
        late,
        exchanges,
        {name: packed(values) for name, values in counts.items()},
        record_ids or {},
    )


def facts(writer: int = 0, serial: int = 0, **changed: object) -> PaneFacts:
    own = {"writer": f"{writer:016x}", "serial": serial, "pod": f"pod-{writer}", "boots": (f"boot-{writer}",)}
    return replace(FACTS, **{**own, **changed})  # type: ignore[arg-type]


def encoded(said: PaneFacts, panes: Sequence[Pane]) -> tuple[str, bytes]:
    data = encode_panes(said, panes)
    return panes_name(said, panes, data), data


def file_of(said: PaneFacts, panes: Sequence[Pane]) -> PaneFile:
    return read(*encoded(said, panes))

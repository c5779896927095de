"""One model's statistics: observations in, exact counts and a summary out.

Bounded memory, no clock, no randomness: the same observations give the same
state however they are batched, and monitors under one baseline add exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from sidecar.records import Observation
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.layout import EXCHANGES, UNWATCHED_INPUTS, UNWATCHED_OUTPUTS, Layout, Vector
from sidecar.statistics.panes import Panes
from sidecar.statistics.summary import counts_summary
from sidecar.statistics.warmup import Warmup

VERSION = 1


class _State(msgspec.Struct, array_like=True):
    version: int
    wanted: int
    pane_s: float | None
    pane_exchanges: int
    window_panes: int
    warmup: Warmup | None
    baseline: bytes | None
    totals: bytes
    panes: list[tuple[int, bytes]]


class Monitor:
    """Counts one model's traffic against the baseline of its first exchanges, or a given one.

    With `pane_s` the window covers the last `window_panes` panes of that many
    seconds of the times passed to `add`; without it, panes of `pane_exchanges`
    exchanges each. The window holds what came after the baseline was frozen.
    """

    def __init__(
        self,
        baseline_exchanges: int,
        *,
        baseline: Baseline | None = None,
        pane_s: float | None = None,
        pane_exchanges: int = 250,
        window_panes: int = 4,
    ) -> None:
        if (
            baseline_exchanges < 1
            or pane_exchanges < 1
            or window_panes < 1
            or (pane_s is not None and pane_s <= 0)
        ):
            raise ValueError("baseline_exchanges, pane_s, pane_exchanges and window_panes must be positive")
        self._wanted = baseline_exchanges
        self._pane_s = None if pane_s is None else float(pane_s)
        self._pane_exchanges = pane_exchanges
        self._window_panes = window_panes
        self._warmup: Warmup | None = Warmup(baseline_exchanges)
        self._layout: Layout | None = None
        if baseline is not None:
            self._begin(baseline)

    @property
    def baseline(self) -> Baseline | None:
        """The frozen baseline; None before it is."""
        return self._layout.baseline if self._layout else None

    def add(self, observations: Sequence[Observation], times_us: Sequence[int] | None = None) -> None:
        """Takes observations in, in order; `times_us` are their wall-clock times, needed with `pane_s`.

        Cheapest in batches of hundreds. Raises ValueError for missing times and
        for an observation whose lists do not have one value per instance.
        """
        if self._pane_s is not None and (times_us is None or len(times_us) != len(observations)):
            raise ValueError("panes in seconds need one time per observation")
        at = 0
        if self._warmup is not None:
            at = self._warm_up(self._warmup, observations)
        if at == len(observations) or self._layout is None:
            return
        if self._pane_s is not None and times_us is not None:
            pane_us = round(self._pane_s * 1e6)
            numbers = [time // pane_us for time in times_us[at:]]
        else:
            done = int(self._totals[EXCHANGES])
            numbers = [
                number // self._pane_exchanges for number in range(done, done + len(observations) - at)
            ]
        for number, run in groupby(range(len(numbers)), numbers.__getitem__):
            members = list(run)
            vector = self._layout.count(observations[at + members[0] : at + members[-1] + 1])
            self._totals += vector
            self._panes.add(number, vector)

    def _warm_up(self, warmup: Warmup, observations: Sequence[Observation]) -> int:
        """How many observations the baseline took."""
        for taken, observation in enumerate(observations, 1):
            if warmup.add(observation):
                self._begin(warmup.freeze())
                return taken
        return len(observations)

    def _begin(self, baseline: Baseline) -> None:
        self._warmup = None
        self._layout = Layout(baseline)
        self._totals: Vector = self._layout.empty()
        self._panes = Panes(self._layout, self._window_panes)

    def merge(self, other: Monitor) -> None:
        """Adds the other's counts, exactly.

        Raises ValueError unless both have the same frozen baseline and the same panes.
        """
        if self._layout is None or other._layout is None:
            raise ValueError("a monitor without a frozen baseline cannot be merged")
        if self._layout.baseline.digest != other._layout.baseline.digest:
            raise ValueError("monitors under different baselines cannot be merged")
        if self._pane_settings() != other._pane_settings():
            raise ValueError("monitors with different panes cannot be merged")
        self._totals += other._totals
        self._panes.merge(other._panes)

    def _pane_settings(self) -> tuple[float | None, int, int]:
        return self._pane_s, self._pane_exchanges, self._window_panes

    def state(self) -> bytes:
        """Everything, exactly; equal monitors have equal bytes."""
        layout = self._layout
        panes = sorted(self._panes.by_number.items()) if layout else []
        return msgspec.msgpack.encode(
            _State(
                VERSION,
                self._wanted,
                *self._pane_settings(),
                self._warmup,
                layout.baseline.encode() if layout else None,
                _packed(self._totals) if layout else b"",
                [(number, _packed(vector)) for number, vector in panes],
            )
        )

    @classmethod
    def restore(cls, data: bytes) -> Monitor:
        """The monitor whose `state()` was `data`. Raises ValueError if it is no such thing."""
        try:
            state = msgspec.msgpack.decode(data, type=_State)
            baseline = msgspec.msgpack.decode(state.baseline, type=Baseline) if state.baseline else None
        except msgspec.DecodeError as error:
            raise ValueError(f"not a monitor's state: {error}") from error
        if state.version != VERSION:
            raise ValueError(f"monitor state of version {state.version}; this build reads {VERSION}")
        monitor = cls(
            state.wanted,
            baseline=baseline,
            pane_s=state.pane_s,
            pane_exchanges=state.pane_exchanges,
            window_panes=state.window_panes,
        )
        if monitor._layout is None:
            monitor._warmup = state.warmup
            return monitor
        monitor._totals = _unpacked(state.totals, monitor._layout)
        for number, packed in state.panes:
            monitor._panes.add(number, _unpacked(packed, monitor._layout))
        return monitor

    def summary(self) -> dict[str, Any]:
        """JSON-able: `state` (`warming_up`, `watching`), `baseline`, totals since it was frozen, `window`."""
        layout = self._layout
        if layout is None:
            return self._warmup_summary()
        baseline = layout.baseline
        pane_us = round(self._pane_s * 1e6) if self._pane_s is not None else None
        numbers = sorted(self._panes.by_number)
        window: dict[str, Any] = {"panes": len(numbers), "t_from_us": None, "t_to_us": None}
        if pane_us and numbers:
            window |= {"t_from_us": numbers[0] * pane_us, "t_to_us": (numbers[-1] + 1) * pane_us}
        return {
            "state": "watching",
            "baseline": {
                "digest": baseline.digest,
                "exchanges": baseline.exchanges,
                "instances": baseline.rows,
                "wanted": self._wanted,
            },
            "unwatched": {
                "features": int(self._totals[UNWATCHED_INPUTS]),
                "outputs": int(self._totals[UNWATCHED_OUTPUTS]),
            },
            **counts_summary(layout, self._totals),
            "window": window | counts_summary(layout, self._panes.window()),
        }

    def _warmup_summary(self) -> dict[str, Any]:
        warmup = self._warmup
        taken = (warmup.answered, warmup.inputs.rows) if warmup else (0, 0)
        unwatched = (warmup.inputs.unwatched, warmup.outputs.unwatched) if warmup else (0, 0)
        return {
            "state": "warming_up",
            "baseline": {
                "digest": None,
                "exchanges": taken[0],
                "instances": taken[1],
                "wanted": self._wanted,
            },
            "unwatched": {"features": unwatched[0], "outputs": unwatched[1]},
            "exchanges": 0,
            "instances": 0,
            "answered_instances": 0,
            "features": {},
            "outputs": {},
            "window": None,
        }


def _packed(vector: Vector) -> bytes:
    return vector.astype("<i8", copy=False).tobytes()


def _unpacked(data: bytes, layout: Layout) -> Vector:
    vector = np.frombuffer(data, dtype="<i8").astype(np.int64)
    if len(vector) != layout.size:
        raise ValueError(f"{len(vector)} counts where the baseline has {layout.size}")
    return vector

"""Glue: one series' ground truth under watch: its counts by decision, and the detectors of its bands."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from sidecar.label_panes import LabelPanes
from sidecar.series_run import SeriesRun
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.evaluator import Evaluator, Vector
from sidecar.statistics.label_bands import band_counts, label_quantities
from sidecar.statistics.label_figures import figures
from sidecar.statistics.labels import LabelTally

STATE_FORMAT = 1


class LabelRun:
    """What labels say of one series."""

    def __init__(self, run: SeriesRun, span_us: int, step_us: int) -> None:
        """`span_us` is the length of the panes that labels are counted in, `step_us` that of a step.

        The series' plan has a section `labels`.
        """
        spec = run.plan.watch.labels
        assert spec is not None
        self.run = run
        self.panes = LabelPanes(LabelTally(spec), span_us)
        self.step_us = step_us
        quantities = label_quantities(run.plan.watch)
        self.evaluator = Evaluator(quantities, run.plan.watch.budget, step_us)
        self._waiting = np.zeros(2 * len(quantities), dtype=np.int64)
        """Successes and trials that no step has taken yet."""
        self._stepped_us = 0

    def wait(self, change: Vector) -> None:
        """Notes counts that have come; what was replaced counts for what is new, as far as that goes."""
        came = band_counts(self.panes.tally, change)
        trials = np.maximum(came[1::2], 0)
        self._waiting[1::2] += trials
        self._waiting[::2] += np.clip(came[::2], 0, trials)

    def step(self, at_us: int, share: float) -> list[Alarm]:
        """Evaluates what waits, as of the step that `at_us` is in; what opened, escalated or was resolved."""
        start_us = at_us // self.step_us * self.step_us
        if start_us <= self._stepped_us or not self._waiting[1::2].any():
            return []
        self._stepped_us = start_us
        self.evaluator.give(share)
        changed = self.evaluator.step(start_us, self._waiting)
        self._waiting = np.zeros_like(self._waiting)
        return changed

    def figures(self) -> dict[str, Any]:
        """Of all panes."""
        return figures(self.panes.tally, self.panes.total)

    def state(self) -> bytes:
        """What `load` takes."""
        panes = [
            (start, counts.astype("<i8").tobytes()) for start, counts in sorted(self.panes.panes.items())
        ]
        waiting = self._waiting.tolist()
        return msgspec.msgpack.encode(
            [STATE_FORMAT, panes, waiting, self._stepped_us, self.evaluator.state()]
        )

    def load(self, data: bytes) -> None:
        """Takes what `state` gave. Raises ValueError for anything else, and changes nothing."""
        try:
            form, panes, waiting, stepped_us, evaluator = msgspec.msgpack.decode(
                data, type=tuple[int, list[tuple[int, bytes]], list[int], int, bytes]
            )
        except (msgspec.MsgspecError, ValueError) as error:
            raise ValueError(f"no state of labels: {error}") from error
        if form != STATE_FORMAT or len(waiting) != len(self._waiting):
            raise ValueError("a state of labels of another version")
        counts = {start: np.frombuffer(each, dtype="<i8").astype(np.int64) for start, each in panes}
        if any(len(each) != self.panes.tally.size for each in counts.values()):
            raise ValueError("a state of other labels")
        watch = self.run.plan.watch
        self.evaluator = Evaluator.restore(label_quantities(watch), watch.budget, self.step_us, evaluator)
        self.panes.panes = counts
        self._waiting = np.array(waiting, dtype=np.int64)
        self._stepped_us = stepped_us

"""An analyst in a process of its own that kills itself where it is told to.

    python -m tests.support.analyst_child JOURNAL STORE BOOT POINT NTH [TRAP [PANES]]

POINT names a step; at its NTH passing the process dies by SIGKILL. With TRAP,
decoding a request that holds that text kills it too; with PANES, the product's own
monitors count, and ship their panes in every commit. Exits 0 once everything
is shipped.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.analyst import Analyst, Limits, LiveBoot
from sidecar.clock import SystemClock
from sidecar.intake import Analysis
from sidecar.journal.reader import JournalReader
from sidecar.pane_shipping import PaneShipper, Whereabouts
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.state import AnalystState
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.suspects import Suspects
from tests.support.journaled import EPOCH, JsonDecoder, analysis
from tests.support.sealing import sealer_of

POINTS = (
    "encode",
    "encoded",
    "commit",
    "committed",
    "put",
    "put_done",
    "drop",
    "dropped",
    "release",
    "released",
)


TOLD = MonitorSettings(200, pane_us=100_000, watermark_us=200_000, ships=True)
"""Thirty panes in three seconds of traffic."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    """Dies at the nth passing of one point."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth

    def around(self, before: str, call: Callable[..., Any], after: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            self._pass(before)
            result = call(*args, **named)
            self._pass(after)
            return result

        return wrapped

    def _pass(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                die()


def main(journal: str, store: str, boot: str, point: str, nth: str, trap: str = "", panes: str = "") -> int:
    killer = Killer(point, int(nth))
    state = AnalystState.open(Path(journal) / "analyst")
    sink = DirectorySink(Path(store), create=True)
    tail = JournalReader(Path(journal), boot)
    sealer = sealer_of(boot, SystemClock())
    sealer.seal = killer.around("encode", sealer.seal, "encoded")  # type: ignore[method-assign]
    state.commit = killer.around("commit", state.commit, "committed")  # type: ignore[method-assign]
    sink.put = killer.around("put", sink.put, "put_done")  # type: ignore[method-assign]
    state.shipped = killer.around("drop", state.shipped, "dropped")  # type: ignore[method-assign]
    tail.release = killer.around("release", tail.release, "released")  # type: ignore[method-assign]

    def bomb(body: bytes) -> None:
        if trap and trap.encode() in body:
            die()

    made = Analyst(
        tail,
        state,
        sink,
        Analysis(JsonDecoder(bomb), lambda key: Monitor(TOLD), lambda key, state: Monitor.restore(state))
        if panes
        else analysis(bomb),
        sealer,
        Suspects(Path(journal) / "analyst-marker.bin"),
        Limits(batch_bytes=256 * 1024, batch_age_s=0.0),
        SystemClock(),
        LiveBoot(boot, (EPOCH,)),
        panes=PaneShipper(Whereabouts(), 1e-6 if panes else 0, SystemClock()),
    )
    return 0 if made.finish(SystemClock().monotonic_ns() + 20_000_000_000) else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

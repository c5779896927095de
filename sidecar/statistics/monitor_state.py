"""A monitor's state as bytes, all of one moment."""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec

from sidecar.statistics.warmup import Warmup
from sidecar.statistics.watch_spec import WatchSpec

VERSION: Final = 3
_MAGIC: Final = b"sidecar statistics 2\x00"
Packed = list[tuple[int, bytes]]
Waiting = tuple[int, int, bytes, dict[str, list[str]]]
"""Start, exchanges, counts and examples of a closed pane that waits to be shipped."""


class MonitorSettings(msgspec.Struct, frozen=True):
    """What a monitor is told by the configuration."""

    baseline_exchanges: int = 1000
    pane_us: int = 60_000_000
    watermark_us: int = 120_000_000
    watch: WatchSpec = WatchSpec()
    coarse: bool = False
    """No number of the traffic is told exactly: bodies are encrypted."""
    ships: bool = False
    """Whether closed panes are kept until they are taken."""


class MonitorState(msgspec.Struct, array_like=True):
    """Everything behind `Monitor.state()`."""

    version: int
    settings: MonitorSettings
    complete_to_us: int
    previous: bytes | None
    switch: dict[str, Any] | None
    trouble: str
    warmup: Warmup | None
    plan: bytes | None = None
    totals: bytes = b""
    open: Packed = []
    recent: Packed = []
    folds: list[Packed] = []
    late: Packed = []
    late_total: int = 0
    closed: list[Waiting] = []
    news: list[Any] = []
    evaluator: bytes = b""
    rules: bytes = b""
    """Counts of the data-quality rules since the beginning, the baseline's own exchanges included."""
    last_broken: dict[str, list[tuple[int, str]]] = {}


def written_state(state: MonitorState) -> bytes:
    """The bytes: compressed, since plans and what detectors have learnt are wordy."""
    return _MAGIC + zlib.compress(msgspec.msgpack.encode(state), 1)


def read_state(data: bytes) -> MonitorState:
    """The state with these bytes. Raises ValueError if they are none, or another version's."""
    if not data.startswith(_MAGIC):
        raise ValueError("not a monitor's state, or that of another version")
    try:
        decompressor = zlib.decompressobj()
        plain = decompressor.decompress(data[len(_MAGIC) :])
        if not decompressor.eof:
            raise ValueError("a monitor's state that is cut short")
        state = msgspec.msgpack.decode(plain, type=MonitorState)
    except (msgspec.MsgspecError, zlib.error) as error:
        raise ValueError(f"not a monitor's state: {error}") from error
    if state.version != VERSION:
        raise ValueError(f"monitor state of version {state.version}; this build reads {VERSION}")
    return state

"""A monitor's state as bytes, all of one moment."""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec

from sidecar.statistics.warmup import Warmup

VERSION: Final = 2
_MAGIC: Final = b"sidecar statistics 2\x00"
Packed = list[tuple[int, bytes]]


class MonitorState(msgspec.Struct, array_like=True):
    """Everything behind `Monitor.state()`."""

    version: int
    settings: Any
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
    closed: list[tuple[int, int, bytes]] = []
    news: list[Any] = []
    evaluator: bytes = b""


def written_state(state: MonitorState) -> bytes:
    """The bytes: compressed, since plans and what detectors have learnt are wordy."""
    return _MAGIC + zlib.compress(msgspec.msgpack.encode(state), 1)


def read_state(data: bytes, settings: type[msgspec.Struct]) -> MonitorState:
    """The state with these bytes. Raises ValueError if they are none, or another version's."""
    if not data.startswith(_MAGIC):
        raise ValueError("not a monitor's state, or that of another version")
    try:
        decompressor = zlib.decompressobj()
        plain = decompressor.decompress(data[len(_MAGIC) :])
        if not decompressor.eof:
            raise ValueError("a monitor's state that is cut short")
        state = msgspec.msgpack.decode(plain, type=MonitorState)
        state.settings = msgspec.convert(state.settings, type=settings)
    except (msgspec.MsgspecError, zlib.error) as error:
        raise ValueError(f"not a monitor's state: {error}") from error
    if state.version != VERSION:
        raise ValueError(f"monitor state of version {state.version}; this build reads {VERSION}")
    return state

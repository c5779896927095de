"""Panes → one Parquet file and the name it is stored under; the format is docs/statistics-store.md.

One row per pane and tally. Names sort by the time of shipping, so that a
watcher lists only what is new, and say writer and serial number, so that a
reader knows from names alone what it has, what is repeated and what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Field, Schema, list_array

from sidecar.records import Pane
from sidecar.shipping.parquet import encode_table, path_safe

FORMAT = 1
PLANS = "statistics/plans"
PANES = "statistics/panes"

_UTF8, _INT64 = DataType.utf8(), DataType.int64()
_COUNTS = DataType.list(Field("item", _INT64, nullable=False))
_TEXTS = DataType.list(Field("item", _UTF8, nullable=False))
SCHEMA = Schema(
    [
        Field("plan", _UTF8, nullable=False),
        Field("model", _UTF8, nullable=False),
        Field("digest", _UTF8, nullable=False),
        Field("pod", _UTF8, nullable=False),
        Field("route", _UTF8, nullable=False),
        Field("writer", _UTF8, nullable=False),
        Field("pane_start_us", _INT64, nullable=False),
        Field("pane_us", _INT64, nullable=False),
        Field("late", DataType.bool(), nullable=False),
        Field("exchanges", _INT64, nullable=False),
        Field("tally", _UTF8, nullable=False),
        Field("counts", _COUNTS, nullable=False),
        Field("record_ids", _TEXTS, nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class PaneFacts:
    """What a file says of its panes as a whole."""

    model: str
    digest: str
    plan: str
    """Hex SHA-256 of the plan's bytes."""
    route: str
    cluster: str
    namespace: str
    workload: str
    pod: str
    writer: str
    """16 hex digits, new with each analyst state: what one writer ships is counted once."""
    serial: int
    """From 0, without holes, over all that the writer ships."""
    boots: tuple[str, ...]
    """Boots whose exchanges were counted, as far as known."""
    pane_us: int
    """Length of the series' panes; late ones are of an hour."""
    complete_to_us: int
    """Every pane of this series that ends at or before this time is here or in an earlier file."""
    final: bool
    """Written at a clean shutdown: nothing of the writer is to be waited for."""
    shipped_us: int


def encode_panes(
    facts: PaneFacts, panes: Sequence[Pane], more: Mapping[str, Any] = MappingProxyType({})
) -> bytes:
    """The panes as a zstd-compressed Parquet file; deterministic for equal panes and facts.

    `more` is further metadata.
    """
    # A name without counts carries records alone.
    rows = [(pane, name) for pane in panes for name in _names(pane)]
    counts = [np.frombuffer(pane.counts.get(name, b""), dtype="<i8") for pane, name in rows]
    ids = [list(pane.record_ids.get(name, ())) for pane, name in rows]
    number = len(rows)

    def same(value: str) -> Array:
        return Array([value] * number, type=_UTF8)

    columns = [
        same(facts.plan),
        same(facts.model),
        same(facts.digest),
        same(facts.pod),
        same(facts.route),
        same(facts.writer),
        Array([pane.start_us for pane, _ in rows], type=_INT64),
        Array([pane.length_us for pane, _ in rows], type=_INT64),
        Array([pane.late for pane, _ in rows], type=DataType.bool()),
        Array([pane.exchanges for pane, _ in rows], type=_INT64),
        Array([name for _, name in rows], type=_UTF8),
        _lists(_COUNTS, Array.from_numpy(_joined(counts)), [len(each) for each in counts]),
        _lists(
            _TEXTS, Array([each for some in ids for each in some], type=_UTF8), [len(each) for each in ids]
        ),
    ]
    return encode_table(columns, SCHEMA, _metadata(facts, panes, number) | dict(more))


def _names(pane: Pane) -> Sequence[str]:
    return tuple(dict.fromkeys((*pane.counts, *pane.record_ids))) or ("",)


def _lists(kind: DataType, values: Array, lengths: Sequence[int]) -> Array:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return list_array(Array.from_numpy(offsets), values, type=kind)


def _joined(counts: Sequence[np.ndarray[Any, np.dtype[np.int64]]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.concatenate([np.empty(0, dtype=np.int64), *counts]).astype(np.int64, copy=False)


def _metadata(facts: PaneFacts, panes: Sequence[Pane], rows: int) -> dict[str, Any]:
    first, last = _span(panes)
    return {
        "format": FORMAT,
        "kind": "panes",
        "model": facts.model,
        "digest": facts.digest,
        "plan": facts.plan,
        "route": facts.route,
        "cluster": facts.cluster,
        "namespace": facts.namespace,
        "workload": facts.workload,
        "pod": facts.pod,
        "writer": facts.writer,
        "serial": facts.serial,
        "boots": facts.boots,
        "pane_us": facts.pane_us,
        "complete_to_us": facts.complete_to_us,
        "final": facts.final,
        "shipped_us": facts.shipped_us,
        "first_pane_us": first,
        "last_pane_us": last,
        "rows": rows,
        "exchanges": sum(pane.exchanges for pane in panes if not pane.late),
        "late_exchanges": sum(pane.exchanges for pane in panes if pane.late),
    }


def panes_name(facts: PaneFacts, panes: Sequence[Pane], data: bytes) -> str:
    """Where the file belongs: model, digest and day of shipping, then what the module's text says."""
    moment = datetime.fromtimestamp(facts.shipped_us // 1_000_000, UTC)
    stamp = f"{moment:%Y%m%dT%H%M%S}{facts.shipped_us // 1000 % 1000:03d}"
    first, last = (each // 1_000_000 for each in _span(panes))
    digest = hashlib.sha256(data).hexdigest()[:16]
    model, named = path_safe(facts.model), path_safe(facts.digest.replace(":", "-"))
    return (
        f"{PANES}/model={model}/digest={named}/date={moment:%Y-%m-%d}/{stamp}-{facts.writer}"
        f"-{facts.serial:08d}-P{first:011d}-{last:011d}-{digest}.parquet"
    )


def plan_name(plan: str) -> str:
    """Where a plan is kept, by the SHA-256 of its bytes."""
    return f"{PLANS}/{plan}.json"


def _span(panes: Sequence[Pane]) -> tuple[int, int]:
    """When the first of the panes begins and the last one begins; panes there must be."""
    starts = [pane.start_us for pane in panes]
    return min(starts), max(starts)

"""One file of panes, read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from arro3.core import list_flatten, list_offsets
from arro3.io import read_parquet

from sidecar.damage import reading
from sidecar.errors import StoreError

FORMAT = 1
MAGIC = b"PAR1"
METADATA_KEY = b"sidecar"
Vector = npt.NDArray[np.int64]
_COLUMNS = ("pane_start_us", "pane_us", "late", "exchanges", "tally")


class Series(msgspec.Struct, frozen=True, order=True):
    """What adds: one model, one digest of it, one plan, one length of pane."""

    model: str
    digest: str
    plan: str
    pane_us: int
    """Length of its panes: those of another length do not add, pane by pane."""

    @property
    def text(self) -> str:
        """For people."""
        return f"model {self.model}, digest {self.digest or 'unknown'}, plan {self.plan[:12]}"


class Folded(msgspec.Struct, frozen=True):
    """What a fold holds of one writer."""

    runs: list[tuple[int, int]]
    """Serial numbers of its files, first and last of each run."""
    boots: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    source: str = ""
    exchanges: int = 0
    complete_to_us: int = 0
    final: bool = False

    def has(self, serial: int) -> bool:
        return any(first <= serial <= last for first, last in self.runs)


class Facts(msgspec.Struct, frozen=True):
    """What a file's metadata says of its panes."""

    format: int
    model: str
    digest: str
    plan: str
    route: str
    pod: str
    writer: str
    serial: int
    pane_us: int
    boots: tuple[str, ...] = ()
    complete_to_us: int = 0
    final: bool = False
    exchanges: int = 0
    late_exchanges: int = 0
    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    first_pane_us: int = 0
    last_pane_us: int = 0
    folded: dict[str, Folded] = {}
    """Of a fold: the files whose sum it is, by writer."""
    pane_writers: list[tuple[int, str]] = []
    """Of a fold: which of these writers are in each pane, in hex, the first one's bit the lowest."""

    @property
    def series(self) -> Series:
        return Series(self.model, self.digest, self.plan, self.pane_us)

    @property
    def source(self) -> str:
        """Who counted, for people: the pod, or the writer where no pod is named."""
        return self.pod or self.writer

    def writers_of(self, pane_start_us: int) -> set[str]:
        """Whose counts are in a pane."""
        if not self.folded:
            return {self.writer}
        bits = next((int(text, 16) for start, text in self.pane_writers if start == pane_start_us), 0)
        return {writer for place, writer in enumerate(sorted(self.folded)) if bits >> place & 1}


@dataclass(slots=True)
class StoredPane:
    """One pane of one file."""

    start_us: int
    length_us: int
    late: bool
    exchanges: int
    counts: dict[str, Vector]
    record_ids: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class PaneFile:
    """A file's facts and panes."""

    name: str
    facts: Facts
    panes: list[StoredPane]


def read(name: str, data: bytes) -> PaneFile:
    """The file with these bytes. Raises StoreError that names it for anything else."""
    if data[:4] != MAGIC or data[-4:] != MAGIC:
        # The Parquet reader would panic, aloud.
        raise StoreError(f"{name}: cannot be read: no whole Parquet file")
    with reading(name):
        reader = read_parquet(io.BytesIO(data))
        facts = facts_in(name, reader.schema.metadata.get(METADATA_KEY))
        panes: dict[tuple[int, int, bool], StoredPane] = {}
        for batch in reader:
            _take(batch, panes)
    found = sorted(panes.values(), key=lambda pane: (pane.start_us, pane.late))
    for late, said in ((False, facts.exchanges), (True, facts.late_exchanges)):
        counted = sum(pane.exchanges for pane in found if pane.late is late)
        if counted != said:
            raise StoreError(
                f"{name}: its rows hold {counted} {'late ' if late else ''}exchanges, "
                f"its metadata says {said}: restore the file"
            )
    return PaneFile(name, facts, found)


def facts_in(name: str, stored: bytes | None) -> Facts:
    """What a file's metadata says. Raises StoreError that names the file for anything else."""
    if not stored:
        raise StoreError(f"{name}: no file of panes: its metadata lacks `sidecar`")
    try:
        facts = msgspec.json.decode(stored, type=Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{name}: no file of panes: {error}") from error
    if facts.format != FORMAT:
        raise StoreError(
            f"{name}: panes of format {facts.format}, this build reads {FORMAT}: use a newer Sidecar"
        )
    return facts


def _take(batch: Any, panes: dict[tuple[int, int, bool], StoredPane]) -> None:
    columns = [batch.column(each).to_pylist() for each in _COLUMNS]
    lists = batch.column("counts")
    values = np.asarray(list_flatten(lists).to_numpy(), dtype=np.int64)
    bounds = np.asarray(list_offsets(lists).to_numpy()).tolist()
    base = bounds[0] if bounds else 0
    ids = batch.column("record_ids").to_pylist()
    for number, (start, length, late, exchanges, tally) in enumerate(zip(*columns, strict=True)):
        key = (start, length, late)
        pane = panes.get(key)
        if pane is None:
            pane = panes[key] = StoredPane(start, length, late, exchanges, {}, {})
        counts = values[bounds[number] - base : bounds[number + 1] - base]
        if len(counts):
            pane.counts[tally] = counts.copy()
        if ids[number]:
            pane.record_ids[tally] = [str(each) for each in ids[number]]

"""The exchanges that labels are about, by record id or business key; files without any are not opened."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from sidecar.archive import catalog
from sidecar.archive.catalog import RecordId
from sidecar.archive.footer import Footer, read_footers
from sidecar.archive.query import numbered
from sidecar.archive.source import Source
from sidecar.archive.table import Table
from sidecar.errors import StoreError, UsageError
from sidecar.key_filter import may_hold

MOST_ASKED = 1_000
"""Keys that a file's filter is asked for; with more, asking takes longer than reading."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NARROW = ("record_id", "kind", "keys")
_WIDE = (
    "record_id", "keys", "t_request_us", "model", "image_digest", "artifact_digest", "inputs", "outputs",
    "key_commitment",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labelled:
    """One exchange that somebody asked for, decoded."""

    record_id: str
    keys: tuple[tuple[str, str], ...]
    """Those by which it was asked for."""
    t_us: int
    model: str
    digest: str
    inputs: dict[str, list[Any]] | None
    """None if it was not decoded, or is encrypted."""
    outputs: dict[str, list[Any]] | None
    encrypted: bool


class Span(NamedTuple):
    """A stretch of time; None is no bound."""

    since_us: int | None = None
    until_us: int | None = None

    def has(self, t_us: int) -> bool:
        return (self.since_us is None or t_us >= self.since_us) and (
            self.until_us is None or t_us < self.until_us
        )

    def has_day(self, date: str) -> bool:
        """Whether some of that day, `YYYY-MM-DD`, may be inside."""
        first, last = (
            None if us is None else f"{_EPOCH + timedelta(microseconds=us):%Y-%m-%d}" for us in self
        )
        return (first is None or date >= first) and (last is None or date <= last)


@dataclass(slots=True)
class Wanted:
    """Record ids and (name, value) pairs of business keys."""

    ids: set[str] = field(default_factory=set)
    keys: set[tuple[str, str]] = field(default_factory=set)
    known: Collection[tuple[str, str]] = ()
    """Further keys that are told of a record which is found by others."""
    _numbers: dict[str, list[int]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Sorts the ids by log, for `may_be_in`."""
        numbers: dict[str, list[int]] = {}
        for text in self.ids:
            try:
                record = RecordId.parse(text)
            except UsageError:
                continue
            if record.boot:
                numbers.setdefault(f"{record.boot}.{record.route}", []).append(record.seq)
        self._numbers = {log: sorted(each) for log, each in numbers.items()}

    def may_be_in(self, footer: Footer) -> bool:
        """Whether the file may hold one of them, by its name and metadata."""
        numbers = self._numbers.get(str(footer.metadata.get("log")), ())
        at = bisect_left(numbers, footer.file.first_seq)
        if at < len(numbers) and numbers[at] <= footer.file.last_seq:
            return True
        if not self.keys:
            return False
        if "key_filter" not in footer.metadata or len(self.keys) > MOST_ASKED:
            return True
        text = footer.metadata["key_filter"]
        if text is None:
            return False
        return any(may_hold(text, each, value) for name, value in self.keys for each in numbered(name))

    def names_of(self, keys: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
        """The wanted and known ones among a record's keys, further values under their name as well."""
        if not keys or not (self.keys or self.known):
            return ()
        pairs = dict.fromkeys((_plain(name), value) for name, value in keys.items())
        return tuple(pair for pair in pairs if pair in self.keys or pair in self.known)

    def accepts(self, row: Sequence[Any]) -> bool:
        """Whether a row (record id, kind, keys) is wanted."""
        return row[1] == "exchange" and (
            row[0] in self.ids or any(pair in self.keys for pair in self.names_of(row[2]))
        )


def labelled(
    source: Source,
    wanted: Wanted,
    model: str | None,
    problem: Callable[[StoreError], None],
    span: Span = Span(),  # noqa: B008
) -> Iterator[Labelled]:
    """The exchanges asked for, newest day first; a file that cannot be read is given to `problem`."""
    wanted.prepare()
    for date, folders in catalog.days(source, model):
        if not span.has_day(date):
            continue
        for footer in read_footers(source, catalog.files(source, date, folders)):
            if footer.problem is not None:
                problem(footer.problem)
            elif wanted.may_be_in(footer):
                try:
                    rows = list(Table(source, footer.file.name).matching(_NARROW, _WIDE, wanted.accepts))
                except StoreError as error:
                    problem(error)
                    continue
                for row in rows:
                    if (model is None or row[3] == model) and span.has(row[2] or 0):
                        yield _read(row, wanted)


def _read(row: Sequence[Any], wanted: Wanted) -> Labelled:
    record_id, keys, t_us, model, image, artifact, inputs, outputs, commitment = row
    sides = [orjson.loads(text) if text else None for text in (inputs, outputs)]
    return Labelled(
        record_id,
        wanted.names_of(keys),
        t_us or 0,
        model or "",
        image or artifact or "unknown",
        sides[0],
        sides[1],
        commitment is not None,
    )


def _plain(name: str) -> str:
    """`NAME` of `NAME.2`: further values of one key."""
    stem, dot, number = name.rpartition(".")
    return stem if dot and number.isdigit() else name

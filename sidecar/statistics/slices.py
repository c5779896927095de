"""Rows told apart by one value, or by two together: bands of a score, groups of people, regions.

Slices are fixed when the plan is made, so that counts add; what belongs to
none of them is `other`, what has no value is `missing`, and both are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from math import isfinite, prod
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.records import TOKEN
from sidecar.statistics.baseline import (
    CONCEALED,
    HASH_BYTES,
    Baseline,
    FieldBaseline,
    as_float,
    category,
    category_hash,
    number_label,
)
from sidecar.statistics.decision import OPAQUE, Token
from sidecar.statistics.field_path import FieldPath, parse_path
from sidecar.statistics.rows import Rows

MAX_SLICES = 20
BANDS = 5
"""Bands of a number when no edges are given: fifths of the baseline."""
OTHER, MISSING = "other", "missing"
TAIL = 2
HASHED = f"#{TOKEN}"
JOINT = " & "
"""Between the two values of an intersection."""

Codes = npt.NDArray[np.int64]
Value = str | int | float | bool


class Slicing(msgspec.Struct, frozen=True):
    """How rows are told apart. Canonical: equal slicings have equal encodings."""

    of: tuple[str, ...]
    """One path, or two for an intersection."""
    edges: tuple[float, ...] = ()
    """Ascending; the last band includes its upper edge. Only with one path."""
    values: tuple[str, ...] = ()
    """Labels as `label_of` makes them, joined by ` & ` for two paths."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Labels of tokens, each with that of the value behind it, where only tokens are counted."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the slices, `other` and `missing` not among them."""
        if self.edges:
            bounds = list(map(number_label, self.edges))
            return tuple(f"{low}..{high}" for low, high in pairwise(bounds))
        return tuple(
            JOINT.join(CONCEALED if part.startswith(HASHED) else part for part in label.split(JOINT))
            + (f" {number}" if HASHED in label else "")
            for number, label in enumerate(self.values, 1)
        )

    @property
    def size(self) -> int:
        """Slices, with `other` and `missing` at the end."""
        return len(self.labels) + TAIL

    def tokenised(self, token: Token) -> Slicing:
        """The same slices for values of which only tokens are counted (`countable.Countable.token`)."""
        parts = dict.fromkeys(part for value in self.values for part in value.split(JOINT))
        pairs = ((label_of(token(part)), part) for part in parts if not part.startswith(HASHED))
        aliases = ((label, part) for label, part in pairs if label is not None)
        return msgspec.structs.replace(self, aliases=tuple(aliases))

    def codes(self, rows: Rows) -> Codes:
        """The slice of each row: an index into `labels`, then other, then missing."""
        return rows.derived(self, lambda: self._codes(rows))

    def _codes(self, rows: Rows) -> Codes:
        paths = [parse_path(text) for text in self.of]
        if self.edges:
            return self._banded(paths[0], rows)
        other = len(self.values)
        known = {label: code for code, label in enumerate(self.values)}
        columns = [labels_of(path, rows) for path in paths]
        if self.aliases:
            plain = dict(self.aliases)
            columns = [[plain.get(label or "", label) for label in column] for column in columns]
        labels = columns[0] if len(columns) == 1 else [_joint(parts) for parts in zip(*columns, strict=True)]
        found = [other + 1 if label is None else known.get(label, other) for label in labels]
        return np.array(found, dtype=np.int64)

    def _banded(self, path: FieldPath, rows: Rows) -> Codes:
        edges = np.array(self.edges, dtype=np.float64)
        other = len(edges) - 1
        numbers = path.numbers(rows)
        codes = np.searchsorted(edges, numbers, side="right").astype(np.int64) - 1
        codes[numbers == edges[-1]] = other - 1
        codes[(numbers < edges[0]) | (numbers > edges[-1])] = other
        absent = np.isnan(numbers)
        if absent.any():
            texts = np.array([_is_text(value) for value in path.values(rows)], dtype=bool)
            codes[absent] = np.where(texts[absent], other, other + 1)
        return codes


def label_of(value: Any) -> str | None:
    """What a value is called; equal numbers have one label. None for null, NaN and concealed values.

    Of a token only its hash: no plan or pane holds its text.
    """
    if type(value) is str:
        if value.startswith(TOKEN):
            return None if value in OPAQUE else HASHED + category_hash(value).hex()
        return category(value)
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in (int, float):
        number = as_float(value)
        return number_label(number) if isfinite(number) else None
    return None if value is None else "(array)"


def given_label(value: Any, where: str) -> str:
    """The label of a value that somebody has written down to be told apart.

    Raises ValueError for none, and for what stands for a redacted value in a
    report or record: it does not say which.
    """
    label = label_of(value)
    if label is None and not isinstance(value, str):
        shown = "null" if value is None else str(value)
        raise ValueError(f"{where}: {shown} is no value to tell apart: rows without one count as missing")
    for part in str(value).split(JOINT):
        if part.startswith((CONCEALED, TOKEN, HASHED)):
            raise ValueError(
                f"{where}: {part[:40]!r} stands for a redacted value and does not say which: give the value "
                "itself, which is counted by its token, or leave it out and take those of the baseline"
            )
    return label or ""


def labels_of(path: FieldPath, rows: Rows) -> list[str | None]:
    """The label of each row's value."""

    def make() -> list[str | None]:
        known: dict[tuple[type, Any], str | None] = {}
        labels = []
        for value in path.values(rows):
            kind = type(value)
            if kind is list:
                labels.append(label_of(value))
                continue
            key = (kind, value)
            if key not in known:
                known[key] = label_of(value)
            labels.append(known[key])
        return labels

    return rows.derived((path, "labels"), make)


def slicing(
    of: Sequence[str],
    fields: Mapping[str, FieldBaseline],
    where: str,
    edges: Sequence[float] = (),
    values: Sequence[Value] = (),
    bands: int = BANDS,
) -> Slicing:
    """A slicing by the given edges or values, or by what the baseline knows of the fields.

    `fields` are those of `fields_by_path`. Of an intersection a baseline knows
    each side only: pairs are ranked as if the two had nothing to do with each
    other. Raises ValueError when neither says what to tell apart.
    """
    paths = tuple(str(parse_path(text)) for text in of)
    if not 1 <= len(paths) <= 2 or len(set(paths)) != len(paths):
        raise ValueError(f"{where}: one path, or two different ones for an intersection")
    if edges:
        return _given_edges(paths, edges, values, where)
    if values:
        labels = tuple(dict.fromkeys(given_label(value, where) for value in values))
        if len(labels) > MAX_SLICES:
            raise ValueError(f"{where}: {len(labels)} values; at most {MAX_SLICES} are told apart")
        return Slicing(paths, values=labels)
    known = [field_of(parse_path(path), fields) for path in paths]
    lacking = [path for path, field in zip(paths, known, strict=True) if field is None]
    if lacking:
        raise ValueError(f"{where}: the baseline has no {lacking[0]}: give values, or edges for a number")
    return _from_baseline(paths, [field for field in known if field is not None], where, bands)


def fields_by_path(baseline: Baseline) -> dict[str, FieldBaseline]:
    """The baseline's fields as `inputs.NAME` and `outputs.NAME`."""
    sides = (("inputs", baseline.inputs), ("outputs", baseline.outputs))
    return {f"{side}.{field.name}": field for side, fields in sides for field in fields if not field.aspect}


def field_of(path: FieldPath, fields: Mapping[str, FieldBaseline]) -> FieldBaseline | None:
    """What the baseline knows of a path; None if nothing, or only of the array that it looks into."""
    for name, indexes in path.candidates():
        field = fields.get(name)
        if field is not None and (not indexes or field.kind != "array"):
            return field
    return None


def _given_edges(
    paths: tuple[str, ...], edges: Sequence[float], values: Sequence[Value], where: str
) -> Slicing:
    if values:
        raise ValueError(f"{where}: edges and values together: give one of them")
    if len(paths) > 1:
        raise ValueError(f"{where}: edges are for one number, not for an intersection: give values")
    if len(edges) < 2 or any(not low < high for low, high in pairwise(edges)):
        raise ValueError(f"{where}: edges must be two or more ascending numbers, such as [300, 600, 850]")
    if not all(map(isfinite, edges)):
        raise ValueError(f"{where}: edges must be finite")
    if len(edges) - 1 > MAX_SLICES:
        raise ValueError(f"{where}: {len(edges) - 1} bands; at most {MAX_SLICES} are told apart")
    return Slicing(paths, edges=tuple(map(float, edges)))


def _from_baseline(paths: tuple[str, ...], fields: list[FieldBaseline], where: str, bands: int) -> Slicing:
    if len(fields) == 1 and fields[0].edges:
        own = fields[0].edges
        picked = sorted({own[round(step * (len(own) - 1) / bands)] for step in range(bands + 1)})
        if len(picked) > 1:
            return Slicing(paths, edges=tuple(picked))
    choices = []
    for path, field in zip(paths, fields, strict=True):
        if field.edges or not field.own_slots:
            raise ValueError(f"{where}: {path} has no few values in the baseline: give values or edges")
        pairs = zip(_labels(field), field.counts, strict=False)
        choices.append([(label, count) for label, count in pairs if count])
    weighed = [
        (prod(count for _, count in parts), JOINT.join(label for label, _ in parts))
        for parts in product(*choices)
    ]
    ranked = sorted(weighed, key=lambda pair: (-pair[0], pair[1]))[:MAX_SLICES]
    if not ranked:
        raise ValueError(f"{where}: the baseline has no value of {' or '.join(paths)}: give values")
    return Slicing(paths, values=tuple(label for _, label in ranked))


def _labels(field: FieldBaseline) -> list[str]:
    """The labels of a field's own slots, as `label_of` gives them for its values."""
    at = range(0, len(field.concealed), HASH_BYTES)
    hashes = [HASHED + field.concealed[start : start + HASH_BYTES].hex() for start in at]
    return field.labels()[: field.own_slots - len(hashes)] + hashes


def _joint(parts: tuple[str | None, ...]) -> str | None:
    return None if None in parts else JOINT.join(part for part in parts if part is not None)


def _is_text(value: Any) -> bool:
    if type(value) is str:
        return value not in OPAQUE
    return value is not None and type(value) not in (int, float)

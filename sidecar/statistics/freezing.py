"""A column of values → its frozen baseline, counted by the very code that later counts traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, floor, isfinite, log10
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.records import TOKEN
from sidecar.statistics import images, text, timestamps, vectors
from sidecar.statistics.baseline import (
    HASH_BYTES,
    TAIL,
    FieldBaseline,
    Kind,
    as_float,
    category,
    category_hash,
)
from sidecar.statistics.facts import BriefImage, BriefText, BriefVector
from sidecar.statistics.field_counter import FieldCounter, Times, facts_of

BINS: Final = 20
ROWS_PER_BIN: Final = 50
"""Fewer bins for a small baseline: PSI between samples of one distribution grows with the bins."""
ASPECT_BINS: Final = 10
MAX_DISTINCT_NUMBERS: Final = 20
ROWS_PER_NUMBER: Final = 5
"""Numbers that repeat this often on average, and are few, are counted each by itself."""
MAX_CATEGORIES: Final = 100
MAX_REST: Final = 1024
"""Known values beyond the counted categories that are still told from new ones."""
LEAST_TEXTS: Final = 20
"""Rows from which on texts that hardly repeat are watched as texts, not as categories."""
MOSTLY: Final = 0.95
HOURS_FROM_S: Final = 86_400.0
"""Moments that lie closer to their exchanges than this have the hour of the traffic: that is no news."""
_LOOKED_AT = 500


def kind_of_values(values: Sequence[Any]) -> Kind:
    """The kind most of the values have; `empty` if none has any."""
    types = Counter(map(type, values))
    found: list[tuple[int, Kind]] = [
        (types[int] + types[float], "numeric"),
        (types[str] + types[BriefText] + types[BriefImage], "categorical"),
        (types[bool], "boolean"),
        (types[list] + types[BriefVector], "array"),
    ]
    rows, kind = max(found, key=lambda pair: pair[0])
    if not rows:
        return "empty"
    if kind == "categorical":
        return _kind_of_texts([value for value in values if type(value) in (str, BriefText, BriefImage)])
    return _kind_of_arrays(values) if kind == "array" else kind


def _kind_of_texts(texts: Sequence[Any]) -> Kind:
    step = max(1, len(texts) // _LOOKED_AT)
    some = texts[::step]
    briefs = [
        each for each in some if type(each) is BriefImage or (type(each) is str and images.measured(each))
    ]
    if len(briefs) >= MOSTLY * len(some):
        return "image"
    if sum(1 for each in some if type(each) is str and timestamps.parsed(each) is not None) >= MOSTLY * len(
        some
    ):
        return "timestamp"
    if any(type(each) is str and each.startswith(TOKEN) for each in texts):
        return "categorical"
    counts = Counter(each.category if type(each) is BriefText else each for each in texts)
    once = sum(1 for count in counts.values() if count == 1)
    hardly_repeats = 2 * len(counts) > len(texts) or (len(counts) > MAX_CATEGORIES and 5 * once > len(texts))
    return "text" if len(texts) >= LEAST_TEXTS and hardly_repeats else "categorical"


def _kind_of_arrays(values: Sequence[Any]) -> Kind:
    arrays = [vectors.packed(value) if type(value) is list else value for value in values]
    lengths = Counter(value.length for value in arrays if type(value) is BriefVector and value.packed)
    of_any = sum(1 for value in arrays if type(value) is BriefVector)
    length, rows = max(lengths.items(), key=lambda pair: pair[1], default=(0, 0))
    return "vector" if length >= 2 and rows >= max(LEAST_TEXTS, of_any / 2) else "array"


def freeze_field(
    name: str,
    values: Sequence[Any],
    times_us: Times | None = None,
    coarse: bool = False,
    epoch: str = "",
) -> FieldBaseline:
    """The baseline of a field with these values; with `coarse` no number of theirs is told exactly.

    `epoch` says that its numbers are moments, in that unit since 1970; without it they may show it.
    """
    kind = kind_of_values(values)
    if kind == "numeric":
        epoch = epoch or timestamps.epoch_unit(name, values, times_us)
        kind = "timestamp" if epoch else kind
    else:
        epoch = ""
    field = _field(name, kind)
    if kind == "categorical":
        field = _categorical(name, values)
    elif kind == "boolean":
        field = _field(name, kind, categories=["false", "true"])
    elif kind == "text":
        field = _field(name, kind, categories=text.LABELS)
    elif kind == "image":
        field = _field(name, kind, categories=images.FORMATS)
    elif kind == "timestamp":
        field = msgspec.structs.replace(_field(name, kind, categories=timestamps.LABELS), epoch=epoch)
    elif kind in ("array", "vector"):
        lengths = [length for length in vectors.lengths(values) if type(length) is int]
        field = numbers_field(name, kind, np.array(lengths, dtype=np.float64))
        if kind == "vector":
            (most, _), *_ = Counter(lengths).most_common(1)
            field = msgspec.structs.replace(field, centroid=vectors.centroid_of(values, most))
    elif kind == "numeric":
        plain = [as_float(value) for value in values if type(value) in (int, float)]
        field = numbers_field(name, kind, np.array(plain, dtype=np.float64), coarse)
    field = msgspec.structs.replace(field, aspects=_aspects(field, values, times_us, coarse))
    return counted(field, values, times_us)


def _categorical(name: str, values: Sequence[Any]) -> FieldBaseline:
    texts: Counter[str] = Counter()
    for value in values:
        if type(value) is str:
            texts[category(value)] += 1
        elif type(value) is BriefText:
            texts[value.category] += 1
    ranked = sorted(texts, key=lambda each: (-texts[each], each))
    counted_ones, others = ranked[:MAX_CATEGORIES], ranked[MAX_CATEGORIES : MAX_CATEGORIES + MAX_REST]
    hidden = [each for each in counted_ones if each.startswith(TOKEN)]
    return _field(
        name,
        "categorical",
        categories=[each for each in counted_ones if not each.startswith(TOKEN)],
        concealed=b"".join(map(category_hash, hidden)),
        rest=b"".join(sorted(map(category_hash, others))),
        singletons=sum(1 for count in texts.values() if count == 1),
    )


def _aspects(
    field: FieldBaseline, values: Sequence[Any], times_us: Times | None, coarse: bool
) -> list[FieldBaseline]:
    facts = facts_of(field, values, times_us)
    if facts is None:
        return []
    found = []
    for aspect, measured in facts.aspects.items():
        unmeasured = facts.unmeasured.get(aspect)
        numbers = measured if unmeasured is None else measured[~unmeasured]
        if not np.isfinite(numbers).any():
            continue
        if aspect == "hour":
            ages = facts.aspects.get("age")
            if ages is not None and float(np.quantile(np.abs(ages), 0.9)) < HOURS_FROM_S:
                continue
            frozen = _field(field.name, "numeric", numbers=[float(hour) for hour in range(24)])
        else:
            frozen = numbers_field(field.name, "numeric", numbers, coarse, ASPECT_BINS)
        found.append(msgspec.structs.replace(frozen, aspect=aspect))
    return found


def numbers_field(
    name: str, kind: Kind, numbers: npt.NDArray[np.float64], coarse: bool = False, bins: int = BINS
) -> FieldBaseline:
    """The baseline without counts of a field of numbers; NaN and infinities are left out."""
    sample = np.sort(numbers[np.isfinite(numbers)])
    if not len(sample):
        return _field(name, kind)
    mean, scale = _centre(sample)
    if coarse:
        mean, scale = _rounded(mean, round), _rounded(scale, round) or 1.0
    distinct = np.unique(sample)
    few = len(distinct) == 1 or len(distinct) * ROWS_PER_NUMBER <= len(sample)
    plain = not coarse or all(number == _rounded(number, round) for number in distinct.tolist())
    if len(distinct) <= MAX_DISTINCT_NUMBERS and few and plain:
        return _field(name, kind, numbers=distinct.tolist(), mean=mean, scale=scale)
    edges = quantile_edges(sample, bins)
    if coarse:
        inner = sorted({_rounded(edge, round) for edge in edges[1:-1]})
        low, high = _rounded(edges[0], floor), _rounded(edges[-1], ceil)
        edges = [low, *(edge for edge in inner if low < edge < high), high]
    return _field(name, kind, edges=edges, mean=mean, scale=scale)


def _rounded(number: float, towards: Any) -> float:
    """Two significant digits."""
    if not number or not isfinite(number):
        return number
    exponent = floor(log10(abs(number))) - 1
    # By a power of ten as text: 0.1 ** 1 and its like are not the nearest doubles.
    unit = float(f"1e{exponent}")
    return float(f"{towards(number / unit)}e{exponent}")


def quantile_edges(ordered: npt.NDArray[np.float64], most_bins: int = BINS) -> list[float]:
    """Bounds of up to `most_bins` bins with about equally many of the ascending numbers in each.

    Every bound is one of the numbers (inverse of the empirical distribution
    function), so no platform's interpolation can change a baseline's hash.
    """
    bins = min(most_bins, max(2, len(ordered) // ROWS_PER_BIN))
    ranks = [max(0, -(-len(ordered) * step // bins) - 1) for step in range(bins + 1)]
    edges: list[float] = np.unique(ordered[ranks]).tolist()
    return edges if len(edges) > 1 else [edges[0], edges[0]]


def counted(field: FieldBaseline, values: Sequence[Any], times_us: Times | None = None) -> FieldBaseline:
    """The field with the counts of these values filled in."""
    found = FieldCounter(field).counted(values, times_us, brief=True)
    aspects = [
        msgspec.structs.replace(
            aspect, counts=np.bincount(coded.codes, minlength=len(aspect.counts)).tolist()
        )
        for aspect, coded in zip(field.aspects, found.aspects, strict=True)
    ]
    counts = np.bincount(found.main.codes, minlength=len(field.counts)).tolist()
    return msgspec.structs.replace(field, counts=counts, aspects=aspects)


def _centre(sample: npt.NDArray[np.float64]) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(sample.mean()), float(sample.std())
    if not np.isfinite(mean) or not np.isfinite(deviation):
        # Numbers near the largest double: half the way between the extremes serves as well.
        return 0.0, float(np.abs(sample).max())
    return mean, deviation or abs(mean) or 1.0


def _field(
    name: str,
    kind: Kind,
    *,
    edges: Sequence[float] = (),
    numbers: Sequence[float] = (),
    categories: Sequence[str] = (),
    concealed: bytes = b"",
    rest: bytes = b"",
    singletons: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
) -> FieldBaseline:
    own = len(numbers) + len(categories) + max(0, len(edges) - 1) + len(concealed) // HASH_BYTES
    return FieldBaseline(
        name,
        kind,
        list(edges),
        list(numbers),
        list(categories),
        rest,
        [0] * (own + TAIL),
        mean,
        scale,
        concealed=concealed,
        singletons=singletons,
    )

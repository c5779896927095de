"""Rows held alike: bands of a score, or of several legitimate features at once.

With several fields a stratum is one cell of their bands; rows that lack a band
in any of them share one stratum of their own, so that every row is in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import msgspec
import numpy as np

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.decision import Token
from sidecar.statistics.rows import Rows
from sidecar.statistics.section import checked
from sidecar.statistics.slices import TAIL, Codes, Slicing, Value, slicing

MAX_STRATA = 64
BANDS_EACH = {1: 5, 2: 3, 3: 3}
"""Bands of each field when the baseline chooses them: at most 27 cells of three fields."""
REST = "other or missing"


class StratumSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`stratum` of a `bias` entry, as it is written."""

    of: str
    edges: tuple[float, ...] = ()
    values: tuple[Value, ...] = ()


class Strata(msgspec.Struct, frozen=True):
    """How rows are held alike."""

    slicings: tuple[Slicing, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name per stratum, the rest's last."""
        names = [
            [f"{each.of[0]} {label}" for label in each.labels]
            if len(self.slicings) > 1
            else list(each.labels)
            for each in self.slicings
        ]
        return (*(", ".join(parts) for parts in product(*names)), REST)

    @property
    def size(self) -> int:
        return prod(len(each.labels) for each in self.slicings) + 1

    def tokenised(self, token: Token) -> Strata:
        """The same strata for values of which only tokens are counted."""
        return Strata(tuple(each.tokenised(token) for each in self.slicings))

    def codes(self, rows: Rows) -> Codes:
        """The stratum of each row: an index into `labels`."""
        return rows.derived(self, lambda: self._codes(rows))

    def _codes(self, rows: Rows) -> Codes:
        codes = np.zeros(rows.count, dtype=np.int64)
        rest = np.zeros(rows.count, dtype=bool)
        for each in self.slicings:
            found, width = each.codes(rows), each.size - TAIL
            rest |= found >= width
            codes = codes * width + found
        codes[rest] = self.size - 1
        return codes


def stratum(spec: StratumSpec, fields: Mapping[str, FieldBaseline], where: str) -> Strata:
    """Strata of one field. Raises ValueError where neither the entry nor the baseline says which."""
    return Strata((slicing([spec.of], fields, where, spec.edges, spec.values),))


def legitimate_bands(paths: Sequence[str], fields: Mapping[str, FieldBaseline], where: str) -> Strata:
    """Cells of the legitimate features' bands, as the baseline has them."""
    most = max(BANDS_EACH)
    checked(1 <= len(paths) <= most, where, f"{len(paths)} legitimate features: 1 to {most} are held alike")
    bands = BANDS_EACH[len(paths)]
    strata = Strata(tuple(slicing([path], fields, where, bands=bands) for path in paths))
    words = f"{strata.size} strata of {', '.join(paths)}: at most {MAX_STRATA} are counted"
    checked(strata.size <= MAX_STRATA, where, words)
    return strata

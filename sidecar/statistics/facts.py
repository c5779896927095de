"""What is read out of values that are no plain numbers or categories, for a whole column at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Facts:
    """One column's."""

    main: list[Any]
    """Per row the label (or number) that the field itself is counted under; null and strange values stay."""
    places: Places
    """Rows that have aspects."""
    aspects: dict[str, Floats]
    """By name, one number for each of `places`; NaN where what should be a number is none."""
    unmeasured: Mapping[str, Mask] = field(default_factory=dict)
    """By name, which of `places` were not looked at: they count as missing. None, where it is not named."""


class Brief(msgspec.Struct, frozen=True, tag=True):
    """A value that was reduced to what a baseline needs of it, since it may be long."""


class BriefText(Brief, frozen=True, tag="text"):
    """A long text."""

    category: str
    facts: list[float]


class BriefImage(Brief, frozen=True, tag="image"):
    """An image."""

    label: str
    facts: list[float]


class BriefVector(Brief, frozen=True, tag="vector"):
    """An array of numbers; without `packed` (32-bit floats) only its length is known."""

    length: int
    packed: bytes = b""
    strange: bool = False
    """Whether some element is no number."""


Briefs = BriefText | BriefImage | BriefVector

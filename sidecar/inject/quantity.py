"""Kubernetes quantities: `500m` cores, `1Gi` bytes."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)$"
)
_FACTORS = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "E": Fraction(10**18),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip


def amount(text: object) -> Fraction:
    """The exact value of a quantity. Raises ValueError, phrased to follow the offending text."""
    match = _QUANTITY.match(str(text)) if isinstance(text, str | int | float) else None
    if match is None:
        raise ValueError("is no quantity: write a number with a unit, for example 500m, 1Gi or 2000000")
    if match[2]:
        return Fraction(match[1]) * Fraction(10) ** int(match[2][1:])
    return Fraction(match[1]) * _FACTORS[match[3] or ""]


def equal(one: object, other: object) -> bool:
    """Whether two quantities are the same amount, however they are written."""
    try:
        return amount(one) == amount(other)
    except ValueError:
        return False


def quantity(text: str) -> str:
    """A quantity above zero, as written. Raises ValueError."""
    if amount(text) <= 0:
        raise ValueError("is not above zero")
    return text


def size(text: str) -> int:
    """Bytes of a quantity. Raises ValueError."""
    value = amount(text)
    if value <= 0 or value.denominator != 1:
        raise ValueError("is no size: write whole bytes above zero, for example 1Gi")
    return int(value)


def in_mebibytes(value: int) -> str:
    """Bytes as a quantity, rounded down to whole Mi, in Gi where it is whole."""
    return f"{value >> 20}Mi" if value % 2**30 else f"{value >> 30}Gi"

"""What normal looked like: per field the bins, the known values and how often each was seen.

Immutable and named by its content hash, so that counts made anywhere under
the same baseline can be added.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Literal

import msgspec

from sidecar.errors import UsageError
from sidecar.statistics.quantity import Spread

Kind = Literal[
    "numeric", "categorical", "boolean", "text", "timestamp", "image", "array", "vector", "empty"
]  # fmt: skip

FORMAT = 2

UNDER, OVER, NEW, OTHER, MISSING, INVALID = range(6)
"""The slots after a field's own ones.

Out of range (two), never seen, known but rare, null or absent, of a wrong type or not finite.
"""
TAIL = 6
TAIL_LABELS = ("under", "over", "new", "other", "missing", "invalid")
WRONG_TYPE, UNPARSABLE, NAN, MINUS_INFINITY, PLUS_INFINITY = range(5)
"""What the invalid values were, in the counters that follow the slots."""
DETAILS = 5
DETAIL_LABELS = ("wrong_type", "unparsable", "nan", "minus_infinity", "plus_infinity")

MAX_TEXT = 256
"""Characters of a category; a longer text is known by its beginning and its hash."""
HASH_BYTES = 8
CONCEALED = "(redacted)"
"""What stands for a category whose text is not told."""


class FieldBaseline(msgspec.Struct, frozen=True):
    """One field, or one aspect of it, frozen."""

    name: str
    kind: Kind
    edges: list[float]
    """Ascending bounds of the bins, minimum and maximum included; empty unless numbers are binned."""
    numbers: list[float]
    """Ascending; each counted by itself; empty unless numbers are few."""
    categories: list[str]
    """Most frequent first, ties in code point order."""
    rest: bytes
    """8-byte hashes, ascending, of further known categories."""
    counts: list[int]
    """Rows of the baseline in each slot: the field's own, then the tail."""
    mean: float
    scale: float
    """Standard deviation, or what stands in for it when there is none: the unit of fixed-point sums."""
    aspect: str = ""
    """What of the field is counted (`length`, `norm`, …); empty: the values themselves."""
    concealed: bytes = b""
    """8-byte hashes of categories that are redacted values, in the order of their slots, after the others."""
    singletons: int = 0
    """Known categories that were seen once: about as many rows as will bring a category never seen."""
    centroid: list[float] = []
    """Of vectors: the mean of each element."""
    epoch: str = ""
    """Of moments written as numbers: the unit since 1970, `s`, `ms`, `us` or `ns`; empty for ISO 8601."""
    aspects: list[FieldBaseline] = []
    """What else is counted of the field: numbers that are read out of each value."""
    spread: Spread = Spread()
    hours: bytes = b""
    """What to hold each hour of the week against, packed (`hours.py`); empty: the same all the time."""

    @property
    def own_slots(self) -> int:
        """Slots before the tail."""
        return len(self.counts) - TAIL

    def labels(self) -> list[str]:
        """What each own slot counts, for people: of bins the bounds to four digits."""
        if self.numbers:
            return [number_label(number) for number in self.numbers]
        if self.edges:
            pairs = zip(self.edges[:-1], self.edges[1:], strict=True)
            return [f"{low:.4g}..{high:.4g}" for low, high in pairs]
        return self.categories + [CONCEALED] * (len(self.concealed) // HASH_BYTES)

    def reference(self) -> list[int]:
        """Counts to hold traffic against: some of what is new is no news (Good and Turing)."""
        expected = list(self.counts)
        own = self.own_slots
        expected[own + NEW] += self.singletons
        expected[own + OTHER] = max(0, expected[own + OTHER] - self.singletons)
        return expected


class Projection(msgspec.Struct, frozen=True):
    """A fixed random direction through the standardised numeric inputs."""

    name: str
    inputs: list[str]
    weights: list[int]
    edges: list[float]
    counts: list[int]
    """Of the bins, below the first and above the last."""
    mean: float
    scale: float
    spread: Spread = Spread()
    hours: bytes = b""


class Pair(msgspec.Struct, frozen=True):
    """Two fields that told most of each other in the baseline, counted together in coarse groups."""

    first: str
    second: str
    """Paths, `inputs.a` and `outputs.b`."""
    first_groups: list[int]
    """Group of each slot (the field's own and the tail)."""
    second_groups: list[int]
    first_labels: list[str]
    second_labels: list[str]
    counts: list[int]
    """By first group, then second."""
    information: float
    """Mutual information in nats."""
    spread: Spread = Spread()
    hours: bytes = b""

    @property
    def name(self) -> str:
        return f"joint/{self.first}*{self.second}"


class Baseline(msgspec.Struct, frozen=True):
    """All fields of one model."""

    exchanges: int
    rows: int
    answered_rows: int
    inputs: list[FieldBaseline]
    outputs: list[FieldBaseline]
    exchange: list[FieldBaseline] = []
    """Latency, status, tokens: one value per exchange, decoded or not."""
    projections: list[Projection] = []
    pairs: list[Pair] = []
    t_from_us: int = 0
    """Wall clock of the first and last exchange in it; 0 when its rows have no time."""
    t_to_us: int = 0
    source: str = ""
    version: int = FORMAT

    def encode(self) -> bytes:
        """Canonical bytes (JSON); equal baselines have equal bytes."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Baseline:
        """The baseline with these bytes. Raises UsageError, phrased to follow a file's name."""
        try:
            baseline = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"is no baseline ({error}): make one with `sidecar baseline create`") from error
        if baseline.version != FORMAT:
            raise UsageError(
                f"is a baseline of format {baseline.version}, this build reads {FORMAT}: make it anew"
            )
        for field in (*baseline.inputs, *baseline.outputs, *baseline.exchange):
            if len(field.counts) != _slots(field):
                raise UsageError(f"is no baseline: {field.name} has {len(field.counts)} counts: make it anew")
        return baseline

    @property
    def by_hour(self) -> bool:
        """Whether what is normal goes with the hour of the week."""
        return any(field.hours for field in (*self.inputs, *self.outputs, *self.exchange))

    @property
    def digest(self) -> str:
        """Hex SHA-256 of `encode()`, the baseline's name."""
        return sha256(self.encode()).hexdigest()


def _slots(field: FieldBaseline) -> int:
    own = len(field.numbers) + len(field.categories) + max(0, len(field.edges) - 1)
    return own + len(field.concealed) // HASH_BYTES + TAIL


def number_label(number: float) -> str:
    """Shortest text that reads back as the same number, without `.0`."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def category(text: str) -> str:
    """The category that `text` is counted under: itself unless it is long."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:64]}…{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def category_hash(text: str) -> bytes:
    """8 bytes that stand for a category."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def as_float(number: int | float) -> float:
    """The nearest double; an integer beyond all doubles is infinite, with its sign."""
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")

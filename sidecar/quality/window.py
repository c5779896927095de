"""Whether a value was there before, among the last N: in memory that does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

MAX_WINDOW: Final = 100_000


class Window:
    """Hashes of the last `size` values and of the rows that they were in, 16 bytes a value.

    Values are kept as 8-byte hashes alone: two different ones are taken for one
    once in 10^15 pairs. A row that comes again (a batch that is read twice) is
    no repetition of itself.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: Hashes = np.empty(0, dtype=np.uint64)
        self._rows: Hashes = np.empty(0, dtype=np.uint64)

    def repeated(self, values: Hashes, rows: Hashes) -> npt.NDArray[np.bool_]:
        """Which of these values, in order, were among the last `size` before it; takes them in."""
        known = len(self._values)
        everything = np.concatenate([self._values, values])
        owners = np.concatenate([self._rows, rows])
        order = np.argsort(everything, kind="stable")
        ranked = everything[order]
        again = np.zeros(len(everything), dtype=np.bool_)
        later, earlier = order[1:], order[:-1]
        again[later] = (
            (ranked[1:] == ranked[:-1]) & (later - earlier <= self.size) & (owners[later] != owners[earlier])
        )
        self._values, self._rows = everything[-self.size :].copy(), owners[-self.size :].copy()
        return again[known:]


def hashes(values: Sequence[Any]) -> Hashes:
    """8 bytes for each value; equal numbers have equal ones however they are written."""
    return np.array([_hash(value) for value in values], dtype=np.uint64)


def _hash(value: Any) -> int:
    if type(value) is str:
        data = b"s" + value.encode("utf-8", "surrogatepass")
    elif type(value) is float and value.is_integer():
        data = b"n%d" % int(value)
    elif type(value) is range:
        data = b"o" + repr(list(value)).encode()
    else:
        data = (b"n" if type(value) in (int, float) else b"o") + repr(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")

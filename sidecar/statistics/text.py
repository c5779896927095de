"""Texts → length, tokens and the make-up of their characters, in no particular language."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.statistics.facts import BriefText, Facts, Floats

LOOKED_AT: Final = 4096
"""Characters of a text whose classes are counted; its length is that of the whole."""
ASPECTS: Final = ("length", "tokens", "letters", "digits", "marks")
"""Characters; words (runs of letters and digits, an ideograph being one); shares of its characters."""
TEXT, EMPTY = "text", "empty"
LABELS: Final = [TEXT, EMPTY]

_OTHER, _LETTER, _DIGIT, _MARK, _IDEOGRAPH = range(5)
_IDEOGRAPHS: Final = (
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@lru_cache(maxsize=1)
def _classes() -> npt.NDArray[np.uint8]:
    """Class of each code point of the basic plane, by Unicode's general category."""
    found = np.zeros(0x10000, dtype=np.uint8)
    by_category = {"L": _LETTER, "M": _LETTER, "N": _DIGIT, "P": _MARK, "S": _MARK}
    for point in range(0x10000):
        found[point] = by_category.get(unicodedata.category(chr(point))[0], _OTHER)
    for first, last in _IDEOGRAPHS[:-1]:
        found[first : last + 1] = _IDEOGRAPH
    return found


def text_facts(values: Sequence[Any]) -> Facts:
    """Label `text` or `empty` for every text, and the aspects of those that are not empty."""
    main = [(TEXT if value else EMPTY) if type(value) is str else value for value in values]
    main = [TEXT if type(value) is BriefText else value for value in main]
    places = np.array([at for at, label in enumerate(main) if label is TEXT], dtype=np.int64)
    texts = [values[at] for at in places]
    rows = np.empty((len(texts), len(ASPECTS)), dtype=np.float64)
    plain = [at for at, text in enumerate(texts) if type(text) is str]
    if plain:
        rows[plain] = measured([texts[at] for at in plain])
    for at, text in enumerate(texts):
        if type(text) is BriefText:
            rows[at] = text.facts
    return Facts(main, places, {name: rows[:, at] for at, name in enumerate(ASPECTS)})


def measured(texts: Sequence[str]) -> Floats:
    """The aspects of texts that are not empty, shape (len(texts), len(ASPECTS))."""
    looked_at = [text[:LOOKED_AT] for text in texts]
    sizes = np.array(list(map(len, looked_at)), dtype=np.int64)
    points = np.frombuffer("".join(looked_at).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    classes = _classes()[np.minimum(points, 0xFFFF)]
    beyond = points > 0xFFFF
    if beyond.any():
        ideographs = (points >= _IDEOGRAPHS[-1][0]) & (points <= _IDEOGRAPHS[-1][1])
        classes = np.where(beyond, np.where(ideographs, _IDEOGRAPH, _MARK), classes).astype(np.uint8)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    word = (classes == _LETTER) | (classes == _DIGIT)
    before = np.concatenate(([False], word[:-1]))
    before[starts] = False
    begins = (word & ~before) | (classes == _IDEOGRAPH)
    letters = (classes == _LETTER) | (classes == _IDEOGRAPH)
    rows = np.empty((len(texts), len(ASPECTS)), dtype=np.float64)
    rows[:, 0] = list(map(len, texts))
    for at, each in enumerate((begins, letters, classes == _DIGIT, classes == _MARK), 1):
        rows[:, at] = np.add.reduceat(each.astype(np.int64), starts)
    rows[:, 2:] /= sizes[:, None]
    return rows

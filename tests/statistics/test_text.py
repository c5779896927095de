"""Texts: characters, words and classes of characters, held against a count by hand."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.statistics.baseline import INVALID, MISSING, NEW
from sidecar.statistics.field_counter import FieldCounter
from sidecar.statistics.freezing import freeze_field
from sidecar.statistics.text import LOOKED_AT, measured

BASIC = st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"]), min_size=1, max_size=60)


def classes(text: str) -> list[str]:
    by = {"L": "letter", "M": "letter", "N": "digit", "P": "mark", "S": "mark"}
    return [by.get(unicodedata.category(each)[0], "other") for each in text]


@given(st.lists(BASIC, min_size=1, max_size=5))
def test_shares_and_words_are_those_of_counting_by_hand(texts: list[str]) -> None:
    for text, row in zip(texts, measured(texts).tolist(), strict=True):
        kinds = classes(text)
        words = sum(
            kind in ("letter", "digit") and (at == 0 or kinds[at - 1] not in ("letter", "digit"))
            for at, kind in enumerate(kinds)
        )
        shares = [kinds.count(kind) / len(kinds) for kind in ("letter", "digit", "mark")]
        assert row == [len(text), words, *shares]


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=6), st.data())
def test_a_texts_numbers_do_not_depend_on_its_neighbours(texts: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(texts) - 1))
    assert measured(texts)[at].tolist() == measured([texts[at]])[0].tolist()


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("two words", [9, 2, 8 / 9, 0, 0]),
        ("naïve café", [10, 2, 9 / 10, 0, 0]),
        ("東京都", [3, 3, 1, 0, 0]),
        ("𠀀a", [2, 2, 1, 0, 0]),
        ("привет, мир!", [12, 2, 9 / 12, 0, 2 / 12]),
        ("🙂🙂", [2, 0, 0, 0, 1]),
        ("42 €", [4, 1, 0, 0.5, 0.25]),
    ],
)
def test_no_particular_language(text: str, row: list[float]) -> None:
    assert measured([text])[0].tolist() == row


def test_of_long_texts_the_classes_of_the_beginning_and_the_whole_length() -> None:
    (row,) = measured(["a" * LOOKED_AT + "1" * 10_000]).tolist()
    assert row == [LOOKED_AT + 10_000, 1, 1.0, 0.0, 0.0]


def test_empty_missing_and_strange_texts_are_values_of_their_own() -> None:
    chance = np.random.default_rng(1)
    field = freeze_field("note", [" ".join(map(str, chance.integers(0, 99, 6))) for _ in range(200)])
    assert field.kind == "text"
    found = FieldCounter(field).counted(["a note", "", None, 3, ["a"]])
    own = field.own_slots
    assert found.main.codes.tolist() == [0, 1, own + MISSING, own + INVALID, own + INVALID]
    assert [len(each.codes) for each in found.aspects] == [1] * len(field.aspects)
    assert NEW not in found.main.codes - own

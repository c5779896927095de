"""Patterns: the same answers as Python's own engine, in time that no value can stretch."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.quality.automaton import MAX_TEXT, Automaton

ATOMS = st.sampled_from(
    [*("a", "b", "0", ".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\.", "\\x61", "\\u00e9", "\\n"),
     *("[ab]", "[^ab]", "[a-z0]", "[\\d_]", "[^\\s]", "[]a]", "[a-]", "[^-a]", "-", "é")]
)  # fmt: skip
REPEATS = st.sampled_from(
    ["*", "+", "?", "{2}", "{0}", "{,2}", "{,}", "{1,}", "{0,2}", "{2,3}", "*?", "+?", "??"]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = inner.map(lambda text: f"(?:{text})") | inner.map(lambda text: f"({text})")
    return (
        st.lists(inner, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})")
        | st.tuples(groups | ATOMS, REPEATS).map("".join)
    )


PATTERNS = st.recursive(ATOMS, _grown, max_leaves=8)
TEXTS = st.text(alphabet="ab0_. -\n\té٣Z", max_size=8)


@settings(max_examples=400)
@given(PATTERNS, st.lists(TEXTS, max_size=12))
def test_the_answer_is_that_of_the_standard_library(pattern: str, texts: list[str]) -> None:
    automaton, peer = Automaton(pattern), re.compile(pattern)
    for text in texts:
        assert automaton.matches(text) == (peer.fullmatch(text) is not None), (pattern, text)


@pytest.mark.parametrize("pattern", ["^ab?$", "^a$|^ab$", "\\Aab?\\Z", "^(?:a|ab)$", "(?P<name>ab?)"])
def test_anchors_at_the_ends_say_what_is_meant_anyway(pattern: str) -> None:
    automaton = Automaton(pattern)
    assert [automaton.matches(text) for text in ("a", "ab", "b", "xa", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a)\\1", "has \\1 at character 4: back references, boundaries and other classes are not taken"),
        ("\\bword", "has \\b at character 1: back references, boundaries and other classes are not taken"),
        (
            "(?=a)b",
            "has a look-around, flag or other `(?…)` at character 2: only (?:…) and (?P<name>…) are taken",
        ),
        (
            "(?i)a",
            "has a look-around, flag or other `(?…)` at character 2: only (?:…) and (?P<name>…) are taken",
        ),
        ("a^b", "has an anchor amid it at character 2: a pattern is for the whole value, leave it out"),
        ("a$b", "has an anchor amid it at character 2: a pattern is for the whole value, leave it out"),
        ("(a", "has a group without its end at character 3: add the `)` or write \\("),
        ("a)", "has a `)` that closes nothing at character 2: remove it or write \\)"),
        ("[a", "has a class without its end at character 3: add the `]` or write \\["),
        ("[z-a]", "has a range that ends before it begins at character 5: write a minus sign as \\-"),
        ("+a", "has a repeat of nothing at character 1: write it with a backslash if it is meant"),
        ("a**", "has a repeat of a repeat at character 3: put the inner one in a group"),
        ("a{3,2}", "has a repeat that ends before it begins at character 2: write {2,3}"),
        ("a\\", "has a backslash at its end at character 3: write two for one"),
        (
            "a{600}",
            "comes to more than 500 characters with its repeats written out: use `length` for long counts",
        ),
        ("a" * 1001, "has 1,001 characters, at most 1,000 are taken: shorten it"),
        ("(" * 40 + ")" * 40, "has groups nested deeper than 30 at character 32: flatten it"),
    ],
)
def test_what_is_not_taken_is_said(pattern: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        Automaton(pattern)
    assert str(caught.value) == said


def test_no_value_makes_matching_slow() -> None:
    """Patterns on which backtracking takes longer than anyone waits; the bound is generous on purpose."""
    for pattern in ("(a+)+b", "(a|a)*b", "(a|aa)*b", ".*.*.*.*.*b", "(?:a|b)*a(?:a|b){200}c"):
        automaton = Automaton(pattern)
        began = time.perf_counter()
        assert not automaton.matches("ab" * (MAX_TEXT // 2 - 1) + "a!")
        assert not automaton.matches("a" * MAX_TEXT)
        assert time.perf_counter() - began < 5


def test_caches_are_bounded_and_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.quality.automaton.MAX_TRANSITIONS", 10)
    automaton, peer = Automaton("(?:a|b)*a(?:a|b){3}"), re.compile("(?:a|b)*a(?:a|b){3}")
    for number in range(256):
        text = f"{number:08b}".replace("0", "a").replace("1", "b")
        assert automaton.matches(text) == (peer.fullmatch(text) is not None)
        assert automaton._transitions <= 10


def test_a_text_beyond_the_limit_matches_nothing() -> None:
    assert Automaton("a*").matches("a" * MAX_TEXT)
    assert not Automaton("a*").matches("a" * (MAX_TEXT + 1))

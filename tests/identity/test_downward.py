"""The file that kubelet writes → annotations."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.identity.downward import AnnotationsFile, parse_annotations
from tests.support.kubelet import write_atomically


def go_quoted(text: str) -> str:
    """As strconv.Quote writes it, which is how kubelet does."""
    short = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f"}
    short |= {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    written = []
    for each in text:
        if each in short:
            written.append(short[each])
        elif each.isprintable():
            written.append(each)
        elif ord(each) < 0x80:
            written.append(f"\\x{ord(each):02x}")
        else:
            written.append(f"\\u{ord(each):04x}" if ord(each) < 0x10000 else f"\\U{ord(each):08x}")
    return f'"{"".join(written)}"'


values = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.from_regex(r"([a-z]{1,8}/)?[A-Za-z0-9._-]{1,10}", fullmatch=True)


@given(st.dictionaries(keys, values))
def test_every_value_comes_back_as_it_was(annotations: dict[str, str]) -> None:
    text = "".join(f"{key}={go_quoted(value)}\n" for key, value in annotations.items())
    assert parse_annotations(text) == annotations


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    parse_annotations(text)


def test_half_a_line_is_left_out() -> None:
    assert parse_annotations('a="1"\nb="2') == {"a": "1"}
    assert parse_annotations('a="1"\n="2"\nc=3\nd="') == {"a": "1"}


def test_a_change_is_told_once_and_a_missing_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Mapping[str, str]] = []
    readable: list[bool] = []
    file = AnnotationsFile("s", tmp_path / "annotations", told.append, "nothing is known", readable.append)
    with caplog.at_level(logging.WARNING):
        file.look()
        file.look()
    assert len(caplog.records) == 1
    for value in ("1", "1", "2"):
        text = f"a={json.dumps(value)}\n".encode()
        write_atomically(tmp_path, {"annotations": text}, 0o644)
        file.look()
        file.look()
    assert told == [{"a": "1"}, {"a": "2"}]
    assert readable == [False] * 2 + [True] * 6

"""Log lines: one a record, JSON that parses whatever is in it, and never a wait."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.logs import LINE_BYTES, JsonFormatter, StderrHandler, TextFormatter, configure


def record(message: str, *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("sidecar.x", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_json_line_carries_the_fixed_fields_and_the_extras() -> None:
    line = json.loads(JsonFormatter("recorder").format(record("gap of %d", 3, route="a", count=3)))
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "process": "recorder",
        "logger": "sidecar.x",
        "message": "gap of 3",
        "route": "a",
        "count": 3,
    }


@given(
    st.text(), st.dictionaries(st.text(min_size=1).map("x".__add__), st.text() | st.binary() | st.integers())
)
def test_any_record_is_one_json_line_that_fits(message: str, extra: dict[str, Any]) -> None:
    line = JsonFormatter("p").format(record(message.replace("%", ""), **extra))
    assert "\n" not in line
    assert len(line.encode("utf-8", "replace")) < LINE_BYTES
    json.loads(line)


def test_long_fields_are_shortened_so_that_the_line_stays_json() -> None:
    line = JsonFormatter("p").format(record("\0" * 100_000, **{f"x{n}": "y" * 5000 for n in range(200)}))
    assert json.loads(line)["level"] == "warning"
    assert len(line) < LINE_BYTES


def test_a_traceback_keeps_the_end_that_names_the_error() -> None:
    try:
        raise ValueError("x" * 5000 + "the end")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    assert json.loads(JsonFormatter("p").format(made))["exception"].endswith("the end")
    assert TextFormatter("p").format(made).endswith("the end")


def test_text_is_a_line_for_people() -> None:
    assert (
        TextFormatter("analyst").format(record("shipped", rows=3)).endswith("warning analyst: shipped rows=3")
    )


def test_a_log_pipe_that_nobody_reads_does_not_hold_up_the_process(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = StderrHandler(writer)
    handler.setFormatter(JsonFormatter("p"))
    for number in range(2000):
        handler.handle(record("line %d", number))
    written = os.read(reader, 1 << 20).splitlines()
    assert [json.loads(line)["message"] for line in written] == [f"line {n}" for n in range(len(written))]
    handler.handle(record("again"))
    last = json.loads(os.read(reader, 1 << 20))
    assert (last["message"], last["lines_dropped"]) == ("again", 2000 - len(written))


def test_a_closed_log_is_no_error(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    spare = os.dup(writer)
    handler = StderrHandler(spare)
    os.close(spare)
    handler.handle(record("into nothing"))


def test_configure_sets_level_and_replaces_handlers() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("json", "warning", "p")
        configure("auto", "error", "p")
        assert len(root.handlers) == 1
        assert root.level == logging.ERROR
    finally:
        root.handlers[:] = before
        root.setLevel(level)

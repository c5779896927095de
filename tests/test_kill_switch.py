"""The annotations' file → recording off and on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar import kill_switch
from sidecar.counters import Mode
from sidecar.identity.downward import parse_annotations
from sidecar.kill_switch import KillSwitch, asked_for
from tests.support.running import until

ON = 'sidecar.dev/splice-only="true"\n'
OFF = 'sidecar.dev/splice-only="false"\n'


@pytest.mark.parametrize(
    ("annotations", "mode"),
    [
        ("", Mode.RECORD),
        (ON, Mode.SPLICE_ONLY),
        ('a="1"\n' + ON + 'z="2"\n', Mode.SPLICE_ONLY),
        (ON.strip(), Mode.SPLICE_ONLY),
        (OFF, Mode.RECORD),
        ('sidecar.dev/splice-only=""\n', Mode.RECORD),
        ('my.sidecar.dev/splice-only="true"\n', Mode.RECORD),
        # kubelet escapes line ends and quotes inside values, so that no value can pass for another line.
        ('note="x\\nsidecar.dev/splice-only=\\"true\\""\n', Mode.RECORD),
    ],
)
def test_only_the_annotation_itself_with_true_asks_for_splicing(annotations: str, mode: Mode) -> None:
    assert asked_for(parse_annotations(annotations)) is mode


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "annotations"


def switch(file: Path) -> tuple[Callable[[], None], list[Mode]]:
    told: list[Mode] = []
    return KillSwitch(file, told.append).look, told


def test_each_change_of_the_annotation_switches_once(file: Path) -> None:
    look, told = switch(file)
    for text in ("", ON, ON + 'other="1"\n', OFF, ""):
        file.write_text(text)
        look()
        look()
    assert told == [Mode.SPLICE_ONLY, Mode.RECORD]


def test_a_pod_that_starts_with_the_annotation_is_never_recorded(file: Path) -> None:
    file.write_text(ON)
    told: list[Mode] = []
    with KillSwitch(file, told.append).followed():
        assert told == [Mode.SPLICE_ONLY]


def test_a_file_that_cannot_be_read_changes_nothing_and_is_told_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look, told = switch(file)
    file.write_text(ON)
    look()
    file.unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        look()
        look()
    assert [each.getMessage() for each in caplog.records] == [
        f"annotations_file: {file}: No such file or directory: its kill switch is off"
    ]
    file.write_text(OFF)
    look()
    assert told == [Mode.SPLICE_ONLY, Mode.RECORD]


def test_bytes_that_are_no_text_are_no_reason_to_stop(file: Path) -> None:
    look, told = switch(file)
    file.write_bytes(b"\xff\xfe\n" + ON.encode())
    look()
    assert told == [Mode.SPLICE_ONLY]


def test_the_file_is_followed_until_the_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch, "EVERY_S", 0.01)
    told: list[Mode] = []
    with KillSwitch(file, told.append).followed():
        file.write_text(ON)
        until(lambda: told == [Mode.SPLICE_ONLY], "the switch")
    file.write_text(OFF)
    assert told == [Mode.SPLICE_ONLY]

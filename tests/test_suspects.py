from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import JournalError
from sidecar.suspects import Suspects


def die(path: Path, segment: int, index: int) -> None:
    """One life that ends while decoding."""
    suspects = Suspects(path)
    suspects.decoding(segment, index)
    suspects.close()


def test_two_deaths_make_guilty_and_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    die(path, 1 << 40, 3)
    assert not Suspects(path).guilty(1 << 40, 3)
    die(path, 1 << 40, 3)
    suspects = Suspects(path)
    assert suspects.guilty(1 << 40, 3)
    assert not suspects.guilty(1 << 40, 4)


def test_a_guilty_one_is_remembered_while_others_are_found(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    for _ in range(2):
        for index in range(5):
            die(path, 7, index)
    suspects = Suspects(path)
    assert [suspects.guilty(7, index) for index in range(6)] == [True] * 5 + [False]


def test_an_idle_end_blames_nobody(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    for _ in range(3):
        suspects = Suspects(path)
        suspects.decoding(7, 1)
        suspects.idle()
    assert not Suspects(path).guilty(7, 1)


def test_what_is_behind_the_cursor_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    for segment in (5, 5, 9, 9):
        die(path, segment, 0)
    Suspects(path).committed(5)
    suspects = Suspects(path)
    assert not suspects.guilty(5, 0)
    assert suspects.guilty(9, 0)


def test_deaths_while_encoding_are_counted_until_a_batch_passes(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    for _ in range(2):
        Suspects(path).encoding()
    suspects = Suspects(path)
    assert suspects.encode_deaths == 2
    suspects.committed(1)
    assert Suspects(path).encode_deaths == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="marker"):
        Suspects(tmp_path / "missing" / "marker")

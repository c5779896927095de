from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.errors import StoreError
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.files import unfinished
from sidecar.shipping.sink import PutResult

NAME = "records/model=m/digest=d/date=2026-11-23/a.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_an_object_is_there_whole_under_its_name_and_nothing_else_is(root: Path) -> None:
    assert DirectorySink(root, create=True).put(NAME, b"data") is PutResult.CREATED
    assert (root / NAME).read_bytes() == b"data"
    assert names(root) == [NAME]


def test_putting_again_is_success(root: Path) -> None:
    sink = DirectorySink(root, create=True)
    sink.put(NAME, b"data")
    assert sink.put(NAME, b"data") is PutResult.EXISTED
    assert names(root) == [NAME]


def test_a_file_cut_short_under_the_name_is_replaced(root: Path) -> None:
    sink = DirectorySink(root, create=True)
    sink.put(NAME, b"data")
    (root / NAME).write_bytes(b"da")
    assert sink.put(NAME, b"data") is PutResult.CREATED
    assert (root / NAME).read_bytes() == b"data"


def test_a_leftover_of_a_killed_put_does_no_harm(root: Path) -> None:
    sink = DirectorySink(root, create=True)
    (root / NAME).parent.mkdir(parents=True)
    unfinished(root / NAME).write_bytes(b"half of something longer")
    sink.put(NAME, b"data")
    assert names(root) == [NAME]


def test_a_root_that_went_away_is_not_made_again(root: Path) -> None:
    sink = DirectorySink(root, create=True)
    sink.put(NAME, b"data")
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreError, match="no such directory"):
        sink.put(NAME, b"data")
    root.with_name("elsewhere").rename(root)
    assert sink.put(NAME, b"data") is PutResult.EXISTED


def test_a_root_that_never_was_is_not_made_unless_asked(root: Path) -> None:
    with pytest.raises(StoreError, match="no such directory"):
        DirectorySink(root).put(NAME, b"data")


def test_without_hard_links_the_file_is_renamed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    assert DirectorySink(root, create=True).put(NAME, b"data") is PutResult.CREATED
    assert names(root) == [NAME]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk_is_a_store_error_that_leaves_nothing_behind(small_disk: Path) -> None:
    sink = DirectorySink(small_disk)
    with pytest.raises(StoreError, match="No space left"):
        sink.put(NAME, b"x" * (2 << 20))
    assert names(small_disk) == []
    assert sink.put(NAME, b"x" * 1000) is PutResult.CREATED


@pytest.mark.root
def test_a_read_only_store_is_a_store_error_and_takes_puts_once_it_is_writable(small_disk: Path) -> None:
    sink = DirectorySink(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="Read-only"):
        sink.put(NAME, b"data")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert sink.put(NAME, b"data") is PutResult.CREATED

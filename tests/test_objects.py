from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from sidecar import objects
from sidecar.errors import ObjectMissing, StoreError, UsageError
from sidecar.objects import AUDITOR, Entry, Store, open_store
from sidecar.shipping.files import unfinished
from tests.support import azurite as azure
from tests.support.azurite import Azurite
from tests.support.seaweed import ADMINISTRATOR, BUCKET, WRITER, Seaweed

AWKWARD = (
    "records/model=a%2Fb/digest=sha256-0f/date=2026-11-23/c.n.w~3F-L000000000000-000000000001.parquet",
    "records/model=ünï ~/x y+z&=.parquet",
)


@pytest.fixture(params=["directory", "file url", "s3", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    root = tmp_path / "a store"
    root.mkdir()
    if request.param == "directory":
        return open_store(str(root))
    if request.param == "file url":
        return open_store(root.as_uri())
    if request.param == "azure":
        return azure_store(request.getfixturevalue("azurite"), monkeypatch)
    server: Seaweed = request.getfixturevalue("seaweed")
    for name, value in ADMINISTRATOR.environment().items():
        monkeypatch.setenv(name, value)
    options = replace(AUDITOR, endpoint=server.endpoint, environment=ADMINISTRATOR.environment())
    return open_store(f"s3://{BUCKET}/objects/{uuid4().hex}", options)


def azure_store(server: Azurite, monkeypatch: pytest.MonkeyPatch) -> Store:
    environment = {"AZURE_STORAGE_ACCOUNT_NAME": azure.ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": azure.KEY}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = replace(AUDITOR, endpoint=server.endpoint, environment=environment)
    return open_store(f"az://{azure.CONTAINER}/objects/{uuid4().hex}", options)


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_comes_back_as_it_was_given(store: Store, name: str) -> None:
    assert store.put_new(name, b"data")
    assert list(store.list()) == [Entry(name, 4)]
    assert store.get(name) == b"data"


def test_a_new_object_never_replaces_one(store: Store) -> None:
    assert store.put_new("site/000000000000.json", b"first")
    assert not store.put_new("site/000000000000.json", b"second, longer")
    assert store.get("site/000000000000.json") == b"first"


def test_of_many_writers_of_one_new_object_one_wins_and_its_bytes_are_kept(store: Store) -> None:
    won: list[bytes] = []
    start = threading.Barrier(8)

    def write(data: bytes) -> None:
        start.wait()
        if store.put_new("site/000000000007.json", data):
            won.append(data)

    threads = [threading.Thread(target=write, args=(b"writer %d" % number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.get("site/000000000007.json")] == won


def test_put_replaces(store: Store) -> None:
    store.put("subjects/a.json", b"first")
    store.put("subjects/a.json", b"2nd")
    assert store.get("subjects/a.json") == b"2nd"
    assert [entry.name for entry in store.list()] == ["subjects/a.json"]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 10, b"0123456789"), (2, 3, b"234"), (8, 30, b"89"), (10, 1, b""), (100, 5, b""), (3, 0, b"")],
)
def test_a_range_is_what_the_object_holds_of_it(
    store: Store, start: int, length: int, expected: bytes
) -> None:
    store.put("a", b"0123456789")
    assert store.get_range("a", start, length) == expected


def test_size_is_in_bytes(store: Store) -> None:
    store.put("a", b"x" * 70_000)
    assert store.size("a") == 70_000


def test_a_list_holds_what_is_below_a_folder_and_nothing_beside_it(store: Store) -> None:
    for name in ("a/1", "a/b/2", "a-b/3", "ab/4", "a.c"):
        store.put(name, b"")
    assert [entry.name for entry in store.list("a")] == ["a/1", "a/b/2"]
    assert [entry.name for entry in store.list("a/")] == ["a/1", "a/b/2"]
    assert sorted(entry.name for entry in store.list()) == ["a-b/3", "a.c", "a/1", "a/b/2", "ab/4"]
    assert list(store.list("none")) == []


def test_a_list_can_go_on_after_a_name(store: Store) -> None:
    names = [f"site/{number:012d}.json" for number in range(5)]
    for name in names:
        store.put(name, b"")
    assert [entry.name for entry in store.list("site", after=names[2])] == names[3:]
    assert list(store.list("site", after=names[-1])) == []


def test_a_long_list_is_whole_and_in_order(store: Store) -> None:
    names = [f"site/{number:012d}.json" for number in range(1100)]
    for name in names:
        store.put(name, b"")
    assert [entry.name for entry in store.list("site")] == names


def test_a_list_is_a_stream(store: Store) -> None:
    store.put("a/1", b"")
    stream = store.list()
    assert isinstance(stream, Iterator)
    assert next(stream).name == "a/1"


def test_folders_are_those_directly_below(store: Store) -> None:
    for name in ("r/model=b/date=1/x", "r/model=a/date=1/x", "r/model=a/date=2/x", "r/file"):
        store.put(name, b"")
    assert store.folders("r") == ["r/model=a", "r/model=b"]
    assert store.folders() == ["r"]
    assert store.folders("r/model=a") == ["r/model=a/date=1", "r/model=a/date=2"]
    assert store.folders("none") == []


def test_what_is_not_there_is_told_apart_from_a_store_that_fails(store: Store) -> None:
    store.put("folder/a", b"")
    for name in ("none", "folder", "folder/a/b"):
        with pytest.raises(ObjectMissing, match=f"no object {name}"):
            store.get(name)
        with pytest.raises(ObjectMissing):
            store.size(name)
        with pytest.raises(ObjectMissing):
            store.get_range(name, 0, 1)


def test_deleting_is_done_once_or_more(store: Store) -> None:
    store.put("folder/a", b"")
    store.delete("folder/a")
    store.delete("folder/a")
    assert list(store.list()) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../out", "a/../../out", "a//b", "a/.", "a\0b"])
def test_a_name_cannot_lead_out_of_the_store(store: Store, name: str) -> None:
    for act in (store.get, store.size, store.delete, lambda each: store.put(each, b"")):
        with pytest.raises(StoreError, match="not a path below"):
            act(name)


def test_the_description_is_the_address(store: Store) -> None:
    assert store.description.endswith("a store") or "://evidence/objects/" in store.description


def test_what_a_killed_writer_left_is_not_listed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("records/a.parquet", b"data")
    unfinished(tmp_path / "records/b.parquet").write_bytes(b"half")
    unfinished(tmp_path / "records/b.parquet", "0f0f").write_bytes(b"half")
    assert [entry.name for entry in store.list()] == ["records/a.parquet"]


def test_nothing_is_left_of_a_write_that_lost(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_new("a", b"1")
    store.put_new("a", b"2")
    store.put("a", b"3")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_hard_links_a_new_object_is_still_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    store = open_store(str(tmp_path))
    assert store.put_new("a", b"1")
    assert not store.put_new("a", b"2")
    assert store.get("a") == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_that_leads_back_up_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/file").write_bytes(b"data")
    assert [entry.name for entry in open_store(str(tmp_path)).list()] == ["a/file"]


def test_a_directory_that_is_not_there_is_an_error_and_not_an_empty_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "none"))
    for act in (
        lambda: list(store.list()),
        store.folders,
        lambda: store.get("a"),
        lambda: store.put("a", b""),
    ):
        with pytest.raises(StoreError, match="no such directory: mount it"):
            act()


def test_a_bucket_that_refuses_says_so_without_a_secret(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WRITER.environment().items():
        monkeypatch.setenv(name, value)
    options = replace(AUDITOR, endpoint=seaweed.endpoint, environment=WRITER.environment())
    store = open_store(f"s3://{BUCKET}/objects", options)
    for act in (lambda: list(store.list()), lambda: store.get("a"), lambda: store.delete("a")):
        with pytest.raises(StoreError, match="AccessDenied") as caught:
            act()
        assert not isinstance(caught.value, ObjectMissing)
        assert WRITER.secret not in str(caught.value)
        assert WRITER.key not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("ftp://host/x", "has the scheme 'ftp'"),
        ("https://receiver/x", "receives events"),
        ("s3:///folder", "names no bucket"),
        ("file://host/x", "names another machine"),
    ],
)
def test_an_address_of_no_store_is_a_usage_error(url: str, remedy: str) -> None:
    with pytest.raises(UsageError, match="store") as caught:
        open_store(url)
    assert remedy in str(caught.value)


def test_a_directory_store_does_not_load_the_object_store_library(tmp_path: Path) -> None:
    script = (
        "import sys; from sidecar.objects import open_store; "
        f"s = open_store({str(tmp_path)!r}); s.put('a', b'x'); list(s.list()); s.get('a'); "
        "sys.exit('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_commands_get_the_environment_of_the_command_line(tmp_path: Path) -> None:
    import click
    from click.testing import CliRunner

    seen: list[str] = []

    @click.command()
    @click.argument("url")
    def command(url: str) -> None:
        seen.append(objects.for_command(url).description)

    environment = {"AWS_EC2_METADATA_DISABLED": "true"}
    assert CliRunner().invoke(command, [str(tmp_path)], obj=environment).exit_code == 0
    assert seen == [str(tmp_path)]
    answer = CliRunner().invoke(command, ["s3://bucket/x"], obj=environment)
    assert "no credentials: set AWS_ACCESS_KEY_ID" in str(answer.exception)


def test_commands_use_the_store_variables_of_the_sidecar(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    import click
    from click.testing import CliRunner

    for name, value in ADMINISTRATOR.environment().items():
        monkeypatch.setenv(name, value)
    name = f"command-{uuid4().hex}"

    @click.command()
    def command() -> None:
        objects.for_command(f"s3://{BUCKET}/variables").put(name, b"data")

    environment = {**ADMINISTRATOR.environment(), "SIDECAR_STORE_ENDPOINT": seaweed.endpoint}
    answer = CliRunner().invoke(command, obj=environment)
    assert answer.exit_code == 0, answer.exception
    assert seaweed.content(f"variables/{name}") == b"data"

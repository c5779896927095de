from __future__ import annotations

import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sidecar.errors import ObjectExists, SiteLogBroken, StoreError
from sidecar.objects import AUDITOR, Store, open_store
from sidecar.site import log as log_module
from sidecar.site.entry import Entry, object_name
from sidecar.site_log import open_site_log
from tests.site.support import (
    OPERATOR,
    OTHER,
    entries,
    filled,
    hold,
    independent_root,
    operator,
    site_log,
)
from tests.support.seaweed import ADMINISTRATOR, BUCKET, Seaweed

ROOT = Path(__file__).parent.parent.parent


def objects(store: Store) -> list[bytes]:
    return [store.get(each.name) for each in store.list("site")]


def test_an_empty_store_has_an_empty_log(tmp_path: Path) -> None:
    log, _ = site_log(tmp_path)
    assert entries(log) == []


def test_entries_are_read_as_they_were_appended(tmp_path: Path) -> None:
    log, store = site_log(tmp_path)
    written = [log.append(operator(), "hold", hold(f"case {number}")) for number in range(5)]
    assert entries(log) == written
    assert [each.name for each in store.list("site")] == [object_name(number) for number in range(5)]


def test_roots_and_signatures_agree_with_an_implementation_of_the_description(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    filled(tmp_path, 9)
    _, store = site_log(tmp_path)
    stored = objects(store)
    public = Ed25519PrivateKey.from_private_bytes(OPERATOR.seed).public_key()
    for number, entry in enumerate(entries(open_site_log(store))):
        assert b64decode(entry.root) == independent_root(stored[: number + 1])
        text, _, line = entry.note.partition("\n\n")
        assert text == f"site\n{number + 1}\n{entry.root}"
        public.verify(b64decode(line.split(" ")[2])[4:], (text + "\n").encode())


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    reader = log.reader()
    assert len(list(reader)) == 3
    assert list(reader) == []
    log.append(operator(), "hold", hold("new"))
    assert [entry.body["reason"] for entry in reader] == ["new"]
    assert reader.head.size == 4


def test_what_is_no_entry_by_its_name_is_not_looked_at(tmp_path: Path) -> None:
    log = filled(tmp_path, 1)
    (tmp_path / "site" / "notes.txt").write_text("x")
    assert len(entries(log)) == 1


@pytest.mark.parametrize("index", range(4))
def test_every_flipped_bit_is_noticed_and_the_entry_named(tmp_path: Path, index: int) -> None:
    log = filled(tmp_path, 4)
    path = tmp_path / object_name(index)
    data = path.read_bytes()
    # Every byte, with one bit of it chosen by its place: all eight are had many times over.
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        with pytest.raises(SiteLogBroken) as caught:
            entries(log)
        assert caught.value.index == index, f"byte {at}"
        assert "\n" not in str(caught.value)
    path.write_bytes(data)
    assert len(entries(log)) == 4


def test_a_removed_entry_is_named(tmp_path: Path) -> None:
    log = filled(tmp_path, 4)
    (tmp_path / object_name(2)).unlink()
    with pytest.raises(SiteLogBroken, match=r"entry 2 \(site/000000000002.json\): it is not there") as caught:
        entries(log)
    assert caught.value.index == 2


def test_entries_that_changed_places_are_named(tmp_path: Path) -> None:
    log = filled(tmp_path, 4)
    one, two = tmp_path / object_name(1), tmp_path / object_name(2)
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    with pytest.raises(SiteLogBroken, match="it says that it is entry 2") as caught:
        entries(log)
    assert caught.value.index == 1


def test_an_entry_sealed_anew_by_its_author_breaks_the_one_behind_it(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    later = (tmp_path / object_name(2)).read_bytes()
    for number in (1, 2):
        (tmp_path / object_name(number)).unlink()
    log.append(operator(), "hold", hold("another"))
    (tmp_path / object_name(2)).write_bytes(later)
    with pytest.raises(SiteLogBroken, match="does not follow") as caught:
        entries(log)
    assert caught.value.index == 2


def test_an_entry_that_a_key_signed_in_anothers_name_is_named(tmp_path: Path) -> None:
    log, store = site_log(tmp_path)
    entry = log.append(operator(OTHER), "hold", hold())
    forged = replace(entry, key=str(OPERATOR.verifier))
    store.put(entry.name, forged.encode())
    with pytest.raises(SiteLogBroken, match="entry 0") as caught:
        entries(log)
    assert "no signature of a trusted key" in str(caught.value)


def test_an_entry_with_a_second_signature_is_refused(tmp_path: Path) -> None:
    log, store = site_log(tmp_path)
    entry = log.append(operator(), "hold", hold())
    note = entry.note + OTHER.signature(entry.checkpoint).line()
    store.put(entry.name, replace(entry, note=note).encode())
    with pytest.raises(SiteLogBroken, match="2 signatures"):
        entries(log)


def test_an_object_too_large_to_be_an_entry_is_not_fetched(tmp_path: Path) -> None:
    log = filled(tmp_path, 1)
    with (tmp_path / object_name(1)).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SiteLogBroken, match="1099511627776 bytes"):
        entries(log)


def test_nothing_is_appended_to_a_broken_log(tmp_path: Path) -> None:
    log = filled(tmp_path, 2)
    (tmp_path / object_name(0)).write_bytes(b"{}")
    with pytest.raises(SiteLogBroken, match="entry 0"):
        log.append(operator(), "hold", hold())
    assert not (tmp_path / object_name(2)).exists()


class Overtaken:
    """A store in which others append right before each put, `times` times."""

    def __init__(self, store: Store, times: int) -> None:
        self._store = store
        self.times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, name: str, data: bytes) -> bool:
        if self.times > 0:
            self.times -= 1
            open_site_log(self._store).append(operator(OTHER), "hold", hold("faster"))
        return self._store.put_new(name, data)


def test_a_writer_that_was_overtaken_seals_anew_behind_the_other(tmp_path: Path) -> None:
    _, store = site_log(tmp_path)
    entry = open_site_log(Overtaken(store, 3)).append(operator(), "hold", hold("slower"))
    assert entry.index == 3
    assert [each.body["reason"] for each in entries(open_site_log(store))] == ["faster"] * 3 + ["slower"]


def test_what_a_writer_decides_it_decides_anew_after_being_overtaken(tmp_path: Path) -> None:
    _, store = site_log(tmp_path)
    seen: list[list[str]] = []

    def body(new: Sequence[Entry]) -> dict[str, Any]:
        seen.append([entry.body["reason"] for entry in new])
        if len(seen) == 2:
            raise StoreError("a hold came in between")
        return hold("slower")

    with pytest.raises(StoreError, match="came in between"):
        open_site_log(Overtaken(store, 1)).append(operator(), "hold", body)
    assert seen == [[], ["faster"]]
    assert len(entries(open_site_log(store))) == 1


def test_a_writer_that_is_always_overtaken_gives_up_with_a_name_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "TRIES", 4)
    monkeypatch.setattr(log_module, "PAUSE_S", 0.0)
    _, store = site_log(tmp_path)
    with pytest.raises(ObjectExists, match="other writers were faster 4 times: try again"):
        open_site_log(Overtaken(store, 99)).append(operator(), "hold", hold())


class LostAnswer:
    """A store whose first put arrives, but whose answer is lost and which is then asked again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, name: str, data: bytes) -> bool:
        self._store.put_new(name, data)
        return self._store.put_new(name, data)


def test_an_entry_whose_answer_was_lost_is_appended_once(tmp_path: Path) -> None:
    _, store = site_log(tmp_path)
    entry = open_site_log(LostAnswer(store)).append(operator(), "hold", hold())
    assert entries(open_site_log(store)) == [entry]


def check_all_there(store: Store, writers: int, each: int) -> None:
    """No entry lost, no index twice, and reading verifies them all."""
    found = entries(open_site_log(store))
    assert [entry.index for entry in found] == list(range(writers * each))
    reasons = [entry.body["reason"] for entry in found]
    assert sorted(reasons) == sorted(
        f"{writer}/{number}" for writer in range(writers) for number in range(each)
    )
    for writer in range(writers):
        own = [reason for reason in reasons if reason.startswith(f"{writer}/")]
        assert own == [f"{writer}/{number}" for number in range(each)]


def write_in_threads(stores: Sequence[Store], each: int) -> None:
    failed: list[BaseException] = []
    start = threading.Barrier(len(stores))

    def write(writer: int) -> None:
        log = open_site_log(stores[writer])
        start.wait()
        try:
            for number in range(each):
                log.append(operator(), "hold", hold(f"{writer}/{number}"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_eight_writers_at_once_in_one_process(tmp_path: Path) -> None:
    write_in_threads([open_store(str(tmp_path)) for _ in range(8)], 6)
    check_all_there(open_store(str(tmp_path)), 8, 6)


def test_eight_writing_processes_at_once(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.site.writing_process", str(tmp_path), str(writer), "4"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0] * 8
    check_all_there(open_store(str(tmp_path)), 8, 4)


@pytest.fixture
def bucket(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in ADMINISTRATOR.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/site-{uuid4().hex}"


@pytest.mark.faults
def test_eight_writers_at_once_on_a_real_bucket(seaweed: Seaweed, bucket: str) -> None:
    options = replace(AUDITOR, endpoint=seaweed.endpoint, environment=ADMINISTRATOR.environment())
    write_in_threads([open_store(bucket, options) for _ in range(8)], 6)
    check_all_there(open_store(bucket, options), 8, 6)

"""A journal changes hands: to a newer image in the same pod, to the next pod of a StatefulSet, from an older version."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import msgpack  # type: ignore[import-untyped]
import pytest

from tests.journal.test_versions import GOLDEN, READ
from tests.support.dead_pods import Node
from tests.support.load import Load
from tests.support.running import ROOT, Sidecar, model_server, until
from tests.support.stored import stored_rows


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with model_server() as server:
        made = Node(tmp_path, server.port)
        try:
            yield made
        finally:
            made.end()


def of_version(pod: Sidecar, folder: Path, version: str) -> Sidecar:
    """The same pod's sidecar, its image changed in place: ports, journal and settings stay."""
    site = folder / version
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(f"import sidecar\nsidecar.__version__ = {version!r}\n")
    pod._environment["PYTHONPATH"] = f"{site}:{ROOT}"
    return pod


def genesis_leaves(store: Path) -> list[dict[str, object]]:
    return [json.loads(row["details"]) for row in stored_rows(store) if row["kind"] == "genesis"]


@pytest.mark.parametrize("end", [Sidecar.stop, Sidecar.kill_group], ids=["sigterm", "sigkill"])
def test_the_image_changes_in_place_and_back_and_every_answer_is_there_once(
    node: Node, tmp_path: Path, end: Callable[[Sidecar], object]
) -> None:
    pod = node.pod("u-1", batch_age="300ms", durability="before_response", hold_limit="60s", grace="5s")
    answered: set[str] = set()
    failed = 0
    versions = ["1.0", "1.1", "1.0"]
    for number, version in enumerate(versions):
        of_version(pod, tmp_path, version).start()
        with Load(pod.port, 4, prefix=f"v{number}") as load:
            load.more(150)
            end(pod)
        answered |= set(load.answered)
        failed += len(load.failed)
        assert pod.tracebacks() == []
    assert of_version(pod, tmp_path, "1.0").start().stop() == 0
    found = node.evidence()
    assert answered <= set(found.ids)
    assert found.missing_count <= failed, "at most what was in flight when it was killed"
    report = node.verify()
    assert all(log["intact"] for log in report["logs"])
    if end is Sidecar.stop:
        leaves = genesis_leaves(node.store)
        assert {leaf["version"] for leaf in leaves} == set(versions)
        # Whoever had been there before is named, so that a log that goes missing is missed.
        assert [leaf["boot"] for leaf in leaves if not leaf["previous"]] == [
            min(str(leaf["boot"]) for leaf in leaves)
        ]


def test_the_next_pod_of_a_statefulset_ships_what_the_one_before_it_left(node: Node, tmp_path: Path) -> None:
    claim = tmp_path / "claim" / "risk_fraud-0"
    claim.mkdir(parents=True)
    first = node.pod("u-1", journal=str(claim / "journal")).start()
    answered = node.load(first, "first", 40)
    first.kill_group()
    second = node.pod("u-2", journal=str(claim / "journal"), batch_age="300ms").start()
    answered |= node.load(second, "second", 40)
    assert second.stop() == 0
    assert set(node.evidence().ids) == answered
    node.verify()
    (taken,) = [
        leaf for leaf in genesis_leaves(node.store) if leaf["boot"] != str(leaf["origin"]).split(".")[-1]
    ]
    assert taken["pod_uid"] == "u-2", "under its own name, which its key is certified for"
    # By then the claim holds nothing for a drainer to do.
    shutil.rmtree(node.journals)
    claim.parent.rename(node.journals)
    assert node.drain().returncode == 0
    assert set(node.evidence().ids) == answered


@pytest.mark.parametrize("number", READ)
def test_a_journal_of_each_format_that_must_be_read_is_shipped(
    node: Node, tmp_path: Path, number: int
) -> None:
    with tarfile.open(GOLDEN / f"format-{number}.tar.gz") as archive:
        archive.extractall(tmp_path / "kept", filter="data")
    expected = json.loads((tmp_path / "kept" / "expected.json").read_text())
    (folder,) = (tmp_path / "kept").glob("*_*")
    told = folder / "journal" / "settings" / "settings.json"
    settings = json.loads(told.read_text())
    settings["settings"]["store"] = str(node.store)
    told.write_text(json.dumps(settings))
    folder.rename(node.journals / folder.name)
    done = node.drain()
    assert done.returncode == 0, done.stderr
    assert set(node.evidence().ids) == set(expected["ids"])
    heads = [bytes(row["request_head"]) for row in stored_rows(node.store) if row["request_head"]]
    assert heads
    assert not any(b"127.0.0.1" in head for head in heads), "its own rule was followed"


def test_what_a_rolled_back_sidecar_recorded_beside_a_newer_journal_is_drained(node: Node) -> None:
    pod = node.pod("u-1")
    pod.journal.mkdir()
    (pod.journal / "lock").write_text("sidecar-journal 99\n")
    within, pod.journal = pod.journal, pod.journal / "format-1"
    pod.start()
    answered = node.load(pod, "x", 20)
    pod.kill_group()
    done = node.drain()
    assert done.returncode == 1
    assert "format 99" in done.stderr
    assert set(node.evidence().ids) == answered, "what can be read is shipped"
    assert (within / "lock").read_text() == "sidecar-journal 99\n"


def test_what_a_rolled_back_sidecar_left_is_said_by_the_one_that_comes_back(node: Node) -> None:
    pod = node.pod("u-1")
    pod.journal.mkdir()
    (pod.journal / "lock").write_text("sidecar-journal 99\n")
    whole, pod.journal = pod.journal, pod.journal / "format-1"
    answered = node.load(pod.start(), "older", 20)
    pod.kill_group()
    # The newer one comes back: here, one that can read the journal.
    (whole / "lock").write_text("sidecar-journal 1\n")
    pod.journal = whole
    answered |= node.load(pod.start(), "newer", 20)
    assert pod.says(f"{whole / 'format-1'}: left by an older sidecar")
    assert pod.stop() == 0
    until(lambda: (node.drain().returncode == 0 and not node.left()) or None, "the rest")
    assert set(node.evidence().ids) == answered
    node.verify()


def test_an_analyst_that_cannot_read_a_newer_state_stops_no_traffic_and_loses_nothing(node: Node) -> None:
    pod = node.pod("u-1").start()
    answered = node.load(pod, "new", 20)
    pod.kill_group()
    newer = node.pod("u-2", journal=str(pod.journal))
    state = pod.journal / "analyst"
    version = set_version(state, 99)
    newer.launch()
    answered |= node.load(newer, "old", 20)
    until(lambda: newer.says("format 99, this build reads up to") or None, "the analyst's word")
    newer.kill_group()
    set_version(state, version)
    again = node.pod("u-1").start()
    assert again.stop() == 0
    assert set(node.evidence().ids) == answered


def set_version(state: Path, version: int) -> int:
    """Put another format number into the analyst's state; the one that was there."""
    with lmdb.open(str(state), lock=False) as environment, environment.begin(write=True) as transaction:
        before = int(msgpack.unpackb(transaction.get(b"version") or msgpack.packb(0)))
        transaction.put(b"version", msgpack.packb(version))
        return before

"""`sidecar drain` on journals that the real sidecar wrote: everything once, and `verify` is content."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from arro3.io import read_parquet

from tests.support.commands import sidecar
from tests.support.dead_pods import ENROL, Node
from tests.support.load import Load
from tests.support.running import Sidecar, fetch, model_server, until
from tests.support.stored import stored_rows


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with model_server() as server:
        made = Node(tmp_path, server.port)
        try:
            yield made
        finally:
            made.end()


def secret(path: Path, digits: str = "0f") -> str:
    path.write_text(digits * 32)
    path.chmod(0o400)
    return str(path)


def test_what_a_dead_pod_left_is_shipped_once_and_its_folder_goes(node: Node) -> None:
    answered = node.dead("u-1")
    done = node.drain()
    assert done.returncode == 0, done.stderr
    assert node.left() == []
    assert set(node.evidence().ids) == answered
    (log,) = [each for each in node.verify()["logs"] if each["origin"].count(".") == 6]
    assert log["origin"].startswith("_.risk.fraud.u-1.default."), "the drainer's own log, named after the pod"
    assert (log["enrolled_by"], log["closed"]) == (ENROL.name, True)
    genesis = json.loads(
        next(each for each in stored_rows(node.store) if each["kind"] == "genesis")["details"]
    )
    assert genesis["boot"] != genesis["origin"].rpartition(".")[2], "signed by another than who recorded"


def test_the_drainers_log_goes_on_from_the_dead_ones_last_checkpoint(node: Node) -> None:
    pod = node.pod("u-1", batch_age="3s").start()
    answered = node.load(pod, "early", 30)
    until(lambda: pod.status()["store"]["rows_shipped"] >= 30 or None, "the first batches")
    answered |= node.load(pod, "late", 30)
    pod.kill_group()
    shipped = set(node.evidence().ids)
    assert shipped < answered
    assert node.drain().returncode == 0
    assert set(node.evidence().ids) == answered
    node.verify()
    named = [json.loads(row["details"]) for row in stored_rows(node.store) if row["kind"] == "genesis"]
    (dead,) = [each for each in named if each["boot"] == pod.boot]
    (continued,) = [each["continues"] for each in named if each["continues"]]
    assert continued["origin"] == dead["origin"]
    assert continued["size"] >= len(shipped)


def test_a_pod_that_shipped_all_and_closed_its_log_leaves_nothing_to_do(node: Node) -> None:
    pod = node.pod("u-1").start()
    answered = node.load(pod, "x", 20)
    assert pod.stop() == 0
    files = sorted(node.store.rglob("*"))
    assert node.drain().returncode == 0
    assert node.left() == []
    assert sorted(node.store.rglob("*")) == files, "not a single object more"
    assert set(node.evidence().ids) == answered
    node.verify()


def test_what_was_in_flight_when_the_pod_was_killed_is_a_gap_with_its_count(node: Node) -> None:
    pod = node.pod("u-1").start()
    with Load(pod.port, 8, pause_s=0.0) as load:
        load.more(500)
        pod.kill_group()
    assert node.drain().returncode == 0
    found = node.evidence()
    missing = set(load.answered) - set(found.ids)
    assert len(missing) <= found.missing_count <= len(missing) + len(load.failed)
    assert set(found.reasons()) <= {"killed"}
    node.verify()


def test_a_living_pods_journal_is_left_alone(node: Node) -> None:
    alive = node.pod("u-1").start()
    answered = node.dead("u-2")
    done = node.drain()
    assert done.returncode == 0, done.stderr
    assert node.left() == [node.place("u-1").name]
    assert set(node.evidence().ids) == answered
    assert node.load(alive, "still", 5)
    assert alive.stop() == 0
    assert alive.tracebacks() == []
    node.verify()


def test_without_the_api_a_folder_that_was_just_written_is_left_alone(node: Node) -> None:
    node.dead("u-1", 5)
    done = node.drain("--after", "5m")
    assert done.returncode == 0, done.stderr
    assert node.left() == [node.place("u-1").name]
    old_s = time.time() - 600
    for path in (node.place("u-1"), *node.place("u-1").rglob("*")):
        os.utime(path, (old_s, old_s))
    # A container that starts again and again touches the lock, which alone must not count.
    os.utime(node.place("u-1") / "journal" / "lock")
    assert node.drain("--after", "5m").returncode == 0
    assert node.left() == []


def test_drained_twice_at_once_it_is_shipped_once(node: Node) -> None:
    answered = node.dead("u-1", 300) | node.dead("u-2", 300)
    both = [node.start_drain(), node.start_drain()]
    assert all(each.wait(120) in (0, 1) for each in both)
    assert node.drain().returncode == 0
    assert node.left() == []
    assert set(node.evidence().ids) == answered
    node.verify()


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_next_drain_ends_what_was_begun(node: Node, seed: int) -> None:
    answered = node.dead("u-1", 2000, batch_bytes="64KiB")
    chance = random.Random(seed)
    kills = 0
    for _ in range(12):
        drain = node.start_drain()
        try:
            # The first never comes far; the others anywhere, by how fast the machine is just now.
            drain.wait(0.2 + chance.random() * 1.2 * min(kills, 1))
        except subprocess.TimeoutExpired:
            kills += 1
            os.killpg(drain.pid, signal.SIGKILL)
            drain.wait()
        if not node.left():
            break
    until(lambda: (node.drain().returncode == 0 and not node.left()) or None, "the lock of what was killed")
    assert set(node.evidence().ids) == answered
    node.verify()
    assert kills


def test_killed_after_a_put_and_before_it_was_noted_the_object_is_put_once(
    node: Node, tmp_path: Path
) -> None:
    answered = node.dead("u-1", 50)
    journal = node.place("u-1") / "journal"
    away = node.store.rename(tmp_path / "away")
    drain = node.start_drain()
    until(lambda: "no such directory" in (tmp_path / "drain.log").read_text() or None, "the first try")
    os.killpg(drain.pid, signal.SIGKILL)
    drain.wait()
    # All is sealed and nothing put. Now everything is put, and the folder is as it was before.
    shutil.copytree(node.place("u-1"), tmp_path / "before", ignore=shutil.ignore_patterns("*.sock"))
    away.rename(node.store)
    until(lambda: (node.drain().returncode == 0 and not journal.exists()) or None, "the store back")
    assert not journal.exists()
    objects = sorted(node.store.rglob("*.parquet"))
    shutil.copytree(tmp_path / "before", node.place("u-1"))
    assert node.drain().returncode == 0
    assert [each for each in sorted(node.store.rglob("*.parquet")) if each in objects] == objects
    assert set(node.evidence().ids) == answered
    node.verify()


def test_killed_while_it_removes_the_folder_the_rest_goes_next_time(node: Node) -> None:
    half = node.journals / ".drained-risk_fraud-u-1_u-1"
    (half / "journal" / "analyst").mkdir(parents=True)
    (half / "journal" / "volume-00000001.lmdb").write_bytes(b"rest")
    assert node.drain().returncode == 0
    assert node.left() == []


def test_while_the_store_is_away_everything_stays(node: Node, tmp_path: Path) -> None:
    answered = node.dead("u-1", 50)
    away = node.store.rename(tmp_path / "away")
    done = node.drain("--timeout", "3s")
    assert done.returncode == 1
    assert "wait for the store" in done.stderr
    assert "Traceback" not in done.stderr
    assert node.left() == [node.place("u-1").name]
    away.rename(node.store)
    assert node.drain().returncode == 0
    assert set(node.evidence().ids) == answered
    node.verify()


def test_an_object_that_does_not_read_back_as_it_was_put_keeps_the_journal(
    node: Node, tmp_path: Path
) -> None:
    answered = node.dead("u-1", 20)
    # A disk that takes every byte and gives back others.
    shim = tmp_path / "site" / "sitecustomize.py"
    shim.parent.mkdir()
    shim.write_text(
        "import sidecar.shipping.directory as d\n"
        "whole = d.write_synced\n"
        "d.write_synced = lambda path, data: whole(path, bytes(len(data)))\n"
    )
    done = node.drain("--timeout", "3s", path=str(shim.parent))
    assert done.returncode == 1
    assert "reads back as" in done.stderr
    assert node.left() == [node.place("u-1").name]
    assert list((node.place("u-1") / "journal").glob("volume-*.lmdb")), "nothing of the journal is gone"
    shutil.rmtree(node.store)
    node.store.mkdir()
    assert node.drain().returncode == 0
    assert set(node.evidence().ids) == answered
    node.verify()


# --- by whose rules ---


def test_the_pods_redaction_rules_hold_for_what_the_drainer_ships(node: Node, tmp_path: Path) -> None:
    key = secret(tmp_path / "hash-key")
    rules = {
        "redact": "body:$.debt_ratio=drop",
        "hash_key": key,
        "keys": "person=body:$.id",
        "hash_keys": "on",
    }
    answered = node.dead("u-1", 20, **rules)
    assert node.drain("--hash-key", key).returncode == 0
    rows = [row for row in stored_rows(node.store) if row["kind"] == "exchange"]
    assert len(rows) == len(answered)
    assert not any(b"debt_ratio" in row["request_body"] for row in rows)
    assert all(len(dict(row["keys"])["person"]) == 64 for row in rows)
    node.verify()


@pytest.mark.parametrize(
    ("given", "words"), [((), "none was given"), (("--hash-key", "other-key"), "was given: give the same")]
)
def test_without_the_pods_key_nothing_is_shipped(
    node: Node, tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    secret(tmp_path / "other-key", "1e")
    node.dead("u-1", 5, redact="header:host=hash", hash_key=secret(tmp_path / "hash-key"))
    done = node.drain(*(str(tmp_path / each) if each == "other-key" else each for each in given))
    assert done.returncode == 1
    assert words in done.stderr
    assert stored_rows(node.store) == []
    assert node.left() == [node.place("u-1").name]


def test_a_journal_whose_rules_are_unknown_is_not_shipped(node: Node) -> None:
    node.dead("u-1", 5)
    answered = node.dead("u-2", 5)
    shutil.rmtree(node.place("u-1") / "journal" / "settings")
    done = node.drain()
    assert done.returncode == 1
    assert "redaction rules are unknown" in done.stderr
    assert node.left() == [node.place("u-1").name], "the other is not held up"
    assert set(node.evidence().ids) == answered


def test_encrypted_records_are_drained_encrypted(node: Node, tmp_path: Path) -> None:
    key = secret(tmp_path / "master-key")
    answered = node.dead("u-1", 20, master_key=key, subject="body:$.id", hash_key=key)
    assert node.drain("--master-key", key, "--hash-key", key).returncode == 0
    rows = [row for row in stored_rows(node.store) if row["kind"] == "exchange"]
    assert len(rows) == len(answered)
    assert all(row["wrapped_key"] and b"debt_ratio" not in row["request_body"] for row in rows)
    ran = sidecar("verify", "--store", node.store, "--master-key", key)
    assert ran.code == 0, ran.out


def test_a_pod_cannot_have_a_log_certified_in_anothers_name(node: Node) -> None:
    node.dead("u-1", 5)
    node.place("u-1").rename(node.place("u-2"))
    done = node.drain()
    assert done.returncode == 1
    assert "says pod_uid 'u-1', and is 'u-2''s" in done.stderr
    assert stored_rows(node.store) == []


def test_a_pod_cannot_send_the_drainer_to_a_store_of_its_own(node: Node, tmp_path: Path) -> None:
    node.dead("u-1", 5, store=str(tmp_path / "mine"))
    done = node.drain()
    assert done.returncode == 1
    assert f"is of store {tmp_path / 'mine'}: give --store" in done.stderr


def test_a_journal_whose_bodies_do_not_fit_is_not_shipped_with_less(node: Node) -> None:
    node.dead("u-1", 5)
    done = node.drain("--memory", "100MiB")
    assert done.returncode == 1
    assert "its bodies may need 167772160 bytes: give --memory" in done.stderr
    assert stored_rows(node.store) == []


def test_links_out_of_the_folder_are_refused(node: Node, tmp_path: Path) -> None:
    node.dead("u-1", 5)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept")
    (node.place("u-1") / "journal" / "aside").symlink_to(victim)
    done = node.drain()
    assert done.returncode == 1
    assert "no file or folder of a sidecar's" in done.stderr
    assert (victim / "file").read_text() == "kept"


def test_a_journal_of_a_newer_format_waits_for_a_newer_drainer(node: Node) -> None:
    node.dead("u-1", 5)
    lock = node.place("u-1") / "journal" / "lock"
    lock.write_text("sidecar-journal 99\npid 1\n")
    done = node.drain()
    assert done.returncode == 1
    assert "format 99" in done.stderr
    assert lock.read_text() == "sidecar-journal 99\npid 1\n"


def test_damaged_files_are_kept_when_the_rest_is_shipped(node: Node) -> None:
    node.dead("u-1", 50)
    (volume,) = (node.place("u-1") / "journal").glob("volume-*.lmdb")
    with volume.open("r+b") as file:
        file.truncate(8192)
    done = node.drain()
    assert done.returncode == 0, done.stderr
    assert node.left() == [f"aside.{node.place('u-1').name}"]
    found = node.evidence()
    assert found.missing_count >= 50
    node.verify()
    assert node.drain().returncode == 0, "it is not drained again"


def test_folders_without_a_journal_are_removed_only_when_empty(node: Node) -> None:
    node.place("u-1").mkdir()
    (node.place("u-2") / "journal").mkdir(parents=True)
    node.place("u-3").mkdir()
    (node.place("u-3") / "note").write_text("somebody's")
    (node.journals / "lost+found").mkdir()
    done = node.drain()
    assert done.returncode == 1
    assert node.left() == ["lost+found", node.place("u-3").name]


# --- what else a journal's folder holds ---


def test_labels_that_wait_are_shipped_too(node: Node) -> None:
    pod = node.pod("u-1").start()
    node.load(pod, "x", 5)
    label = json.dumps({"key": {"name": "id", "value": "x-1"}, "label": True})
    posted = sidecar_post(pod, "/api/v1/labels", label)
    assert posted == 202
    pod.kill_group()
    assert node.drain().returncode == 0
    assert list((node.store / "statistics" / "labels").rglob("*.parquet"))


def sidecar_post(pod: Sidecar, path: str, body: str) -> int:
    import urllib.request

    url = f"http://127.0.0.1:{pod.ports['admin']}{path}"
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


# --- the process ---


def test_a_watching_drainer_says_what_it_does_and_ends_on_sigterm(node: Node, tmp_path: Path) -> None:
    port = free_port()
    node.dead("u-0", 5)
    shutil.rmtree(node.place("u-0") / "journal" / "settings")
    drain = node.start_drain("--watch", "--every", "1s", "--after", "3s", "--admin", f"127.0.0.1:{port}")
    try:
        until(lambda: fetch(port, "/readyz")[0] == 200 or None, "the drainer")
        alive = node.pod("u-1").start()
        answered = node.dead("u-2", 30)
        until(lambda: node.place("u-2").name not in node.left() or None, "the orphan drained")
        until(lambda: 'sidecar_drain_journals{state="alive"} 1.0' in scrape(port) or None, "the living one")
        until(lambda: "sidecar_drain_drained_total 1.0" in scrape(port) or None, "the drained one")
        text = scrape(port)
        assert 'sidecar_drain_refused_journals{reason="rules"} 1.0' in text
        assert float(value(text, "sidecar_drain_rows_total")) >= len(answered)
        assert float(value(text, "sidecar_drain_oldest_seconds")) > 0
        assert fetch(port, "/healthz")[0] == 200
        drain.send_signal(signal.SIGTERM)
        assert drain.wait(30) == 0
    finally:
        if drain.poll() is None:
            os.killpg(drain.pid, signal.SIGKILL)
            drain.wait()
    assert "Traceback" not in (tmp_path / "drain.log").read_text()
    assert set(node.evidence().ids) == answered
    assert alive.stop() == 0
    node.verify()


def test_told_to_end_while_the_store_is_away_it_ends_within_its_grace(node: Node, tmp_path: Path) -> None:
    node.dead("u-1", 20)
    away = node.store.rename(tmp_path / "away")
    drain = node.start_drain("--watch", "--grace", "1s", "--admin", f"127.0.0.1:{free_port()}")
    until(lambda: "no such directory" in (tmp_path / "drain.log").read_text() or None, "the first try")
    began_s = time.monotonic()
    drain.send_signal(signal.SIGTERM)
    assert drain.wait(20) == 0
    assert time.monotonic() - began_s < 10
    away.rename(node.store)
    assert node.drain().returncode == 0
    node.verify()


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    ran = sidecar("drain", "--journals", tmp_path / "none", "--store", tmp_path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "give --journals its folder" in ran.err


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def scrape(port: int) -> str:
    return fetch(port, "/metrics")[1].decode()


def value(text: str, name: str) -> str:
    return next(line.split()[1] for line in text.splitlines() if line.startswith(name + " "))


def test_the_dead_pods_statistics_are_counted_to_the_end(node: Node, tmp_path: Path) -> None:
    rows = "".join(f"0.{number % 90 + 10},{number % 7},0.75\n" for number in range(400))
    (tmp_path / "t.csv").write_text("debt_ratio,score,probability\n" + rows)
    baseline, training = tmp_path / "b.json", tmp_path / "t.csv"
    made = sidecar("baseline", "create", "--from", training, "--outputs", "probability", "--out", baseline)
    assert made.code == 0, made.err
    answered = node.dead("u-1", 40, baseline_file=str(baseline))
    baseline.unlink()
    assert node.drain().returncode == 0
    panes = list((node.store / "statistics" / "panes").rglob("*.parquet"))
    counted: dict[int, int] = {}
    for path in panes:
        for batch in read_parquet(path):
            starts, counts = (batch.column(name).to_pylist() for name in ("pane_start_us", "exchanges"))
            counted |= dict(zip(starts, counts, strict=True))
    assert sum(counted.values()) == len(answered)


STEPS = {
    "accounted": ("sidecar.journal.writer", "JournalWriter", "close", "after"),
    "sealed": ("sidecar.shipping.state", "AnalystState", "commit", "before"),
    "committed": ("sidecar.shipping.state", "AnalystState", "commit", "after"),
    "stored": ("sidecar.shipping.directory", "DirectorySink", "put", "after"),
    "read back": ("sidecar.reading_back", "ReadingBack", "put", "after"),
    "noted": ("sidecar.shipping.state", "AnalystState", "shipped", "after"),
    "releasing": ("sidecar.journal.reader", "JournalReader", "release", "before"),
    "released": ("sidecar.journal.reader", "JournalReader", "release", "after"),
    "finished": ("sidecar.analyst", "Analyst", "finish", "after"),
    "shipped": ("sidecar.drain_shipping", "Shipping", "run", "after"),
    "looked": ("sidecar.drain_run", "", "_check_stored", "after"),
    "marked": ("sidecar.drain_run", "", "sync_folder", "after"),
}
"""Where a drain is killed: module, class, function, and on which side of its first call."""
KILLER = """
import importlib.abc, importlib.machinery, os, signal, sys

MODULE, CLASS, NAME, SIDE, MARK = {step!r}

def die():
    try:
        os.close(os.open(MARK, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.killpg(0, signal.SIGKILL)

def changed(module):
    holder = getattr(module, CLASS) if CLASS else module
    whole = getattr(holder, NAME)
    def instead(*arguments, **named):
        if SIDE == "before":
            die()
        result = whole(*arguments, **named)
        if hasattr(result, "__await__"):
            async def awaited():
                value = await result
                die()
                return value
            return awaited()
        die()
        return result
    setattr(holder, NAME, instead)

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def executed(module):
            run(module)
            changed(module)
        spec.loader.exec_module = executed
        return spec

import importlib.util
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_everything_is_there_once(node: Node, tmp_path: Path, step: str) -> None:
    answered = node.dead("u-1", 60)
    site = tmp_path / "site"
    site.mkdir()
    killer = KILLER.format(step=(*STEPS[step], str(tmp_path / "killed")))
    (site / "sitecustomize.py").write_text(killer)
    drain = node.start_drain(path=str(site))
    assert drain.wait(60) == -signal.SIGKILL
    assert (tmp_path / "killed").exists()
    until(lambda: (node.drain().returncode == 0 and not node.left()) or None, "the next drain")
    assert set(node.evidence().ids) == answered
    node.verify()

"""`sidecar erase` and `sidecar hold` over encrypted stores made of the real parts."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar import erasure
from sidecar.errors import Erased, StoreError
from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from sidecar.objects_directory import DirectoryStore
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.keys import SUBJECT_SEPARATOR
from sidecar.privacy.master import LocalMasterKey
from sidecar.privacy.opening import open_record
from sidecar.site.bodies import Erase, Hold, read, to_json
from sidecar.site.entry import Entry
from sidecar.site_log import KeyAuthor, open_site_log
from tests.support.commands import Ran, sidecar
from tests.support.sealed_store import PLACE, Encryption, LogMaker, Tampered

OPERATOR = SigningKey("operator.example", b"o" * 32)
STRANGER = SigningKey("stranger.example", b"s" * 32)
MASTER_BYTES = bytes(range(32))
MASTER = LocalMasterKey(MASTER_BYTES)
ADA, BOB, EVE = "ada@example.org", "bob@example.org", "eve@example.org"
OTHER_BOOT = "20261124T000000-bbbbbbbbbb"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path / "operator.key", OPERATOR)


@pytest.fixture
def master(tmp_path: Path) -> Path:
    return master_file(tmp_path / "master.key", MASTER_BYTES)


def key_file(path: Path, key: SigningKey) -> Path:
    path.write_text(key.private_text())
    return path


def master_file(path: Path, key: bytes) -> Path:
    path.write_text(key.hex())
    path.chmod(0o600)
    return path


def log(
    store: Path, *batches: tuple[str, ...], encryption: Encryption | None = None, **options: Any
) -> LogMaker:
    """A log with an exchange about each of these subjects, batch by batch."""
    made = LogMaker(
        store, SigningKey("log", b"1" * 32), encryption=encryption or Encryption(MASTER), **options
    )
    for number, subjects in enumerate(batches):
        if number:
            made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
        for subject in subjects:
            made.exchange(subject=subject)
        made.cut()
    return made


def erase(store: Path, key: Path, master: Path, subject: str, *more: object) -> tuple[Ran, Any]:
    ran = sidecar(
        *("erase", "--store", store, "--key", key, "--master-key", master, "--subject", subject, "--json"),
        *more,
    )
    assert len(ran.err.splitlines()) <= 1
    return ran, json.loads(ran.out) if ran.out else None


def hold(store: Path, key: Path, *more: object) -> Ran:
    return sidecar("hold", "--store", store, "--key", key, "--reason", "case 4711", *more)


def entries(store: Path) -> list[Entry]:
    return list(open_site_log(open_store(str(store))).reader())


def orders(store: Path) -> list[Erase]:
    found = [read(entry, Erase) for entry in entries(store)]
    return [each for each in found if each is not None]


def keys_of(store: Path, subject: str) -> int:
    tag = MASTER.tag(subject)
    found = [KeyObject.parse(path.read_bytes()) for path in (store / "subjects").iterdir()]
    return sum(len(each.ids(tag)) for each in found)


def opens(store: Path, name: str, seq: int) -> bytes | None:
    """The request body of one record, opened by whoever has the store and the master key."""
    opened = Tampered(store, name)
    keys = store / opened.metadata["keys"]
    row = opened.row(seq)
    return open_record(
        row, KeyObject.parse(keys.read_bytes()) if keys.exists() else None, MASTER
    ).request_body


def test_what_was_erased_opens_for_nobody_and_everything_else_still_does(
    store: Path, key: Path, master: Path
) -> None:
    made = log(store, (ADA, BOB), (BOB,), (ADA, EVE, ADA))
    assert opens(store, made.names[0], 1) == b'{"n":1}'
    ran, found = erase(store, key, master, ADA, "--reason", "request 12")
    assert (ran.code, len(found["objects"]), found["entries"], found["rewritten"]) == (0, 2, [0], 2)
    for name, seq in ((made.names[0], 1), (made.names[2], 4), (made.names[2], 6)):
        with pytest.raises(Erased):
            opens(store, name, seq)
    assert opens(store, made.names[0], 2) == b'{"n":2}'
    assert opens(store, made.names[1], 3) == b'{"n":3}'
    assert opens(store, made.names[2], 5) == b'{"n":5}'


def test_the_order_names_keys_and_objects_and_never_the_subject(store: Path, key: Path, master: Path) -> None:
    made = log(store, (ADA, BOB), (ADA,))
    before = [KeyObject.parse(path.read_bytes()) for path in sorted((store / "subjects").iterdir())]
    erase(store, key, master, ADA, "--reason", "request 12")
    (entry,) = entries(store)
    assert entry.key == str(OPERATOR.verifier)
    (order,) = orders(store)
    assert (order.tags, order.reason) == ({MASTER.id: MASTER.tag(ADA).hex()}, "request 12")
    assert [(each.batch, each.subject_key_ids) for each in order.objects] == [
        (each.batch, [key_id.hex() for key_id in each.ids(MASTER.tag(ADA))]) for each in before
    ]
    assert [each.name for each in order.objects] == [
        f"subjects/{made.origin}-L000000000000-000000000004.json",
        f"subjects/{made.origin}-L000000000005-000000000006.json",
    ]
    for path in store.rglob("*"):
        assert path.is_dir() or ADA.encode() not in path.read_bytes()


def test_verify_says_erased_and_stays_green(store: Path, key: Path, master: Path) -> None:
    made = log(store, (ADA, BOB))
    trust = ("--operator", OPERATOR.verifier)
    erase(store, key, master, ADA)
    ran = sidecar("verify", "--store", store, *trust, "--json")
    assert '"erased"' in ran.out
    for bad in ("keys removed", "forged erasure", "altered"):
        assert f'"{bad}"' not in ran.out
    path = store / f"subjects/{made.origin}-L000000000000-000000000004.json"
    path.write_bytes(
        KeyObject.parse(path.read_bytes()).without(frozenset()).to_bytes().replace(b'"id"', b'"id"')
    )
    keys = KeyObject.parse(path.read_bytes())
    path.write_bytes(keys.without(keys.ids(MASTER.tag(BOB))).to_bytes())
    ran = sidecar("verify", "--store", store, *trust, "--json")
    assert ran.code == 1
    assert '"keys removed"' in ran.out


def test_a_dry_run_changes_nothing(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA, BOB))
    ran, found = erase(store, key, master, ADA, "--dry-run")
    assert (ran.code, len(found["objects"]), found["rewritten"]) == (0, 1, 0)
    assert keys_of(store, ADA) == 1
    assert not (store / "site").exists()


def test_whoever_is_in_no_batch_is_said_to_be(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    ran, found = erase(store, key, master, EVE)
    assert (ran.code, found["objects"], found["entries"]) == (0, [], [0])
    (order,) = orders(store)
    assert (order.objects, order.tags) == ([], {MASTER.id: MASTER.tag(EVE).hex()})
    text = sidecar("erase", "--store", store, "--key", key, "--master-key", master, "--subject", EVE).out
    assert "no key of this subject is in the store" in text
    assert len(entries(store)) == 1


def test_another_request_for_the_same_person_is_ordered_by_itself(
    store: Path, key: Path, master: Path
) -> None:
    log(store, (ADA,))
    for reason, expected in (("request 1", [0]), ("request 1", []), ("request 2", [1]), ("request 2", [])):
        assert erase(store, key, master, EVE, "--reason", reason)[1]["entries"] == expected


def test_a_record_about_two_is_erased_for_either(store: Path, key: Path, master: Path) -> None:
    both = SUBJECT_SEPARATOR.join((ADA, BOB))
    made = log(store, (both, BOB))
    erase(store, key, master, ADA)
    with pytest.raises(Erased):
        opens(store, made.names[0], 1)
    assert opens(store, made.names[0], 2) is not None
    assert keys_of(store, BOB) == 1


def test_given_again_nothing_is_ordered_again(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA, BOB))
    erase(store, key, master, ADA)
    ran, found = erase(store, key, master, ADA)
    assert (ran.code, found["objects"], found["entries"], found["earlier_orders"]) == (0, [], [], [0])
    assert len(entries(store)) == 1


def test_what_arrives_later_is_found_the_next_time(store: Path, key: Path, master: Path) -> None:
    made = log(store, (ADA,))
    erase(store, key, master, ADA)
    made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
    made.exchange(subject=ADA)
    made.cut()
    assert keys_of(store, ADA) == 1
    ran, found = erase(store, key, master, ADA)
    assert (ran.code, found["entries"]) == (0, [1])
    assert keys_of(store, ADA) == 0


class Interrupted(DirectoryStore):
    """Fails at the n-th overwrite, as a run that is killed there."""

    at = 0

    def put(self, name: str, data: bytes) -> None:
        type(self).at -= 1
        if type(self).at < 0:
            raise StoreError("store: went away")
        super().put(name, data)


@pytest.mark.parametrize("written", [0, 1, 2])
def test_an_order_that_was_interrupted_is_finished_by_the_next_run(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    log(store, (ADA, BOB), (ADA,), (ADA, EVE))
    with monkeypatch.context() as patched:
        Interrupted.at = written
        patched.setattr(erasure, "for_command", lambda url: Interrupted(Path(url)))
        ran, _ = erase(store, key, master, ADA)
        assert (ran.code, ran.err) == (1, "sidecar: store: went away\n")
    assert len(orders(store)) == 1
    assert keys_of(store, ADA) == 3 - written
    ran, found = erase(store, key, master, ADA)
    assert (ran.code, found["entries"], found["rewritten"]) == (0, [], 3 - written)
    assert keys_of(store, ADA) == 0
    assert len(orders(store)) == 1
    assert (keys_of(store, BOB), keys_of(store, EVE)) == (1, 1)


def test_the_order_stands_before_any_key_is_gone(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, (ADA,))
    seen: list[int] = []

    class Watching(DirectoryStore):
        def put(self, name: str, data: bytes) -> None:
            seen.append(len(orders(store)))
            super().put(name, data)

    monkeypatch.setattr(erasure, "for_command", lambda url: Watching(Path(url)))
    erase(store, key, master, ADA)
    assert seen == [1]


def test_an_erasure_that_another_one_overwrites_is_done_again(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, (ADA, BOB, EVE))
    inside: list[str] = []

    class Overtaken(DirectoryStore):
        """Right before its first overwrite, somebody else erases BOB from start to end."""

        def put(self, name: str, data: bytes) -> None:
            if not inside:
                inside.append(name)
                with monkeypatch.context() as patched:
                    patched.setattr(erasure, "for_command", lambda url: DirectoryStore(Path(url)))
                    assert erase(store, key, master, BOB)[0].code == 0
                assert keys_of(store, BOB) == 0
            super().put(name, data)

    monkeypatch.setattr(erasure, "for_command", lambda url: Overtaken(Path(url)))
    ran, _ = erase(store, key, master, ADA)
    assert ran.code == 0
    assert inside
    # ADA's run wrote BOB's key back, saw BOB's order, and destroyed it again.
    assert (keys_of(store, ADA), keys_of(store, BOB), keys_of(store, EVE)) == (0, 0, 1)


def test_a_strangers_order_destroys_nothing(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA, BOB))
    bobs = next(iter((store / "subjects").iterdir()))
    ids = [each.hex() for each in KeyObject.parse(bobs.read_bytes()).ids(MASTER.tag(BOB))]
    forged = {
        "tags": {MASTER.id: MASTER.tag(BOB).hex()},
        "reason": None,
        "objects": [{"name": f"subjects/{bobs.name}", "batch": bobs.stem, "subject_key_ids": ids}],
        "journal_until_us": 0,
    }
    open_site_log(open_store(str(store))).append(KeyAuthor(STRANGER), "erase", forged)
    erase(store, key, master, ADA)
    assert (keys_of(store, ADA), keys_of(store, BOB)) == (0, 1)


def test_many_erasures_at_once_all_come_true(store: Path, tmp_path: Path, master: Path) -> None:
    people = [f"person {number}" for number in range(6)]
    log(store, tuple(people), tuple(people), (*people, EVE))
    start = threading.Barrier(len(people))
    codes: list[int] = []

    def run(number: int) -> None:
        from sidecar.erase_run import EraseRun
        from sidecar.subject_keys import tags_of

        opened = open_store(str(store))
        start.wait()
        made = EraseRun(
            opened, opened, KeyAuthor(OPERATOR), {str(OPERATOR.verifier)}, tags_of(people[number], [MASTER])
        )
        made.require_free()
        made.carry_out(None, 0)
        codes.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(people))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(len(people)))
    assert [keys_of(store, person) for person in people] == [0] * len(people)
    assert keys_of(store, EVE) == 1
    assert len(orders(store)) == len(people)


def test_key_objects_in_a_store_of_their_own(store: Path, key: Path, master: Path, tmp_path: Path) -> None:
    log(store, (ADA,))
    keys = tmp_path / "keys"
    keys.mkdir()
    (store / "subjects").rename(keys / "subjects")
    assert erase(store, key, master, ADA)[1]["objects"] == []
    ran, found = erase(store, key, master, ADA, "--keys-store", keys)
    assert (ran.code, len(found["objects"])) == (0, 1)
    assert keys_of(keys, ADA) == 0
    assert (store / "site").exists()


def test_key_objects_under_another_master_key_make_it_say_so(
    store: Path, key: Path, master: Path, tmp_path: Path
) -> None:
    log(store, (ADA,))
    other = LocalMasterKey(b"m" * 32)
    log(store, (ADA,), encryption=Encryption(other), boot=OTHER_BOOT)
    ran, found = erase(store, key, master, ADA)
    assert ran.code == 1
    assert found["other_master_keys"] == {other.id: 1}
    assert other.id in ran.err
    assert keys_of(store, ADA) == 0
    second = master_file(tmp_path / "second.key", b"m" * 32)
    ran, found = erase(store, key, master, ADA, "--master-key", second)
    assert (ran.code, len(found["objects"])) == (0, 1)
    assert set(orders(store)[-1].tags) == {MASTER.id, other.id}


def test_a_key_object_that_cannot_be_read_is_named(store: Path, key: Path, master: Path) -> None:
    made = log(store, (ADA,), (ADA,))
    path = store / f"subjects/{made.origin}-L000000000000-000000000003.json"
    path.write_bytes(b"{")
    ran, found = erase(store, key, master, ADA)
    assert (ran.code, len(found["objects"])) == (1, 1)
    assert path.name in ran.err


def test_batches_without_keys_are_counted(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    plain = LogMaker(store, SigningKey("log", b"2" * 32), boot=OTHER_BOOT)
    plain.exchanges(2)
    plain.next()
    plain.close()
    assert erase(store, key, master, ADA)[1]["batches_without_keys"] == 1


def test_batches_without_exchanges_have_nothing_to_open_and_are_not_counted(
    store: Path, key: Path, master: Path
) -> None:
    made = log(store, (ADA,))
    made.encryption = None
    for kind in ("heartbeat", "heartbeat"):
        made.add(kind, details={})
        made.cut()
    made.gap(3)
    made.cut()
    assert erase(store, key, master, ADA)[1]["batches_without_keys"] == 0


MINUTE_US = 60_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def wait(monkeypatch: pytest.MonkeyPatch, minutes: int = 5) -> None:
    later_us = now_us() + minutes * MINUTE_US
    monkeypatch.setattr(erasure, "time", SimpleNamespace(time_ns=lambda: later_us * 1000))


def test_the_estimate_is_made_of_the_sidecars_own_settings(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    began_us = now_us()
    found = erase(store, key, master, ADA)[1]
    assert 0 <= found["journal_until_us"] - began_us - (3600 + 30 + 20) * 1_000_000 < MINUTE_US
    assert orders(store)[0].journal_until_us == found["journal_until_us"]
    again = erase(store, key, master, ADA, "--volume-age", "10m", "--batch-age", "5m")[1]
    assert 0 <= again["journal_until_us"] - began_us - (600 + 300 + 20) * 1_000_000 < MINUTE_US


def test_an_erasure_is_complete_only_when_every_log_has_come_past_the_order(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(store, (BOB,))
    long_ago = log(store, (BOB,), boot=OTHER_BOOT, route="closed")
    long_ago.close()
    found = erase(store, key, master, ADA)[1]
    assert (found["complete"], found["settled_before_us"], found["logs"]) == (False, None, 2)
    assert found["waiting_for"] == [{"origin": made.origin, "newest_us": made.t_us}]
    order_us = entries(store)[0].t_us
    # By the clock everything has long been shipped.
    later_us = found["journal_until_us"] + 60 * MINUTE_US
    later = SimpleNamespace(time_ns=lambda: later_us * 1000)
    monkeypatch.setattr(erasure, "time", later)
    assert erase(store, key, master, ADA)[1]["complete"] is False
    text = sidecar("erase", "--store", store, "--key", key, "--master-key", master, "--subject", ADA).out
    assert "is erased" not in text
    assert made.origin in text
    assert long_ago.origin not in text
    # It was slow: what it had recorded before the order comes only now.
    made.t_us = order_us - MINUTE_US
    details = {"name": made.names[-1], "sha256": made.last_sha256}
    made.add("batch", details=details, t_request_us=later_us)
    made.exchange(subject=ADA)
    made.cut()
    found = erase(store, key, master, ADA)[1]
    assert (found["complete"], len(found["objects"]), found["entries"]) == (False, 1, [1])
    assert keys_of(store, ADA) == 0
    made.add("heartbeat", details={}, t_request_us=order_us + 5 * MINUTE_US)
    made.cut()
    found = erase(store, key, master, ADA)[1]
    assert (found["complete"], found["waiting_for"], found["ordered_us"]) == (True, [], order_us)
    assert found["settled_before_us"] >= order_us
    text = sidecar("erase", "--store", store, "--key", key, "--master-key", master, "--subject", ADA).out
    assert "that was recorded before" in text
    assert "not complete" not in text


def test_a_store_without_logs_says_nothing_of_what_is_under_way(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert erase(store, key, master, ADA)[1]["complete"] is False
    wait(monkeypatch)
    found = erase(store, key, master, ADA)[1]
    assert (found["complete"], found["settled_before_us"], found["earlier_orders"]) == (False, None, [0])
    text = sidecar("erase", "--store", store, "--key", key, "--master-key", master, "--subject", ADA).out
    assert "not complete yet" in text


def test_logs_that_have_ended_do_not_speak_for_one_that_just_began(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, (BOB,)).close()
    assert erase(store, key, master, ADA)[1]["complete"] is False
    wait(monkeypatch)
    assert erase(store, key, master, ADA)[1]["complete"] is True
    assert erase(store, key, master, ADA, "--batch-age", "10m")[1]["complete"] is False


def test_a_record_that_is_hardly_younger_than_the_order_does_not_make_it_complete(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(store, (BOB,))
    erase(store, key, master, ADA)
    wait(monkeypatch, 60)
    made.t_us = entries(store)[0].t_us + MINUTE_US
    made.exchange(subject=BOB)
    made.cut()
    assert erase(store, key, master, ADA)[1]["complete"] is False
    made.t_us += MINUTE_US
    made.exchange(subject=BOB)
    made.cut()
    assert erase(store, key, master, ADA)[1]["complete"] is True
    assert erase(store, key, master, ADA, "--batch-age", "5m")[1]["complete"] is False


def test_a_later_boot_of_the_pod_speaks_for_the_one_before_it(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log(store, (BOB,))
    erase(store, key, master, ADA)
    wait(monkeypatch)
    now = entries(store)[0].t_us + 10 * MINUTE_US
    log(store, (BOB,), boot=OTHER_BOOT, dead_boot=first.boot)
    assert len(erase(store, key, master, ADA)[1]["waiting_for"]) == 2
    log(store, (BOB,), boot=OTHER_BOOT, t_us=now)
    assert erase(store, key, master, ADA)[1]["complete"] is True


def test_a_pod_that_is_gone_for_good_is_not_waited_for_once_it_is_retired(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, (BOB,))
    assert erase(store, key, master, ADA)[1]["complete"] is False
    wait(monkeypatch)
    where = ("--namespace", PLACE.namespace, "--workload", PLACE.workload)
    pod = ("--pod", PLACE.pod_uid, "--cluster", PLACE.cluster, *where)
    for more in ((), ("--retire",)):
        assert erase(store, key, master, ADA)[1]["complete"] is False
        assert sidecar("keys", "enrol", "--store", store, "--key", key, *pod, *more).code == 0
    assert erase(store, key, master, ADA)[1]["complete"] is True


def test_an_enrolled_pod_without_a_log_is_waited_for(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, (BOB,)).close()
    pod = ("keys", "enrol", "--store", store, "--key", key, "--pod", "another")
    assert sidecar(*pod).code == 0
    erase(store, key, master, ADA)
    wait(monkeypatch)
    assert erase(store, key, master, ADA)[1]["waiting_for"] == [
        {"origin": "_._._.another", "newest_us": None}
    ]
    assert sidecar(*pod, "--retire").code == 0
    assert erase(store, key, master, ADA)[1]["complete"] is True


def test_a_batch_that_cannot_be_read_tells_nothing(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(store, (BOB,), t_us=now_us() + 60 * MINUTE_US)
    erase(store, key, master, ADA)
    wait(monkeypatch)
    assert erase(store, key, master, ADA)[1]["complete"] is True
    (store / made.names[-1]).write_bytes(b"PAR1")
    ran, found = erase(store, key, master, ADA)
    assert (ran.code, found["complete"]) == (0, False)
    assert found["waiting_for"] == [{"origin": made.origin, "newest_us": None}]


def test_the_text_for_people(store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(store, (ADA, BOB))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ADA}\n"))
    ran = sidecar("erase", "--store", store, "--key", key, "--master-key", master, "--subject", "-")
    assert ran.code == 0
    assert "destroyed 1 keys in 1 key objects; ordered by site log entry 0" in ran.out
    assert "give the command again when they have shipped" in ran.out
    assert ADA not in ran.out


@pytest.mark.parametrize("subject", ["", "\ud800"])
def test_a_subject_that_is_none_is_a_usage_error(store: Path, key: Path, master: Path, subject: str) -> None:
    assert erase(store, key, master, subject)[0].code == 2


def test_a_reason_that_names_the_subject_is_refused(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    ran, _ = erase(store, key, master, ADA, "--reason", f"{ADA} wrote to us")
    assert ran.code == 2
    assert ADA not in ran.err
    ran = sidecar(
        *(
            "hold",
            "--store",
            store,
            "--key",
            key,
            "--subject",
            ADA,
            "--master-key",
            master,
            "--reason",
            f"of {ADA}",
        )
    )
    assert ran.code == 2
    assert not (store / "site").exists()


def test_a_master_key_file_that_is_none_is_a_usage_error(store: Path, key: Path, tmp_path: Path) -> None:
    for text in ("", "x", "00"):
        assert erase(store, key, master_file_with(tmp_path / "m", text), ADA)[0].code == 2
    assert erase(store, key, tmp_path / "none", ADA)[0].code == 2
    assert sidecar("erase", "--store", store, "--key", key, "--subject", ADA).code == 2


def master_file_with(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_hold_on_the_subject_blocks_with_its_reason_until_released(
    store: Path, key: Path, master: Path
) -> None:
    log(store, (ADA, BOB))
    placed = hold(store, key, "--subject", ADA, "--master-key", master, "--json")
    assert json.loads(placed.out) == {"hold": 0, "object": "site/000000000000.json", "already_erased_by": []}
    ran, _ = erase(store, key, master, ADA)
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "case 4711" in ran.err
    assert ADA not in ran.err
    assert keys_of(store, ADA) == 1
    assert orders(store) == []
    assert erase(store, key, master, BOB)[0].code == 0
    assert hold(store, key, "--subject", ADA, "--master-key", master, "--release").code == 0
    assert erase(store, key, master, ADA)[0].code == 0
    assert keys_of(store, ADA) == 0


def test_a_hold_blocks_even_where_the_store_has_nothing_of_the_subject_yet(
    store: Path, key: Path, master: Path
) -> None:
    hold(store, key, "--subject", EVE, "--master-key", master)
    assert erase(store, key, master, EVE)[0].code == 1


def test_a_hold_on_one_blocks_a_record_that_is_about_two(store: Path, key: Path, master: Path) -> None:
    log(store, (SUBJECT_SEPARATOR.join((ADA, BOB)),))
    hold(store, key, "--subject", BOB, "--master-key", master)
    assert erase(store, key, master, ADA)[0].code == 1
    assert keys_of(store, ADA) == 1


def test_a_hold_on_a_model_blocks_what_is_about_it(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    log(store, (BOB,), model="fraud detection", boot=OTHER_BOOT)
    hold(store, key, "--model", "fraud detection")
    assert erase(store, key, master, BOB)[0].code == 1
    assert erase(store, key, master, ADA)[0].code == 0


def test_a_hold_on_a_record_blocks_its_subject_and_no_other(store: Path, key: Path, master: Path) -> None:
    made = log(store, (ADA, BOB, EVE))
    hold(store, key, "--record", f"{made.log}.2")
    assert erase(store, key, master, BOB)[0].code == 1
    assert erase(store, key, master, ADA)[0].code == 0
    assert keys_of(store, BOB) == 1


def test_a_hold_on_the_delivery_of_a_record_blocks_its_subject(store: Path, key: Path, master: Path) -> None:
    made = log(store, (ADA, BOB))
    hold(store, key, "--record", f"{made.log}.2-delivery")
    assert erase(store, key, master, BOB)[0].code == 1
    assert erase(store, key, master, ADA)[0].code == 0


def test_a_hold_under_a_master_key_that_is_not_at_hand_blocks(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    body = to_json(Hold(scope="subject", tags={"other": "00" * 32}, reason="x"))
    open_site_log(open_store(str(store))).append(KeyAuthor(OPERATOR), "hold", body)
    assert erase(store, key, master, ADA)[0].code == 1


def test_a_hold_placed_while_it_runs_blocks(
    store: Path, key: Path, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, (ADA,))
    from sidecar.erase_run import EraseRun

    real = EraseRun.require_free

    def require_free(self: EraseRun) -> None:
        real(self)
        if not entries(store):
            hold(store, key, "--model", "mortgage")

    monkeypatch.setattr(EraseRun, "require_free", require_free)
    ran, _ = erase(store, key, master, ADA)
    assert ran.code == 1
    assert "case 4711" in ran.err
    assert keys_of(store, ADA) == 1
    assert orders(store) == []


def test_a_release_by_another_key_counts_only_where_it_is_trusted(
    store: Path, key: Path, master: Path, tmp_path: Path
) -> None:
    log(store, (ADA,))
    stranger = key_file(tmp_path / "stranger.key", STRANGER)
    court = key_file(tmp_path / "court.key", SigningKey("court.example", b"c" * 32))
    hold(store, court, "--model", "mortgage")
    said = hold(store, stranger, "--model", "mortgage", "--release")
    assert "counts only where your key is believed (--operator)" in said.out
    assert erase(store, key, master, ADA)[0].code == 1
    assert erase(store, key, master, ADA, "--operator", STRANGER.verifier)[0].code == 0


@pytest.mark.parametrize("command", ["erase", "hold", "retain"])
def test_the_keys_whose_entries_are_believed_are_called_operators(command: str) -> None:
    shown = sidecar(command, "--help").out
    assert "--operator KEY" in shown
    assert "--trust" not in shown
    used = sidecar(command, "--trust", "x", "--store", "/none")
    assert "No such option" not in used.err


def test_a_hold_on_a_model_that_has_no_records_is_placed_with_a_warning(store: Path, key: Path) -> None:
    log(store, (ADA,), model="fraud detection")
    ran = hold(store, key, "--model", "nosuchmodel")
    assert (ran.code, ran.out) == (0, "hold 0 placed\n")
    assert "'nosuchmodel': the store has no records of it" in ran.err
    ran = hold(store, key, "--model", "fraud detection")
    assert (ran.code, ran.out, ran.err) == (0, "hold 1 placed\n", "")


def test_the_holds_that_stand_are_listed(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    hold(store, key, "--model", "mortgage")
    hold(store, key, "--record", "b.r.17")
    hold(store, key, "--subject", ADA, "--master-key", master)
    hold(store, key, "--model", "mortgage", "--release")
    lines = [
        json.loads(line) for line in sidecar("hold", "--store", store, "--list", "--json").out.splitlines()
    ]
    assert [(line["hold"], line["scope"], line["record"]) for line in lines] == [
        (1, "record", "b.r.17"),
        (2, "subject", None),
    ]
    text = sidecar("hold", "--store", store, "--list").out
    assert "legal hold 1 on record b.r.17: case 4711" in text
    assert ADA not in text


def test_placing_a_hold_on_somebody_erased_before_says_so(store: Path, key: Path, master: Path) -> None:
    log(store, (ADA,))
    erase(store, key, master, ADA)
    assert "was erased before, by entry 0" in hold(store, key, "--subject", ADA, "--master-key", master).out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--model", "a", "--record", "b.r.1"),
        ("--subject", ADA),
        ("--record", "no id"),
        ("--list", "--model", "a"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_two(store: Path, key: Path, arguments: tuple[str, ...]) -> None:
    ran = hold(store, key, *arguments)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert not (store / "site").exists()


def test_a_hold_needs_a_key_and_a_reason(store: Path, key: Path) -> None:
    assert sidecar("hold", "--store", store, "--model", "a", "--reason", "x").code == 2
    assert sidecar("hold", "--store", store, "--model", "a", "--key", key).code == 2


def test_releasing_what_does_not_stand_is_a_failure(store: Path, key: Path) -> None:
    ran = hold(store, key, "--model", "a", "--release")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "--list" in ran.err

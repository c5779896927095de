"""`sidecar retain` over sealed stores; afterwards `sidecar verify` must tell removed from taken away."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sidecar import retention
from sidecar.audit.ranges import Range, frontier
from sidecar.errors import StoreError
from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from sidecar.objects_directory import DirectoryStore
from sidecar.privacy.master import LocalMasterKey
from sidecar.site.bodies import Hold, Release, Retention, read, to_json
from sidecar.site.removed import removals
from sidecar.site_log import KeyAuthor, open_site_log
from tests.support.commands import Ran, sidecar
from tests.support.sealed_store import DAY_US, Encryption, LogMaker, Tampered, encode, tamper

OPERATOR = SigningKey("operator.example", b"o" * 32)
STRANGER = SigningKey("stranger.example", b"s" * 32)
MASTER = LocalMasterKey(bytes(range(32)))
NOW_US = time.time_ns() // 1000
BOOT = "20250101T000000-aaaaaaaaaa"
OTHER_BOOT = "20250101T000000-bbbbbbbbbb"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "operator.key"
    file.write_text(OPERATOR.private_text())
    return file


def log(store: Path, days_ago: tuple[int, ...] = (500, 450, 300, 1), **options: Any) -> LogMaker:
    """One batch for each of these days, closed with the last."""
    made = LogMaker(
        store,
        SigningKey("log", options.pop("seed", b"1") * 32),
        boot=options.pop("boot", BOOT),
        t_us=NOW_US - days_ago[0] * DAY_US,
        **options,
    )
    for number, days in enumerate(days_ago):
        made.t_us = NOW_US - days * DAY_US
        if number:
            made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
        made.exchanges(4 + number, subject=f"person {number}")
        if number == len(days_ago) - 1:
            made.add("close", details={"size": made.frontier.size})
        made.cut()
    return made


def retain(
    store: Path, key: Path, *more: object, model: str = "mortgage", age: str = "400d"
) -> tuple[Ran, Any]:
    ran = sidecar(
        "retain", "--store", store, "--key", key, "--model", model, "--older-than", age, "--json", *more
    )
    assert len(ran.err.splitlines()) <= 1
    return ran, json.loads(ran.out) if ran.out else None


def left(store: Path) -> set[str]:
    return {str(path.relative_to(store)) for path in (store / "records").rglob("*.parquet")}


def place(store: Path, hold: Hold, author: SigningKey = OPERATOR) -> int:
    return open_site_log(open_store(str(store))).append(KeyAuthor(author), "hold", to_json(hold)).index


def leaves(store: Path) -> list[Retention]:
    found = [read(entry, Retention) for entry in open_site_log(open_store(str(store))).reader()]
    return [each for each in found if each is not None]


def test_without_yes_nothing_changes_and_everything_is_said(store: Path, key: Path) -> None:
    made = log(store)
    ran, found = retain(store, key)
    assert ran.code == 0
    (model,) = found["models"]
    assert (model["files"], model["records"], model["blocked"]) == (2, 9, None)
    assert model["rows"] == 9 + 4  # genesis, config, identity, batch
    assert model["bytes"] == sum((store / name).stat().st_size for name in made.names[:2])
    assert model["t_min_us"] == NOW_US - 500 * DAY_US
    assert model["t_max_us"] < NOW_US - 449 * DAY_US
    assert model["ranges"][0]["objects"] == made.names[:2]
    assert (found["carried_out"], found["removed"], found["entries"]) == (False, 0, [])
    assert left(store) == set(made.names)
    assert not (store / "site").exists()


def test_what_is_said_for_people_has_files_records_bytes_and_dates(store: Path, key: Path) -> None:
    log(store)
    ran = sidecar("retain", "--store", store, "--key", key, "--model", "mortgage", "--older-than", "400d")
    assert "2 files, 9 records" in ran.out
    assert " bytes, 20" in ran.out
    assert "nothing was removed: --yes removes it" in ran.out


def test_old_batches_go_and_the_site_log_has_what_proves_the_rest(store: Path, key: Path) -> None:
    made = log(store)
    data = [(store / name).read_bytes() for name in made.names[:2]]
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"], found["entries"]) == (0, 2, [0])
    assert left(store) == set(made.names[2:])
    (body,) = leaves(store)
    assert (body.model, body.older_than_us, body.shorter_than_six_months) == ("mortgage", 400 * DAY_US, False)
    (gone,) = body.ranges
    assert (gone.origin, gone.first_leaf, gone.rows, gone.exchanges) == (made.origin, 0, 13, 9)
    assert (gone.first_seq, gone.last_seq, gone.last_leaf) == (1, 9, 12)
    assert [(each.name, each.sha256, each.bytes) for each in gone.objects] == [
        (name, sha256(each).hexdigest(), len(each)) for name, each in zip(made.names[:2], data, strict=True)
    ]
    # Both ways into the rest: the subtrees of what went, and the tree behind it.
    tree = Range()
    tree.push((level, b64decode(node)) for level, node in gone.subtrees)
    behind = frontier(gone.size, [b64decode(node) for node in gone.frontier])
    assert behind is not None
    assert tree.root() == behind.root() == b64decode(gone.root)
    assert f"{made.origin}\n13\n{gone.root}\n" in gone.checkpoint


def verify(store: Path, *more: object) -> tuple[int, str]:
    ran = sidecar("verify", "--store", store, "--operator", OPERATOR.verifier, "--json", *more)
    return ran.code, ran.out


def test_verify_tells_what_retention_removed_from_what_somebody_took(store: Path, key: Path) -> None:
    made = log(store)
    assert retain(store, key, "--yes")[0].code == 0
    code, out = verify(store)
    assert '"retention"' in out
    assert '"removed"' not in out
    assert '"altered"' not in out
    (store / made.names[2]).unlink()
    code, out = verify(store)
    assert code == 1
    assert '"removed"' in out


def test_a_log_that_is_removed_whole_leaves_no_failure(store: Path, key: Path) -> None:
    log(store, (500, 450))
    assert retain(store, key, "--yes")[0].code == 0
    assert left(store) == set()
    code, out = verify(store)
    assert '"removed"' not in out
    assert '"truncated"' not in out
    assert code == 0, out


def test_a_second_run_goes_on_behind_the_first(store: Path, key: Path) -> None:
    made = log(store, (500, 450, 430, 420, 1))
    retain(store, key, "--yes", age="460d")
    ran, found = retain(store, key, "--yes", age="425d")
    assert (ran.code, found["removed"]) == (0, 2)
    assert left(store) == set(made.names[3:])
    ranges = [each.range for each in removals(open_site_log(open_store(str(store))).reader())[made.origin]]
    assert [(each.first_leaf, each.last_leaf) for each in ranges] == [(0, 6), (7, 19)]
    assert retain(store, key, "--yes", age="425d")[1]["removed"] == 0
    assert '"removed"' not in verify(store)[1]


def test_a_witness_goes_on_over_what_was_removed(store: Path, key: Path, tmp_path: Path) -> None:
    made = log(store, (500, 450, 1))
    seer = tmp_path / "witness.key"
    seer.write_text(SigningKey("witness.example", b"w" * 32).private_text())
    assert sidecar("witness", "--store", store, "--key", seer).code == 0
    retain(store, key, "--yes")
    assert sidecar("witness", "--store", store, "--key", seer).code == 0
    assert sidecar("witness", "--store", store, "--key", seer, "--from-start").code == 0
    fresh = tmp_path / "fresh.key"
    fresh.write_text(SigningKey("fresh.example", b"f" * 32).private_text())
    ran = sidecar("witness", "--store", store, "--key", fresh, "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["cosigned"]) == (0, 1)
    assert found["retention_believed_of"] == [str(OPERATOR.verifier)]
    # Removed, but not on this operator's word.
    ran = sidecar(
        "witness", "--store", store, "--key", fresh, "--operator", STRANGER.verifier, "--from-start"
    )
    assert ran.code == 1
    assert made.origin in ran.out


def test_a_witness_that_stopped_in_the_middle_of_what_was_removed_goes_on(
    store: Path, key: Path, tmp_path: Path
) -> None:
    made = log(store, (500, 450, 1))
    late = store / made.names[1]
    data = late.read_bytes(), (store / made.names[2]).read_bytes()
    late.unlink()
    (store / made.names[2]).unlink()
    seer = tmp_path / "witness.key"
    seer.write_text(SigningKey("witness.example", b"w" * 32).private_text())
    witness = ("witness", "--store", store, "--key", seer, "--json")
    assert sidecar(*witness).code == 0
    for name, each in zip(made.names[1:], data, strict=True):
        (store / name).write_bytes(each)
    assert retain(store, key, "--yes")[1]["removed"] == 2
    ran = sidecar(*witness)
    assert (ran.code, json.loads(ran.out)["cosigned"]) == (0, 1)
    assert sidecar(*witness, "--from-start").code == 0


def test_models_are_apart(store: Path, key: Path) -> None:
    one, two = log(store), log(store, model="fraud", boot=OTHER_BOOT, seed=b"2")
    assert retain(store, key, "--yes", model="fraud")[1]["removed"] == 2
    assert left(store) == {*one.names, *two.names[2:]}


def test_a_log_with_two_models_loses_the_batches_of_one_and_still_verifies(store: Path, key: Path) -> None:
    made = LogMaker(store, SigningKey("log", b"1" * 32), boot=BOOT, t_us=NOW_US - 500 * DAY_US)
    for model in ("mortgage", "fraud", "mortgage", "fraud"):
        if made.names:
            made.model, made.epoch = model, made.epoch + 1
            made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
            made.identity()
        made.exchanges(5)
        made.cut()
    assert retain(store, key, "--yes")[1]["removed"] == 2
    assert left(store) == {made.names[1], made.names[3]}
    assert len(leaves(store)) == 2
    out = verify(store)[1]
    assert '"removed"' not in out
    assert '"altered"' not in out


def test_a_batch_with_one_row_that_is_young_enough_stays(store: Path, key: Path) -> None:
    made = LogMaker(store, SigningKey("log", b"1" * 32), boot=BOOT, t_us=NOW_US - 500 * DAY_US)
    made.exchanges(3)
    made.t_us = NOW_US - 10 * DAY_US
    made.exchange()
    made.cut()
    assert retain(store, key, "--yes")[1]["removed"] == 0
    assert left(store) == set(made.names)


@pytest.mark.parametrize("age", ["183d", "1h", "30d"])
def test_less_than_six_months_takes_the_flag_that_says_so(store: Path, key: Path, age: str) -> None:
    made = log(store, (500, 400))
    ran, _ = retain(store, key, "--yes", age=age)
    assert ran.code == 2
    assert "--allow-shorter-than-six-months" in ran.err
    assert left(store) == set(made.names)
    ran, found = retain(store, key, "--yes", "--allow-shorter-than-six-months", age=age)
    assert (ran.code, found["removed"]) == (0, 2)
    assert leaves(store)[0].shorter_than_six_months


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--model", "m"),
        ("--older-than", "400d"),
        ("--model", "m", "--older-than", "400"),
        ("--model", "m", "--older-than", "0"),
        ("--model", "m", "--older-than", "x"),
        ("--policy", "none.yaml"),
        ("--policy", "none.yaml", "--model", "m"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_two(store: Path, key: Path, arguments: tuple[str, ...]) -> None:
    ran = sidecar("retain", "--store", store, "--key", key, *arguments)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)


def test_a_policy_names_models_and_a_default_for_the_others(store: Path, key: Path, tmp_path: Path) -> None:
    made = [
        log(store),
        log(store, model="fraud", boot=OTHER_BOOT, seed=b"2"),
        log(store, model="a/b: c", boot="20250101T000000-cccccccccc", seed=b"3"),
    ]
    policy = tmp_path / "policy.yaml"
    policy.write_text("models:\n  mortgage: 480d\n  fraud: 600d\ndefault: 200d\n")
    ran = sidecar("retain", "--store", store, "--key", key, "--policy", policy, "--yes", "--json")
    files = {each["model"]: each["files"] for each in json.loads(ran.out)["models"]}
    assert (ran.code, files) == (0, {"mortgage": 1, "fraud": 0, "a/b: c": 3})
    assert left(store) == {*made[0].names[1:], *made[1].names, *made[2].names[3:]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "x",
        "models: 3",
        "other: 1d",
        "models: {a: soon}",
        "default: 0",
        "default: [1]",
        "a: [",
        "- \x00",
    ],
)
def test_a_policy_that_is_none_is_named(store: Path, key: Path, tmp_path: Path, text: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    ran = sidecar("retain", "--store", store, "--key", key, "--policy", policy)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert str(policy) in ran.err


def test_a_policy_shorter_than_six_months_is_refused_too(store: Path, key: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("models: {mortgage: 400d}\ndefault: 30d\n")
    ran = sidecar("retain", "--store", store, "--key", key, "--policy", policy)
    assert ran.code == 2
    assert "retention of default: 30 days" in ran.err


def test_a_hold_on_the_model_blocks_until_it_is_released(store: Path, key: Path) -> None:
    made = log(store)
    index = place(store, Hold(scope="model", model="mortgage", reason="case 4711"))
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"]) == (1, 0)
    assert "case 4711" in ran.err
    assert left(store) == set(made.names)
    open_site_log(open_store(str(store))).append(
        KeyAuthor(OPERATOR), "release", to_json(Release(holds=[index], reason="closed"))
    )
    assert retain(store, key, "--yes")[1]["removed"] == 2


def test_a_hold_on_another_model_blocks_nothing(store: Path, key: Path) -> None:
    log(store)
    place(store, Hold(scope="model", model="fraud", reason="x"))
    assert retain(store, key, "--yes")[1]["removed"] == 2


def test_a_release_by_somebody_else_counts_for_nothing(store: Path, key: Path) -> None:
    log(store)
    index = place(store, Hold(scope="model", model="mortgage", reason="x"), SigningKey("court", b"c" * 32))
    open_site_log(open_store(str(store))).append(
        KeyAuthor(STRANGER), "release", to_json(Release(holds=[index], reason="x"))
    )
    assert retain(store, key, "--yes")[0].code == 1
    assert retain(store, key, "--yes", "--operator", STRANGER.verifier)[1]["removed"] == 2


def test_a_hold_on_a_record_keeps_its_batch_and_no_other(store: Path, key: Path) -> None:
    made = log(store)
    place(store, Hold(scope="record", record=f"{made.log}.6", reason="case 1"))
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"]) == (0, 1)
    assert left(store) == set(made.names[1:])
    (kept,) = found["models"][0]["kept"]
    assert kept["name"] == made.names[1]
    assert "case 1" in kept["why"]


def test_a_hold_on_a_row_of_the_log_itself_keeps_its_batch(store: Path, key: Path) -> None:
    made = log(store)
    place(store, Hold(scope="record", record=f"{made.origin}.genesis.0", reason="x"))
    assert retain(store, key, "--yes")[1]["removed"] == 1
    assert made.names[0] in left(store)


def test_a_hold_on_a_subject_keeps_the_batches_that_speak_of_it(store: Path, key: Path) -> None:
    made = log(store, encryption=Encryption(MASTER))
    place(store, Hold(scope="subject", tags={MASTER.id: MASTER.tag("person 1").hex()}, reason="case 9"))
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"]) == (0, 1)
    assert left(store) == set(made.names[1:])


def test_a_hold_on_a_subject_under_another_master_key_keeps_what_cannot_be_told(
    store: Path, key: Path
) -> None:
    log(store, encryption=Encryption(MASTER))
    place(store, Hold(scope="subject", tags={"other": "00" * 32}, reason="x"))
    found = retain(store, key, "--yes")[1]
    assert found["removed"] == 0
    assert "cannot be told without master key" in found["models"][0]["kept"][0]["why"]


def test_key_objects_go_with_their_batches(store: Path, key: Path, tmp_path: Path) -> None:
    log(store, encryption=Encryption(MASTER))
    assert len(list((store / "subjects").iterdir())) == 4
    retain(store, key, "--yes")
    assert len(list((store / "subjects").iterdir())) == 2


def test_key_objects_in_a_store_of_their_own_go_too(store: Path, key: Path, tmp_path: Path) -> None:
    log(store, encryption=Encryption(MASTER))
    keys = tmp_path / "keys"
    keys.mkdir()
    (store / "subjects").rename(keys / "subjects")
    retain(store, key, "--yes", "--keys-store", keys)
    assert len(list((keys / "subjects").iterdir())) == 2


def compacted(store: Path, made: LogMaker, names: list[str]) -> Path:
    """A compacted file that repeats these batches, in the folder of the first."""
    rows = [row for name in names for row in Tampered(store, name).rows]
    sources = [{"file": name.rsplit("/", 1)[-1], "rows": 1} for name in names]
    path = store / names[0].replace("records/", "compacted/")
    path = path.with_name("0123456789abcdef.parquet")
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(rows, {"compacted": 1, "rows": len(rows), "sources": sources}))
    return path


def test_compacted_copies_of_what_goes_go_too_and_others_stay(store: Path, key: Path) -> None:
    made = log(store)
    goes, stays = compacted(store, made, made.names[:1]), compacted(store, made, made.names[2:3])
    found = retain(store, key)[1]
    assert found["models"][0]["copies"] == [str(goes.relative_to(store))]
    assert goes.exists()
    retain(store, key, "--yes")
    assert not goes.exists()
    assert stays.exists()


def test_a_copy_that_was_made_of_what_is_gone_goes_the_next_time(store: Path, key: Path) -> None:
    made = log(store)
    copy = compacted(store, made, made.names[:1])
    data = copy.read_bytes()
    retain(store, key, "--yes")
    copy.write_bytes(data)
    assert retain(store, key, "--yes")[1]["removed"] == 0
    assert not copy.exists()


def test_a_log_that_is_not_intact_is_not_touched_from_there_on(store: Path, key: Path) -> None:
    bad, good = log(store), log(store, boot=OTHER_BOOT, seed=b"2")

    def change(opened: Tampered) -> None:
        opened.row(6)["status"] = 500

    changed = tamper(store, bad.names[1], change)
    ran, found = retain(store, key, "--yes")
    assert ran.code == 1
    assert left(store) == {changed, *bad.names[2:], *good.names[2:]}
    (refused,) = found["models"][0]["refused"]
    assert refused["origin"] == bad.origin
    assert "sidecar verify" in refused["why"]


def test_a_log_with_a_hole_before_its_old_batches_is_not_touched(store: Path, key: Path) -> None:
    made = log(store)
    (store / made.names[0]).unlink()
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"]) == (1, 0)
    assert "no batch begins at leaf 0" in found["models"][0]["refused"][0]["why"]


class Interrupted(DirectoryStore):
    """Fails at the n-th deletion, as a run that is killed there."""

    at = 0

    def delete(self, name: str) -> None:
        type(self).at -= 1
        if type(self).at < 0:
            raise StoreError("store: went away")
        super().delete(name)


@pytest.mark.parametrize("deletions", [0, 1, 2, 3])
def test_a_run_that_was_interrupted_is_finished_by_the_next(
    store: Path, key: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    made = log(store, encryption=Encryption(MASTER))
    with monkeypatch.context() as patched:
        Interrupted.at = deletions
        patched.setattr(retention, "for_command", lambda url: Interrupted(Path(url)))
        ran, _ = retain(store, key, "--yes")
        assert (ran.code, ran.err) == (1, "sidecar: store: went away\n")
    assert len(leaves(store)) == 1
    # In between, nothing is called a failure that is only half done.
    assert '"removed"' not in verify(store)[1]
    ran, found = retain(store, key)
    assert len(found["pending"]) == 2 - deletions // 2
    assert found["models"][0]["files"] == 0
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"]) == (0, 2 - deletions // 2)
    assert left(store) == set(made.names[2:])
    assert len(list((store / "subjects").iterdir())) == 2
    assert len(leaves(store)) == 1
    assert retain(store, key, "--yes")[1]["pending"] == []


def test_a_hold_that_came_in_between_keeps_what_was_not_removed_yet(
    store: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(store)
    with monkeypatch.context() as patched:
        Interrupted.at = 1
        patched.setattr(retention, "for_command", lambda url: Interrupted(Path(url)))
        retain(store, key, "--yes")
    place(store, Hold(scope="record", record=f"{made.log}.6", reason="late"))
    found = retain(store, key, "--yes")[1]
    assert found["removed"] == 0
    assert "late" in found["pending"][0]["kept"]
    assert left(store) == set(made.names[1:])


def test_a_strangers_entry_removes_nothing(store: Path, key: Path) -> None:
    made = log(store)
    retain(store, key, "--yes", age="480d")
    (body,) = leaves(store)
    forged = to_json(body)
    forged["ranges"][0]["objects"][0]["name"] = made.names[3]
    open_site_log(open_store(str(store))).append(KeyAuthor(STRANGER), "retention", forged)
    retain(store, key, "--yes", age="480d")
    assert left(store) == set(made.names[1:])


def test_a_hold_placed_while_it_runs_stops_it(
    store: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(store)
    from sidecar.retention_plan import plan_log as real

    def plan_log(*arguments: Any) -> None:
        real(*arguments)
        place(store, Hold(scope="record", record=f"{made.log}.6", reason="just now"))

    monkeypatch.setattr("sidecar.retention_run.plan_log", plan_log)
    ran, _ = retain(store, key, "--yes")
    assert ran.code == 1
    assert "was placed meanwhile: run again" in ran.err
    assert left(store) == set(made.names)
    assert leaves(store) == []


def test_long_ranges_are_cut_into_entries_of_bounded_size(
    store: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.retention_plan.OBJECTS_PER_RANGE", 2)
    made = log(store, (500, 490, 480, 470, 460, 1))
    ran, found = retain(store, key, "--yes")
    assert (ran.code, found["removed"], found["entries"]) == (0, 5, [0, 1, 2])
    assert left(store) == {made.names[-1]}
    assert '"removed"' not in verify(store)[1]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_removed_in_whatever_order_the_rest_verifies(store: Path, key: Path, seed: int) -> None:
    random = Random(seed)
    logs = [_random_log(store, random, number) for number in range(random.randint(1, 3))]
    base = ("--store", store, "--key", key)
    for _ in range(3):
        if random.random() < 0.5:
            assert sidecar("witness", *base).code == 0
        if random.random() < 0.4:
            held = f"{random.choice(logs).log}.{random.randint(1, 60)}"
            place(store, Hold(scope="record", record=held, reason="x"))
        model, age = random.choice(("mortgage", "fraud")), f"{random.randint(185, 620)}d"
        assert retain(store, key, "--yes", model=model, age=age)[0].code == 0
        found = json.loads(verify(store)[1])
        findings = [*found["findings"], *(each for log in found["logs"] for each in log["findings"])]
        # Nobody certified these logs; anything else would be a failure.
        assert {each["kind"] for each in findings if each["failure"]} <= {"unknown key"}
    assert sidecar("witness", *base).code == 0
    assert sidecar("witness", *base, "--from-start").code == 0


def _random_log(store: Path, random: Random, number: int) -> LogMaker:
    made = LogMaker(
        store,
        SigningKey("log", bytes([number + 1]) * 32),
        boot=f"2025010{number + 1}T000000-aaaaaaaaaa",
        t_us=NOW_US - 600 * DAY_US,
    )
    batches = random.randint(1, 9)
    for batch in range(batches):
        if batch:
            other = random.random() < 0.3
            if other:
                made.model, made.epoch = random.choice(("mortgage", "fraud")), made.epoch + 1
            made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
            if other:
                made.identity()
        made.exchanges(random.randint(0, 40))
        if random.random() < 0.3:
            made.gap(random.randint(1, 5))
        if batch == batches - 1 and random.random() < 0.7:
            made.add("close", details={"size": made.frontier.size})
        made.cut()
        made.t_us += random.choice((0, 1, 60, 90)) * DAY_US
    return made

"""`sidecar witness` over whole sealed stores that are tampered with between two looks."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.audit.parquet import BatchFile
from sidecar.audit.ranges import frontier
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.cosignature import CosignerKey
from sidecar.ledger.note import Note, SigningKey
from sidecar.objects import open_store
from sidecar.objects_directory import DirectoryStore
from sidecar.site.bodies import Witness, read
from sidecar.site_log import KeyAuthor, open_site_log
from tests.support.authority import Authority
from tests.support.commands import Ran, sidecar
from tests.support.sealed_store import DAY_US, LogMaker, Tampered, tamper

WITNESS = SigningKey("witness.example", b"w" * 32)
BOOTS = ("20261124T000000-aaaaaaaaaa", "20261124T000000-bbbbbbbbbb")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "witness.key"
    file.write_text(WITNESS.private_text())
    return file


def log(store: Path, boot: str = BOOTS[0], seed: bytes = b"1", batches: int = 3) -> LogMaker:
    """A log of so many batches, not closed."""
    made = LogMaker(store, SigningKey("log", seed * 32), boot=boot)
    for number in range(batches):
        made.exchanges(5 + number)
        made.next()
    return made


def witness(store: Path, key: Path, *more: object) -> tuple[Ran, dict[str, Any]]:
    ran = sidecar("witness", "--store", store, "--key", key, "--json", *more)
    assert all(len(line) < 600 for line in ran.err.splitlines())
    return ran, json.loads(ran.out) if ran.out else {}


def entries(store: Path) -> list[Witness]:
    found = [read(entry, Witness) for entry in open_site_log(open_store(str(store))).reader()]
    return [each for each in found if each is not None]


def problems(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["origin"], each["kind"]) for each in found["problems"]]


def test_every_log_is_cosigned_at_its_newest_checkpoint(store: Path, key: Path) -> None:
    made = [log(store, BOOTS[0]), log(store, BOOTS[1], b"2", 2)]
    ran, found = witness(store, key)
    assert (ran.code, found["logs"], found["cosigned"], found["entries"]) == (0, 2, 2, [0])
    (entry,) = entries(store)
    assert entry.cosigner == str(CosignerKey.of(WITNESS.verifier))
    for each, seen in zip(made, entry.checkpoints, strict=True):
        assert each.checkpoint is not None
        note = Note.parse(seen.checkpoint)
        assert Checkpoint.open(note, [each.key.verifier]) == each.checkpoint
        assert CosignerKey.of(WITNESS.verifier).cosigned_at(note) > 1_700_000_000
        assert (seen.origin, seen.size, b64decode(seen.root)) == (
            each.origin,
            each.checkpoint.size,
            each.checkpoint.root,
        )
        assert seen.key == str(each.key.verifier)
        assert seen.batch == each.names[-1]
        tree = frontier(seen.size, [base64text.decode(node) for node in seen.frontier])
        assert tree is not None
        assert tree.root() == each.checkpoint.root


def test_with_nothing_new_nothing_is_appended(store: Path, key: Path) -> None:
    log(store)
    witness(store, key)
    ran, found = witness(store, key)
    assert (ran.code, found["cosigned"], found["entries"]) == (0, 0, [])
    assert len(entries(store)) == 1


def test_an_empty_store_is_witnessed_without_an_entry(store: Path, key: Path) -> None:
    ran, found = witness(store, key)
    assert (ran.code, found["logs"], found["entries"]) == (0, 0, [])


def test_only_batches_that_were_not_seen_are_read_again(
    store: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(store)
    witness(store, key)
    made.exchanges(4)
    made.next()
    checked: list[str] = []

    def counting(name: str, data: bytes) -> BatchFile:
        checked.append(name)
        return BatchFile(name, data)

    monkeypatch.setattr("sidecar.consistency.BatchFile", counting)
    ran, found = witness(store, key)
    assert (ran.code, found["cosigned"]) == (0, 1)
    assert checked == [made.names[-1]]
    checked.clear()
    witness(store, key, "--from-start")
    assert sorted(checked) == sorted(made.names)


def test_a_log_that_grew_and_closed_goes_on_from_what_was_seen(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    made.exchanges(9)
    made.next()
    made.close()
    assert witness(store, key)[0].code == 0
    first, second = (entry.checkpoints[0].size for entry in entries(store))
    assert first < second
    assert made.checkpoint is not None
    assert second == made.checkpoint.size


def test_a_removed_end_is_truncated(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    (store / made.names[-1]).unlink()
    ran, found = witness(store, key)
    assert ran.code == 1
    assert problems(found) == [(made.origin, "truncated")]
    assert "1 problem" in ran.err


def test_a_log_that_is_gone_whole_is_truncated(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    shutil.rmtree(store / "records")
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "truncated")])


@pytest.mark.parametrize("options", [(), ("--from-start",)])
def test_a_tail_in_another_file_than_the_one_seen_is_replaced(
    store: Path, key: Path, options: tuple[str, ...]
) -> None:
    made = log(store)
    witness(store, key)
    tamper(store, made.names[-1], lambda opened: opened.metadata.update(keys=None, t_max_us=2))
    ran, found = witness(store, key, *options)
    assert (ran.code, problems(found)) == (1, [(made.origin, "replaced")])
    assert made.names[-1] in found["problems"][0]["text"]


def test_a_removed_batch_in_the_middle_is_removed(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    (store / made.names[1]).unlink()
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "removed")])


def test_a_hole_in_a_log_never_seen_is_removed(store: Path, key: Path) -> None:
    made = log(store)
    (store / made.names[1]).unlink()
    ran, found = witness(store, key)
    assert (ran.code, problems(found), found["cosigned"]) == (1, [(made.origin, "removed")], 0)


def test_a_history_written_anew_with_the_logs_own_key_is_forked(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    for name in made.names:
        (store / name).unlink()
    other = LogMaker(store, made.key, boot=BOOTS[0])
    for _ in range(4):
        other.exchanges(7, status=500)
        other.next()
    ran, found = witness(store, key)
    assert (ran.code, problems(found)[0]) == (1, (made.origin, "forked"))
    assert found["cosigned"] == 0


def test_a_shorter_history_written_anew_is_at_least_truncated(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    for name in made.names:
        (store / name).unlink()
    LogMaker(store, made.key, boot=BOOTS[0]).close()
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "truncated")])


def test_two_continuations_that_the_logs_key_signed_are_forked(
    store: Path, key: Path, tmp_path: Path
) -> None:
    made = log(store)
    witness(store, key)
    beside = tmp_path / "beside"
    beside.mkdir()
    other = _copy(made, beside)
    made.exchanges(3)
    made.next()
    other.exchanges(3, status=500)
    other.next()
    shutil.copytree(beside, store, dirs_exist_ok=True)
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "forked")])


def _copy(made: LogMaker, store: Path) -> LogMaker:
    other = LogMaker(store, made.key, boot=made.boot)
    other.frontier, other.before = made.frontier.copy(), made.before.copy()
    other.rows, other.seq = list(made.rows), made.seq
    return other


def test_a_continuation_of_another_history_is_not_cosigned(store: Path, key: Path, tmp_path: Path) -> None:
    made = log(store)
    witness(store, key)
    beside = tmp_path / "beside"
    beside.mkdir()
    other = LogMaker(beside, made.key, boot=BOOTS[0])
    for number in range(3):
        other.exchanges(5 + number, status=500)
        other.next()
    other.exchanges(2)
    other.next()
    name = other.names[-1]
    (store / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(beside / name, store / name)
    ran, found = witness(store, key)
    assert (ran.code, problems(found), found["cosigned"]) == (1, [(made.origin, "inconsistent")], 0)


def test_another_key_is_re_signed(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    for name in made.names:
        (store / name).unlink()
    log(store, seed=b"9")
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "re-signed")])


def test_a_new_batch_signed_with_another_key_is_re_signed(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    made.key = SigningKey(made.origin, b"9" * 32)
    made.exchanges(1)
    made.next()
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "re-signed")])


def test_a_batch_twice_is_duplicated(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    again = store / made.names[0].replace("digest=", "digest=other-")
    again.parent.mkdir(parents=True)
    shutil.copy(store / made.names[0], again)
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "duplicated")])


def test_changed_rows_of_a_new_batch_are_altered(store: Path, key: Path) -> None:
    made = log(store)

    def change(opened: Tampered) -> None:
        opened.rows[1]["leaf_hash"] = b"x" * 32

    tamper(store, made.names[0], change)
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "altered")])


def test_a_checkpoint_from_the_future_is_altered(store: Path, key: Path) -> None:
    made = log(store)

    def change(opened: Tampered) -> None:
        assert made.checkpoint is not None
        ahead = Checkpoint(made.origin, made.checkpoint.size + 50, b"r" * 32)
        opened.metadata["checkpoint"] = ahead.signed(made.key).format()

    tamper(store, made.names[-1], change)
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "altered")])


def test_what_is_no_parquet_is_unreadable(store: Path, key: Path) -> None:
    made = log(store)
    (store / made.names[1]).write_bytes(b"PAR1 and no more PAR1")
    ran, found = witness(store, key)
    assert (ran.code, problems(found)) == (1, [(made.origin, "unreadable")])


def test_a_bad_log_does_not_keep_the_others_from_being_cosigned(store: Path, key: Path) -> None:
    bad, good = log(store, BOOTS[0]), log(store, BOOTS[1], b"2")
    (store / bad.names[0]).unlink()
    ran, found = witness(store, key)
    assert (ran.code, found["cosigned"]) == (1, 1)
    (entry,) = entries(store)
    assert [seen.origin for seen in entry.checkpoints] == [good.origin]
    assert [problem.origin for problem in entry.problems] == [bad.origin]


def test_a_standing_problem_is_recorded_once_and_its_end_too(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    data = (store / made.names[-1]).read_bytes()
    (store / made.names[-1]).unlink()
    assert [witness(store, key)[0].code for _ in range(3)] == [1, 1, 1]
    assert len(entries(store)) == 2
    (store / made.names[-1]).write_bytes(data)
    assert witness(store, key)[0].code == 0
    assert [len(entry.problems) for entry in entries(store)] == [0, 1, 0]


def test_two_witnesses_do_not_lean_on_each_other(store: Path, key: Path, tmp_path: Path) -> None:
    made = log(store)
    second = tmp_path / "second.key"
    second.write_text(SigningKey("second.example", b"2" * 32).private_text())
    witness(store, key)
    ran, found = witness(store, second)
    assert (ran.code, found["cosigned"]) == (0, 1)
    made.exchanges(1)
    made.next()
    assert witness(store, second)[1]["cosigned"] == 1
    assert witness(store, key)[1]["cosigned"] == 1
    assert len({entry.cosigner for entry in entries(store)}) == 2


def test_two_runs_of_one_witness_at_once_do_not_both_speak(
    store: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sidecar.witnessing import _courses as courses

    log(store)

    def overtaken(*arguments: Any) -> Any:
        found = courses(*arguments)
        with monkeypatch.context() as patched:
            patched.setattr("sidecar.witnessing._courses", courses)
            assert witness(store, key)[0].code == 0
        return found

    monkeypatch.setattr("sidecar.witnessing._courses", overtaken)
    ran, _ = witness(store, key)
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "another run of this witness appended entry 0: run again" in ran.err
    assert len(entries(store)) == 1


def test_recent_days_are_enough_to_go_on(store: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = log(store)
    made.t_us += 10 * DAY_US
    made.next()
    witness(store, key)
    for _ in range(2):
        made.exchanges(2)
        made.next()
    listed: list[str] = []
    real = DirectoryStore.list

    def listing(self: DirectoryStore, prefix: str = "", after: str = "") -> Any:
        listed.append(prefix)
        return real(self, prefix, after)

    monkeypatch.setattr(DirectoryStore, "list", listing)
    recent = str((made.t_us - DAY_US) // 1_000_000)
    ran, found = witness(store, key, "--recent", recent)
    assert (ran.code, found["cosigned"]) == (0, 1)
    folders = [each for each in listed if each.startswith("records")]
    assert len(folders) == 1
    assert "date=" in folders[0]
    # What was counted from there is what a count of everything comes to.
    assert witness(store, key)[1]["entries"] == []
    assert witness(store, key, "--from-start")[0].code == 0
    made.exchanges(1)
    made.next()
    assert witness(store, key)[1]["cosigned"] == 1


def test_recent_days_without_the_batch_that_was_seen_last_are_a_problem(store: Path, key: Path) -> None:
    made = log(store)
    recent = str((made.t_us - DAY_US) // 1_000_000)
    witness(store, key)
    (store / made.names[-1]).unlink()
    ran, found = witness(store, key, "--recent", recent)
    assert (ran.code, problems(found)) == (1, [(made.origin, "removed")])


def test_recent_days_that_do_not_reach_back_far_enough_are_a_problem(store: Path, key: Path) -> None:
    made = log(store)
    witness(store, key)
    for days in (5, 5):
        made.t_us += days * DAY_US
        made.exchanges(1)
        made.next()
        made.exchanges(1)
    made.next()
    recent = str((made.t_us - DAY_US) // 1_000_000)
    ran, found = witness(store, key, "--recent", recent)
    assert (ran.code, found["cosigned"], problems(found)) == (1, 0, [(made.origin, "removed")])
    assert witness(store, key)[0].code == 0


def test_recent_and_from_start_exclude_each_other(store: Path, key: Path) -> None:
    assert witness(store, key, "--recent", "3d", "--from-start")[0].code == 2


def test_many_logs_make_several_entries(store: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.witnessing.SEEN_PER_ENTRY", 2)
    for number in range(5):
        LogMaker(
            store, SigningKey("log", bytes([number]) * 32), boot=f"20261124T00000{number}-aaaaaaaaaa"
        ).close()
    ran, found = witness(store, key)
    assert (ran.code, found["cosigned"], found["entries"]) == (0, 5, [0, 1, 2])
    assert witness(store, key)[1]["entries"] == []


def test_a_site_log_that_was_cut_back_is_noticed_by_who_remembers(
    store: Path, key: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    made = log(store)
    witness(store, key, "--state", state)
    made.exchanges(2)
    made.next()
    witness(store, key, "--state", state)
    (store / "site" / "000000000001.json").unlink()
    (store / made.names[-1]).unlink()
    ran, _ = witness(store, key, "--state", state)
    assert ran.code == 1
    assert "its end was removed" in ran.err
    (store / "site" / "000000000000.json").unlink()
    for seed in (1, 2):
        open_site_log(open_store(str(store))).append(
            KeyAuthor(SigningKey("x", bytes([seed]) * 32)), "hold", {"reason": "x"}
        )
    ran, _ = witness(store, key, "--state", state)
    assert ran.code == 1
    assert "was written anew" in ran.err


def test_a_broken_site_log_stops_the_witness_with_the_entry_named(store: Path, key: Path) -> None:
    log(store)
    witness(store, key)
    path = store / "site" / "000000000000.json"
    path.write_bytes(path.read_bytes().replace(b"witness", b"wItness", 1))
    ran, _ = witness(store, key)
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "entry 0" in ran.err


def test_the_text_for_people_names_the_problem_and_the_log(store: Path, key: Path) -> None:
    made = log(store)
    assert (
        "1 logs, 1 new checkpoints cosigned in entry 0"
        in sidecar("witness", "--store", store, "--key", key).out
    )
    (store / made.names[-1]).unlink()
    ran = sidecar("witness", "--store", store, "--key", key)
    assert ran.out.startswith(f"truncated: {made.origin}: ")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    made = Authority(tmp_path_factory.mktemp("tsa"))
    yield made
    made.close()


def test_an_entry_carries_a_time_stamp_that_openssl_accepts(
    store: Path, key: Path, authority: Authority, tmp_path: Path
) -> None:
    import subprocess

    log(store)
    ran, found = witness(store, key, "--tsa", authority.url, "--tsa-root", authority.root)
    assert (ran.code, found["stamped"]) == (0, 1)
    (entry,) = open_site_log(open_store(str(store))).reader()
    body = {name: value for name, value in entry.body.items() if name != "timestamp"}
    message, response = tmp_path / "message", tmp_path / "response.tsr"
    message.write_text(json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    response.write_bytes(b64decode(entry.body["timestamp"]["response"]))
    command = [
        "openssl",
        "ts",
        "-verify",
        *map(str, ("-data", message, "-in", response, "-CAfile", authority.root)),
    ]
    assert "Verification: OK" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_earlier_stamps_are_checked_when_the_root_is_given(
    store: Path, key: Path, authority: Authority, tmp_path: Path
) -> None:
    log(store)
    witness(store, key, "--tsa", authority.url, "--tsa-root", authority.root)
    assert witness(store, key, "--tsa-root", authority.root)[0].code == 0
    stranger = Authority(tmp_path / "stranger")
    try:
        ran, _ = witness(store, key, "--tsa-root", stranger.root)
    finally:
        stranger.close()
    assert ran.code == 1
    assert "entry 0" in ran.err
    assert "time stamp" in ran.err


def test_a_stamp_of_something_else_is_noticed(store: Path, key: Path, authority: Authority) -> None:
    made = log(store)
    witness(store, key, "--tsa", authority.url, "--tsa-root", authority.root)
    (first,) = open_site_log(open_store(str(store))).reader()
    made.exchanges(1)
    made.next()
    body = dict(first.body, site_size=1)
    open_site_log(open_store(str(store))).append(KeyAuthor(WITNESS), "witness", body)
    ran, _ = witness(store, key, "--tsa-root", authority.root)
    assert ran.code == 1
    assert "entry 1" in ran.err


def test_verify_checks_the_stamps_of_the_site_log(
    store: Path, key: Path, authority: Authority, tmp_path: Path
) -> None:
    log(store)
    witness(store, key, "--tsa", authority.url, "--tsa-root", authority.root)
    verify = ("verify", "--store", store, "--jobs", 1)
    assert "1 time stamp was not checked: give --tsa-root" in sidecar(*verify).out
    good = sidecar(*verify, "--tsa-root", authority.root)
    assert good.code == 0
    assert f"{authority.url} saw its first 0 entries at 20" in good.out
    stranger = Authority(tmp_path / "stranger")
    stranger.close()
    ran = sidecar(*verify, "--tsa-root", stranger.root)
    assert ran.code == 1
    assert "altered: site log: entry 0: time stamp of" in ran.out
    # What a stranger appends is nobody's business where the witness is known.
    known = SigningKey.parse(key.read_text()).verifier
    other = sidecar(*verify, "--tsa-root", stranger.root, "--witness", str(SigningKey.generate("x").verifier))
    assert other.code == 0
    assert sidecar(*verify, "--tsa-root", stranger.root, "--witness", str(known)).code == 1
    assert sidecar(*verify, "--tsa-root", tmp_path / "none.pem").code == 2


def test_verify_refuses_a_stamp_over_another_site_log(store: Path, key: Path, authority: Authority) -> None:
    log(store)
    witness(store, key, "--tsa", authority.url, "--tsa-root", authority.root)
    (first,) = open_site_log(open_store(str(store))).reader()
    open_site_log(open_store(str(store))).append(KeyAuthor(WITNESS), "witness", dict(first.body))
    ran = sidecar("verify", "--store", store, "--jobs", 1, "--tsa-root", authority.root)
    assert ran.code == 1
    assert "entry 1: what is time stamped is not the site log before it" in ran.out


def test_a_stamp_by_an_authority_that_is_not_trusted_is_not_stored(
    store: Path, key: Path, authority: Authority, tmp_path: Path
) -> None:
    log(store)
    stranger = Authority(tmp_path / "stranger")
    try:
        ran, found = witness(store, key, "--tsa", stranger.url, "--tsa-root", authority.root)
    finally:
        stranger.close()
    assert (ran.code, found["stamped"], found["cosigned"]) == (1, 0, 1)
    assert "--tsa-root" in ran.err


def test_an_authority_that_is_away_does_not_stop_the_witness(
    store: Path, key: Path, authority: Authority
) -> None:
    log(store)
    authority.refuses = True
    try:
        ran, found = witness(store, key, "--tsa", authority.url, "--tsa-root", authority.root)
    finally:
        authority.refuses = False
    assert (ran.code, found["stamped"], found["cosigned"]) == (1, 0, 1)
    assert "503" in ran.err
    assert "stands without a time stamp" in ran.err


@pytest.mark.parametrize("url", ["ftp://x/", "x", ""])
def test_an_address_of_no_authority_is_a_usage_error(
    store: Path, key: Path, authority: Authority, url: str
) -> None:
    log(store)
    ran, _ = witness(store, key, "--tsa", url, "--tsa-root", authority.root)
    assert ran.code == 2
    assert not (store / "site").exists()


def test_a_message_that_was_read_back_wrong_is_not_a_stamp() -> None:
    from sidecar.errors import LedgerError
    from sidecar.site.bodies import TimeStamp
    from sidecar.timestamping import stamped_at

    for response in ("", "?", b64encode(b"0" * 40).decode()):
        with pytest.raises(LedgerError):
            stamped_at(TimeStamp(authority="http://x/", response=response), {}, [])

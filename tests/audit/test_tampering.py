"""Each deed done to a real store by who may write to it: verify names it, and nothing else."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.audit.findings import Kind
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import SigningKey
from sidecar.ledger.origin import Place
from sidecar.ledger.tree import Frontier
from sidecar.privacy.master import LocalMasterKey
from tests.support import audited
from tests.support.audited import (
    ENROLMENT_KEY,
    NOW_US,
    OPERATOR,
    OTHER_PLACE,
    STRANGER,
    WITNESS,
    Store,
    enrolment,
    erase,
    failures,
    log_of,
    the_failure,
    warnings,
)
from tests.support.sealed_store import (
    BOOT,
    OTHER_DIGEST,
    PLACE,
    Encryption,
    LogMaker,
    Row,
    Tampered,
    leaf_hash,
    put,
    tamper,
)

MASTER = LocalMasterKey(b"m" * 32)
Change = Callable[[Tampered], None]
THIRD_PLACE = Place("prod", "default", "mortgage", "00000000-2222-4c10-9c1e-2f1f3b1f0c33")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return audited.make(tmp_path_factory.mktemp("sealed"))


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    """A copy of the store that a test may do anything to."""
    shutil.copytree(made.root, tmp_path / "store")
    return Store(tmp_path / "store", made.log, made.other)


def record(seq: int) -> str:
    return f"{BOOT}.default.{seq}"


RECOMPUTED = pytest.mark.parametrize("recomputed", [False, True], ids=["hashes_kept", "hashes_made_to_fit"])
"""Whether the attacker leaves the stored leaf hashes as they were or makes them fit the changed rows."""


def change_middle(store: Store, change: Change, recomputed: bool) -> str:
    """Change the second batch of the first log."""

    def whole(opened: Tampered) -> None:
        change(opened)
        if recomputed:
            opened.rehash()

    return tamper(store.root, store.log.names[1], whole)


def test_an_untouched_store_is_intact(store: Store) -> None:
    found = store.report()
    assert found.intact
    assert found.exit_code == 0
    assert failures(found) == []
    assert warnings(found) == {Kind.GAP}
    assert [log.status for log in found.logs] == ["intact", "intact"]
    log = log_of(found, store.log)
    assert (log.exchanges, log.lost, log.intact_leaves) == (59, 3, store.log.frontier.size)
    assert log.enrolled_by == "enrolment"
    assert log.closed


@RECOMPUTED
@pytest.mark.parametrize(("column", "at"), [("request_body", 5), ("request_body", 3), ("response_body", 8)])
def test_a_flipped_body_byte_is_altered(store: Store, recomputed: bool, column: str, at: int) -> None:
    def flip(opened: Tampered) -> None:
        body = bytearray(opened.row(37)[column])
        body[at] ^= 0x13
        opened.row(37)[column] = bytes(body)

    change_middle(store, flip, recomputed)
    found = the_failure(store.report())
    assert (found.kind, found.records, found.field) == (Kind.ALTERED, (record(37),), column)
    assert f"byte {at} is" in found.text


@RECOMPUTED
def test_a_body_exchanged_whole_is_altered(store: Store, recomputed: bool) -> None:
    change_middle(store, lambda opened: opened.row(25).update(request_body=b'{"n":"else"}'), recomputed)
    found = the_failure(store.report())
    assert (found.kind, found.records, found.field) == (Kind.ALTERED, (record(25),), "request_body")
    assert "seemingly" in found.text


def test_a_body_exchanged_with_everything_that_repeats_it_is_altered(store: Store) -> None:
    def change(opened: Tampered) -> None:
        body = b'{"n":123456}'
        opened.row(25).update(request_body=body, request_body_length=len(body), inputs='{"n":[123456]}')

    change_middle(store, change, False)
    found = the_failure(store.report())
    assert (found.kind, found.records) == (Kind.ALTERED, (record(25),))


@RECOMPUTED
def test_a_changed_status_is_altered(store: Store, recomputed: bool) -> None:
    change_middle(store, lambda opened: opened.row(22).update(status=200), recomputed)
    found = the_failure(store.report())
    assert (found.kind, found.records, found.field) == (Kind.ALTERED, (record(22),), "status")
    assert "status is 200 and was sealed as 500" in found.text


@RECOMPUTED
def test_a_status_changed_with_its_head_is_altered(store: Store, recomputed: bool) -> None:
    def change(opened: Tampered) -> None:
        row = opened.row(22)
        row["status"] = 200
        row["response_head"] = row["response_head"].replace(b"500", b"200")

    change_middle(store, change, recomputed)
    found = the_failure(store.report())
    assert found.kind is Kind.ALTERED
    if not recomputed:
        assert found.records == (record(22),)


@RECOMPUTED
def test_a_relabelled_digest_is_named_with_the_sealed_one(store: Store, recomputed: bool) -> None:
    def change(opened: Tampered) -> None:
        for row in opened.rows:
            row["image_digest"] = OTHER_DIGEST
        opened.metadata["digest"] = OTHER_DIGEST

    change_middle(store, change, recomputed)
    found = the_failure(store.report())
    assert (found.kind, found.field) == (Kind.RELABELLED, "image_digest")
    assert f"is {OTHER_DIGEST} and was sealed as {store.log.digest}" in found.text


def test_a_batch_moved_to_another_folder_is_relabelled(store: Store) -> None:
    name = store.log.names[1]
    moved = name.replace("digest=sha256-abab", "digest=sha256-cdcd")
    put(store.root, moved, store.path(name).read_bytes())
    store.path(name).unlink()
    found = the_failure(store.report())
    assert (found.kind, found.field, found.object) == (Kind.RELABELLED, "digest folder", moved)


def test_a_digest_relabelled_in_metadata_and_folder_alone_is_relabelled(store: Store) -> None:
    tamper(store.root, store.log.names[1], lambda opened: opened.metadata.update(digest=OTHER_DIGEST))
    assert the_failure(store.report()).kind is Kind.RELABELLED


@pytest.mark.parametrize("renumbered", [False, True])
def test_a_removed_record_is_named(store: Store, renumbered: bool) -> None:
    def change(opened: Tampered) -> None:
        opened.rows.remove(opened.row(25))
        opened.metadata["rows"] -= 1
        if renumbered:
            opened.renumber()

    change_middle(store, change, False)
    found = the_failure(store.report())
    assert (found.kind, found.records) == (Kind.REMOVED, (record(25),))


def test_a_removed_batch_is_named_and_the_rest_still_proven(store: Store) -> None:
    name = store.log.names[1]
    store.path(name).unlink()
    report = store.report()
    found = the_failure(report)
    first = Tampered(store.root, store.log.names[0])
    assert (found.kind, found.object) == (Kind.REMOVED, name)
    assert found.first_leaf == len(first.rows)
    assert log_of(report, store.log).unproven == 0, "what follows stands on its own account of the tree"


def test_the_first_batch_removed(store: Store) -> None:
    store.path(store.log.names[0]).unlink()
    found = the_failure(store.report())
    assert (found.kind, found.first_leaf, found.object) == (Kind.REMOVED, 0, store.log.names[0])


def test_a_removed_tail_without_a_witness_is_unclosed(store: Store) -> None:
    store.path(store.log.names[2]).unlink()
    found = store.report()
    assert found.intact
    assert warnings(found) == {Kind.GAP, Kind.UNCLOSED}


def test_a_removed_tail_that_a_witness_saw_is_truncated(store: Store) -> None:
    store.witness(store.log)
    assert store.report(witnesses=[WITNESS]).intact
    store.path(store.log.names[2]).unlink()
    report = store.report(witnesses=[WITNESS])
    found = the_failure(report)
    assert found.kind is Kind.TRUNCATED
    assert found.last_leaf == store.log.frontier.size - 1
    assert warnings(report) == {Kind.GAP}


def test_a_removed_tail_that_the_next_log_names_is_truncated(store: Store) -> None:
    later = LogMaker(
        store.root,
        audited.OTHER_BOOT_KEY,
        boot="20261125T010101-00112233aa",
        enrolment_key=ENROLMENT_KEY,
        previous=store.log.facts(),
        t_us=NOW_US - 1_000_000_000,
    )
    later.close()
    assert store.report().intact
    store.path(store.log.names[2]).unlink()
    assert the_failure(store.report()).kind is Kind.TRUNCATED


def test_a_whole_log_removed_that_a_witness_saw(store: Store) -> None:
    store.witness(store.log)
    for name in store.log.names:
        store.path(name).unlink()
    assert the_failure(store.report(witnesses=[WITNESS])).kind is Kind.REMOVED


@pytest.mark.parametrize("renumbered", [False, True])
def test_two_swapped_records_are_named(store: Store, renumbered: bool) -> None:
    def change(opened: Tampered) -> None:
        one, two = opened.rows.index(opened.row(24)), opened.rows.index(opened.row(29))
        opened.rows[one], opened.rows[two] = opened.rows[two], opened.rows[one]
        if renumbered:
            opened.renumber()

    change_middle(store, change, False)
    found = the_failure(store.report())
    assert found.kind is Kind.SWAPPED
    assert set(found.records) == {record(24), record(29)}


@pytest.mark.parametrize("renumbered", [False, True])
def test_an_inserted_record_is_named(store: Store, renumbered: bool) -> None:
    def change(opened: Tampered) -> None:
        row: Row = dict(opened.row(25), record_id=record(99), seq=99)
        row["leaf_hash"] = leaf_hash(row)
        opened.rows.insert(9, row)
        opened.metadata["rows"] += 1
        if renumbered:
            opened.renumber()

    change_middle(store, change, False)
    found = the_failure(store.report())
    assert (found.kind, found.records) == (Kind.INSERTED, (record(99),))


def shift_last(store: Store, by: int) -> None:
    """Number the last batch as if the one before it had so many more leaves."""

    def change(opened: Tampered) -> None:
        opened.metadata["first_leaf"] += by
        opened.renumber()

    tamper(store.root, store.log.names[2], change)


def test_an_inserted_record_with_everything_behind_it_renumbered(store: Store) -> None:
    def change(opened: Tampered) -> None:
        row: Row = dict(opened.row(25), record_id=record(99), seq=99)
        row["leaf_hash"] = leaf_hash(row)
        opened.rows.insert(9, row)
        opened.renumber()

    change_middle(store, change, False)
    shift_last(store, 1)
    report = store.report()
    found = [each for each in failures(report) if each.kind is Kind.INSERTED]
    assert [each.records for each in found] == [(record(99),)]
    assert {each.kind for each in failures(report)} <= {Kind.INSERTED, Kind.ALTERED}


def test_a_removed_record_with_everything_behind_it_renumbered(store: Store) -> None:
    def change(opened: Tampered) -> None:
        opened.rows.remove(opened.row(25))
        opened.renumber()

    change_middle(store, change, False)
    shift_last(store, -1)
    report = store.report()
    found = [each for each in failures(report) if each.kind is Kind.REMOVED]
    assert [each.records for each in found] == [(record(25),)]
    assert {each.kind for each in failures(report)} <= {Kind.REMOVED, Kind.ALTERED}


@pytest.mark.parametrize("place", ["date", "origin", "leaves"])
def test_a_batch_duplicated_under_another_name(store: Store, place: str) -> None:
    name = store.log.names[1]
    other = {
        "date": name.replace("date=2026-11-24", "date=2026-11-25"),
        "origin": name.replace(store.log.origin, store.other.origin),
        "leaves": name.replace("-L0000000000", "-L0000000005").replace("-0000000000", "-0000000005", 1),
    }[place]
    assert other != name
    put(store.root, other, store.path(name).read_bytes())
    found = the_failure(store.report())
    assert (found.kind, found.object) == (Kind.DUPLICATED, other)


def test_a_batch_re_encoded_beside_itself_is_duplicated(store: Store) -> None:
    opened = Tampered(store.root, store.log.names[1])
    opened.metadata["date"] = "2026-11-25"
    name = opened.save(keep=True)
    found = the_failure(store.report())
    assert (found.kind, found.object) == (Kind.DUPLICATED, name)


def resign(store: Store, keep_certificate: bool) -> None:
    """Seal the first log again, one record changed, with a key of the attacker's own."""
    for name in store.log.names:
        store.path(name).unlink()
    forged = LogMaker(
        store.root, STRANGER, enrolment_key=None if keep_certificate else STRANGER, t_us=store.log.t_us
    )
    if keep_certificate:
        details = json.loads(forged.rows[0]["details"])
        details["enrolment"] = forged.enrolled = store.log.enrolled
        rows = forged.rows[1:]
        forged.rows, forged.frontier = [], Frontier()
        forged.add("genesis", details=details)
        for row in rows:
            forged.add(row["kind"], details=json.loads(row["details"]))
    forged.exchanges(30)
    forged.close()


def test_a_log_re_signed_with_another_key(store: Store) -> None:
    resign(store, keep_certificate=True)
    found = the_failure(store.report())
    assert found.kind is Kind.RE_SIGNED


def test_a_log_re_signed_and_certified_by_a_stranger_is_an_unknown_key(store: Store) -> None:
    resign(store, keep_certificate=False)
    assert the_failure(store.report()).kind is Kind.UNKNOWN_KEY


def test_a_witness_tells_that_a_log_was_re_signed(store: Store) -> None:
    store.witness(store.log)
    resign(store, keep_certificate=False)
    found = the_failure(store.report(trust=[], witnesses=[WITNESS]))
    assert found.kind is Kind.RE_SIGNED


def test_checkpoints_signed_anew_under_the_old_genesis(store: Store) -> None:
    key = STRANGER.named(store.log.origin)
    for name in store.log.names:

        def change(opened: Tampered) -> None:
            checkpoint = Checkpoint.parse(opened.metadata["checkpoint"].rsplit("\n\n", 1)[0] + "\n")
            opened.metadata["checkpoint"] = checkpoint.signed(key).format()
            opened.metadata["public_key"] = str(key.verifier)

        tamper(store.root, name, change)
    assert {each.kind for each in failures(store.report())} == {Kind.RE_SIGNED, Kind.ALTERED}


def test_two_histories_of_one_log(store: Store) -> None:
    opened = Tampered(store.root, store.log.names[1])
    opened.row(22)["status"] = 200
    opened.rehash()
    tree = Frontier()
    tree.extend(row["leaf_hash"] for row in Tampered(store.root, store.log.names[0]).rows)
    tree.extend(row["leaf_hash"] for row in opened.rows)
    checkpoint = Checkpoint(store.log.origin, tree.size, tree.root())
    opened.metadata["checkpoint"] = checkpoint.signed(store.log.key).format()
    name = opened.save(keep=True)
    found = the_failure(store.report())
    assert (found.kind, found.object) == (Kind.FORKED, name)


def test_another_history_than_a_witness_saw(store: Store) -> None:
    store.witness(store.log)
    for name in store.log.names:
        store.path(name).unlink()
    again = LogMaker(store.root, audited.BOOT_KEY, enrolment_key=ENROLMENT_KEY)
    again.exchanges(store.log.frontier.size + 5)
    again.close()
    found = the_failure(store.report(witnesses=[WITNESS]))
    assert found.kind is Kind.FORKED


def moved(row: Row, delta_us: int) -> None:
    for name in row:
        if name.startswith("t_") and row[name] is not None:
            row[name] += delta_us


@RECOMPUTED
def test_the_times_of_a_record_moved(store: Store, recomputed: bool) -> None:
    change_middle(store, lambda opened: moved(opened.row(25), -7_200_000_000), recomputed)
    found = the_failure(store.report())
    assert (found.kind, found.records, found.field) == (Kind.ALTERED, (record(25),), "t_request_us")


def test_the_times_of_a_record_moved_by_any_amount(store: Store) -> None:
    change_middle(store, lambda opened: moved(opened.row(25), 86_412_345_678), False)
    found = the_failure(store.report())
    assert (found.kind, found.records, found.field) == (Kind.ALTERED, (record(25),), "t_request_us")
    assert "seemingly" in found.text


@RECOMPUTED
def test_the_times_of_a_batch_moved(store: Store, recomputed: bool) -> None:
    def change(opened: Tampered) -> None:
        for row in opened.rows:
            moved(row, 3_600_000_000)

    change_middle(store, change, recomputed)
    found = the_failure(store.report())
    assert (found.kind, found.field) == (Kind.ALTERED, "t_request_us")


@pytest.mark.parametrize("batch", [0, 1])
def test_a_checkpoint_from_the_future(store: Store, batch: int) -> None:
    later = Tampered(store.root, store.log.names[2]).metadata["checkpoint"]
    tamper(store.root, store.log.names[batch], lambda opened: opened.metadata.update(checkpoint=later))
    report = store.report()
    found = the_failure(report)
    assert (found.kind, found.field) == (Kind.FUTURE, "checkpoint")
    assert log_of(report, store.log).unproven == 0, "the next checkpoint proves the records even so"


def test_a_checkpoint_of_what_was_removed_is_from_the_future(store: Store) -> None:
    later = Tampered(store.root, store.log.names[2]).metadata["checkpoint"]
    tamper(store.root, store.log.names[1], lambda opened: opened.metadata.update(checkpoint=later))
    store.path(store.log.names[2]).unlink()
    assert the_failure(store.report()).kind is Kind.FUTURE


def test_a_cosignature_from_the_future(store: Store) -> None:
    store.witness(store.log, time_s=NOW_US // 1_000_000 + 86_400)
    assert the_failure(store.report(witnesses=[WITNESS])).kind is Kind.FUTURE


def test_records_from_the_future(store: Store) -> None:
    kinds = {each.kind for each in failures(store.report(now_us=store.log.t_us - 86_400_000_000))}
    assert kinds == {Kind.FUTURE}


def test_an_earlier_checkpoint_is_altered(store: Store) -> None:
    earlier = Tampered(store.root, store.log.names[0]).metadata["checkpoint"]
    tamper(store.root, store.log.names[1], lambda opened: opened.metadata.update(checkpoint=earlier))
    found = the_failure(store.report())
    assert (found.kind, found.field) == (Kind.ALTERED, "checkpoint")


def test_a_batch_of_a_newer_version_is_not_called_altered(store: Store) -> None:
    tamper(store.root, store.log.names[1], lambda opened: opened.metadata.update(canonical=2))
    found = the_failure(store.report())
    assert found.kind is Kind.UNREADABLE
    assert "version 2" in found.text


def test_an_added_column_is_altered(store: Store) -> None:
    import duckdb

    name = store.log.names[2]
    path = store.path(name)
    made = path.with_suffix(".made")
    # A tool that knows nothing of the format loses the metadata with it.
    duckdb.sql(f"copy (select *, 'approved' as verdict from '{path}') to '{made}' (format parquet)")
    path.write_bytes(made.read_bytes())
    made.unlink()
    found = the_failure(store.report())
    assert found.kind is Kind.ALTERED


def test_a_pod_killed_without_close_is_unclosed(tmp_path: Path) -> None:
    store = audited.make(tmp_path, close=False)
    found = store.report()
    assert found.intact
    assert log_of(found, store.log).notes == ["gap", "unclosed"]


def test_an_enrolled_pod_with_no_log_at_all(store: Store) -> None:
    store.append("enrolment", enrolment(PLACE))
    store.append("enrolment", enrolment(OTHER_PLACE))
    assert store.report().intact
    store.append("enrolment", enrolment(THIRD_PLACE))
    found = the_failure(store.report())
    assert found.kind is Kind.MISSING
    assert THIRD_PLACE.pod_uid in found.text


def test_a_pod_retired_without_a_log_is_no_longer_missing(store: Store) -> None:
    store.append("enrolment", enrolment(THIRD_PLACE))
    retired = enrolment(THIRD_PLACE) | {"retired_us": NOW_US - 3_600_000_000}
    store.append("enrolment", retired, key=STRANGER)
    assert the_failure(store.report()).kind is Kind.MISSING, "a stranger retires nothing"
    store.append("enrolment", retired)
    found = store.report()
    assert found.intact
    notes = [each.text for each in found.findings if "retired without a log" in each.text]
    assert len(notes) == 1
    assert THIRD_PLACE.pod_uid in notes[0]


def test_a_pod_enrolled_just_now_may_still_come(store: Store) -> None:
    store.append("enrolment", enrolment(THIRD_PLACE, since_us=NOW_US - 60_000_000))
    assert store.report().intact


def test_a_well_formed_log_by_an_unenrolled_key(store: Store) -> None:
    forged = LogMaker(store.root, STRANGER, place=THIRD_PLACE)
    forged.exchanges(5)
    forged.close()
    report = store.report()
    found = the_failure(report)
    assert found.kind is Kind.UNKNOWN_KEY
    assert not log_of(report, forged).intact
    assert Kind.SELF_SIGNED in warnings(store.report(trust=[]))
    assert store.report(trust=[]).intact, "without a trusted key there is nothing to tell it by"


@pytest.fixture
def encrypted(tmp_path: Path) -> Store:
    """Two subjects in the first batch's key object, one in the others'."""
    encryption = Encryption(MASTER)
    log = LogMaker(tmp_path, audited.BOOT_KEY, enrolment_key=ENROLMENT_KEY, encryption=encryption)
    for number in range(12):
        log.exchange(subject="anna" if number % 3 else "bert")
    log.close()
    return Store(tmp_path, log, log)


def keys_of(store: Store) -> Path:
    return next((store.root / "subjects").iterdir())


def destroy(store: Store, which: int) -> str:
    """Take one subject's key away; gives its id."""
    path = keys_of(store)
    content = json.loads(path.read_bytes())
    gone = content["subjects"].pop(which)
    path.write_text(json.dumps(content, separators=(",", ":")))
    return str(gone["id"])


def test_an_erased_subject_leaves_the_log_intact(encrypted: Store) -> None:
    assert encrypted.report().intact
    gone = destroy(encrypted, 0)
    name = f"subjects/{keys_of(encrypted).name}"
    encrypted.append("erase", erase(name, encrypted.log.names[0], [gone]))
    found = encrypted.report()
    assert found.intact
    assert warnings(found) == {Kind.ERASED}
    assert found.logs[0].erased == 4


def test_an_erasure_that_was_ordered_and_not_carried_out_is_said(encrypted: Store) -> None:
    ids = [each["id"] for each in json.loads(keys_of(encrypted).read_bytes())["subjects"]]
    encrypted.append("erase", erase(f"subjects/{keys_of(encrypted).name}", encrypted.log.names[0], ids[:1]))
    found = the_failure(encrypted.report())
    assert (found.kind, found.field) == (Kind.NOT_ERASED, "keys")
    just_now = encrypted.report(now_us=time.time_ns() // 1000 + 60_000_000)
    assert not {each.kind for each in failures(just_now)} & {Kind.NOT_ERASED}
    assert Kind.NOTE in warnings(just_now)


def test_an_order_repeated_grants_no_new_delay(encrypted: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [each["id"] for each in json.loads(keys_of(encrypted).read_bytes())["subjects"]]
    body = erase(f"subjects/{keys_of(encrypted).name}", encrypted.log.names[0], ids[:1])
    for at_us in (NOW_US - 3_600_000_000, NOW_US - 60_000_000):
        monkeypatch.setattr("time.time_ns", lambda at_us=at_us: at_us * 1000)
        encrypted.append("erase", body)
    assert the_failure(encrypted.report()).kind is Kind.NOT_ERASED


def test_the_master_key_opens_what_was_sealed(encrypted: Store) -> None:
    assert encrypted.report(master=MASTER).intact
    destroy(encrypted, 0)
    assert the_failure(encrypted.report(master=MASTER)).kind is Kind.KEYS_REMOVED


def test_a_changed_entry_of_a_key_object_is_altered(encrypted: Store) -> None:
    path = keys_of(encrypted)
    content = json.loads(path.read_bytes())
    content["subjects"][0]["tag"] = "00" * 32
    path.write_text(json.dumps(content, separators=(",", ":")))
    found = the_failure(encrypted.report())
    assert (found.kind, found.field) == (Kind.ALTERED, "keys")


def test_keys_removed_without_an_erasure(encrypted: Store) -> None:
    destroy(encrypted, 0)
    assert the_failure(encrypted.report()).kind is Kind.KEYS_REMOVED


def test_a_key_object_removed_without_an_erasure(encrypted: Store) -> None:
    keys_of(encrypted).unlink()
    assert the_failure(encrypted.report()).kind is Kind.KEYS_REMOVED


def test_a_forged_erasure(encrypted: Store) -> None:
    gone = destroy(encrypted, 0)
    name = f"subjects/{keys_of(encrypted).name}"
    encrypted.append("erase", erase(name, encrypted.log.names[0], [gone]), key=STRANGER)
    assert the_failure(encrypted.report()).kind is Kind.FORGED_ERASURE


@pytest.mark.parametrize("key", [ENROLMENT_KEY, WITNESS], ids=["enrolment", "witness"])
def test_a_key_trusted_in_another_role_orders_no_erasure(encrypted: Store, key: SigningKey) -> None:
    gone = destroy(encrypted, 0)
    name = f"subjects/{keys_of(encrypted).name}"
    encrypted.append("erase", erase(name, encrypted.log.names[0], [gone]), key=key)
    found = the_failure(encrypted.report(witnesses=[WITNESS]))
    assert found.kind is Kind.FORGED_ERASURE
    assert "signed by no trusted operator" in found.text
    assert encrypted.report(operators=[key]).intact


def test_without_an_operator_key_every_author_is_unknown(encrypted: Store) -> None:
    gone = destroy(encrypted, 0)
    encrypted.append("erase", erase(f"subjects/{keys_of(encrypted).name}", encrypted.log.names[0], [gone]))
    assert "no --operator was given" in the_failure(encrypted.report(operators=[])).text
    assert encrypted.report(trust=[]).intact, "without any key the store is held against itself"


def test_an_enrolment_key_enrols_no_pod_in_the_site_log(store: Store) -> None:
    store.append("enrolment", enrolment(THIRD_PLACE), key=ENROLMENT_KEY)
    found = store.report()
    assert found.intact
    assert Kind.NOTE in warnings(found)


def test_an_operator_key_certifies_no_log(store: Store) -> None:
    assert {each.kind for each in failures(store.report(trust=[OPERATOR]))} == {Kind.UNKNOWN_KEY}


def test_an_erasure_with_a_forged_signature(encrypted: Store) -> None:
    gone = destroy(encrypted, 0)
    name = f"subjects/{keys_of(encrypted).name}"
    encrypted.append("erase", erase(name, encrypted.log.names[0], [gone]), key=STRANGER)
    path = encrypted.root / "site" / f"{0:012d}.json"
    # Who signed is claimed to be the operator, whose key the attacker does not hold.
    path.write_text(path.read_text().replace(str(STRANGER.verifier), str(OPERATOR.verifier)))
    kinds = [each.kind for each in failures(encrypted.report())]
    assert Kind.FORGED_ERASURE in kinds


def test_an_entry_of_the_site_log_removed(store: Store) -> None:
    store.append("enrolment", enrolment(PLACE))
    store.append("enrolment", enrolment(OTHER_PLACE))
    (store.root / "site" / f"{0:012d}.json").unlink()
    assert the_failure(store.report()).kind is Kind.REMOVED


def test_records_that_follow_an_alteration_stay_proven(store: Store) -> None:
    change_middle(store, lambda opened: opened.row(22).update(status=200), True)
    log = log_of(store.report(), store.log)
    assert log.unproven == 0
    assert log.intact_leaves == len(Tampered(store.root, store.log.names[0]).rows)


def test_several_deeds_are_all_named(store: Store) -> None:
    change_middle(store, lambda opened: opened.row(22).update(status=200), False)
    store.path(store.other.names[0]).unlink()
    put(store.root, store.log.names[2].replace("11-24", "11-26"), store.path(store.log.names[2]).read_bytes())
    kinds = sorted(str(each.kind) for each in failures(store.report()))
    assert kinds == ["altered", "duplicated", "removed"]

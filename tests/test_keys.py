from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from sidecar.ledger.cosignature import CosignerKey
from sidecar.ledger.note import SigningKey, VerifierKey
from sidecar.objects import open_store
from sidecar.site_log import open_site_log
from tests.support.commands import Ran, sidecar
from tests.support.sealed_store import PLACE, LogMaker

ENROL = SigningKey("enrolment.example", b"e" * 32)


def make(folder: Path, name: str = "operator@example.org") -> tuple[Path, Ran]:
    out = folder / "operator.key"
    return out, sidecar("keys", "new", "--name", name, "--out", out)


def test_a_new_key_is_for_its_owner_only_and_prints_its_public_half(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        out, ran = make(tmp_path)
    finally:
        os.umask(before)
    assert ran.code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    key = SigningKey.parse(out.read_text())
    assert VerifierKey.parse(ran.out) == key.verifier
    assert key.private_text() not in ran.out


def test_two_new_keys_differ(tmp_path: Path) -> None:
    one = sidecar("keys", "new", "--name", "a", "--out", tmp_path / "1").out
    two = sidecar("keys", "new", "--name", "a", "--out", tmp_path / "2").out
    assert one != two


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    out, _ = make(tmp_path)
    text = out.read_text()
    ran = sidecar("keys", "new", "--name", "x", "--out", out)
    assert ran.code == 2
    assert "not overwritten" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert out.read_text() == text


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_name_that_no_key_may_have_is_a_usage_error_and_makes_no_file(tmp_path: Path, name: str) -> None:
    out, ran = make(tmp_path, name)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert not out.exists()


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    ran = sidecar("keys", "new", "--name", "a", "--out", tmp_path / "none" / "key")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)


def test_show_gives_both_public_forms_of_a_file_and_not_the_private_one(tmp_path: Path) -> None:
    out, made = make(tmp_path)
    key = SigningKey.parse(out.read_text())
    shown = sidecar("keys", "show", out)
    assert shown.out == made.out
    as_witness = sidecar("keys", "show", out, "--witness").out
    assert as_witness == f"{CosignerKey.of(key.verifier)}\n"
    found = json.loads(sidecar("keys", "show", out, "--json").out)
    assert found == {
        "name": "operator@example.org",
        "public_key": str(key.verifier),
        "cosigner_key": str(CosignerKey.of(key.verifier)),
    }
    assert out.read_text().strip() not in shown.out


@pytest.mark.parametrize("text", ["", "x", "PRIVATE+KEY+a+00000000+AAAA", "\ud800"])
def test_a_file_that_is_no_key_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    ran = sidecar("keys", "show", file)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)


def test_show_without_anything_to_show_is_a_usage_error() -> None:
    ran = sidecar("keys", "show")
    assert ran.code == 2
    assert "--store URL" in ran.err


def enrol(store: Path, key: Path, *more: object) -> Ran:
    return sidecar(
        *("keys", "enrol", "--store", store, "--key", key, "--pod", PLACE.pod_uid),
        *("--cluster", PLACE.cluster, "--namespace", PLACE.namespace, "--workload", PLACE.workload, *more),
    )


def test_enrolment_says_which_pod_should_have_a_log(tmp_path: Path) -> None:
    key, _ = make(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    ran = enrol(
        store,
        key,
        "--public-key",
        ENROL.verifier,
        "--digest",
        "sha256:" + "ab" * 32,
        "--since",
        "0",
        "--json",
    )
    assert ran.code == 0
    (entry,) = open_site_log(open_store(str(store))).reader()
    assert entry.kind == "enrolment"
    assert entry.key == str(SigningKey.parse(key.read_text()).verifier)
    assert entry.body == {
        "prefix": PLACE.prefix,
        "cluster": "prod",
        "namespace": "default",
        "workload": "mortgage",
        "pod_uid": PLACE.pod_uid,
        "digest": "sha256:" + "ab" * 32,
        "public_key": str(ENROL.verifier),
        "since_us": 0,
        "retired_us": None,
    }
    assert json.loads(ran.out) == {"entry": 0, "object": "site/000000000000.json", **entry.body}


def test_retiring_keeps_what_was_enrolled(tmp_path: Path) -> None:
    key, _ = make(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    enrol(store, key, "--since", "1000", "--public-key", ENROL.verifier)
    assert enrol(store, key, "--retire", "--since", "2000").code == 0
    _, entry = open_site_log(open_store(str(store))).reader()
    assert (entry.body["since_us"], entry.body["retired_us"]) == (1_000_000_000, 2_000_000_000)
    assert entry.body["public_key"] == str(ENROL.verifier)


def test_only_who_enrolled_a_pod_can_retire_it(tmp_path: Path) -> None:
    key, _ = make(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    enrol(store, key)
    other = tmp_path / "other"
    sidecar("keys", "new", "--name", "other", "--out", other)
    ran = enrol(store, other, "--retire")
    assert ran.code == 2
    assert "never enrolled it" in ran.err


def test_show_lists_the_logs_of_a_store_and_who_vouches_for_each(tmp_path: Path) -> None:
    key, _ = make(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    logs = [
        LogMaker(store, SigningKey.generate("x"), boot="20261124T000000-aaaaaaaaaa", enrolment_key=ENROL),
        LogMaker(store, SigningKey.generate("x"), boot="20261124T000000-bbbbbbbbbb"),
        LogMaker(
            store,
            SigningKey.generate("x"),
            boot="20261124T000000-cccccccccc",
            enrolment_key=SigningKey("enrolment.example", b"f" * 32),
        ),
    ]
    for log in logs:
        log.exchanges(3)
        log.next()
        log.close()
    enrol(store, key)
    rows = [json.loads(line) for line in sidecar("keys", "show", "--store", store, "--json").out.splitlines()]
    assert [row["origin"] for row in rows] == [log.origin for log in logs]
    assert [row["key"] for row in rows] == [str(log.key.verifier) for log in logs]
    assert all(row["enrolled"] for row in rows)
    trusted = sidecar("keys", "show", "--store", store, "--trust", ENROL.verifier, "--json").out
    rows = [json.loads(line) for line in trusted.splitlines()]
    assert [row["by"] for row in rows] == ["enrolment.example", None, None]
    assert rows[0]["certified"] == "certified by enrolment.example"
    assert rows[1]["certified"] == "self-signed"
    assert rows[2]["certified"].startswith("not certified")
    assert all(row["enrolled"] for row in rows)
    # The file of a private key stands for its public half.
    enrolling = tmp_path / "enrolment.key"
    enrolling.write_text(ENROL.private_text() + "\n")
    assert sidecar("keys", "show", "--store", store, "--trust", enrolling, "--json").out == trusted
    # The enrolment of the pods is by the operator's key.
    for operator, believed in ((key, True), (ENROL.verifier, False)):
        ran = sidecar("keys", "show", "--store", store, "--operator", operator, "--json")
        assert [json.loads(line)["enrolled"] for line in ran.out.splitlines()] == [believed] * len(logs)


@pytest.mark.parametrize("option", ["--trust", "--operator"])
def test_what_show_prints_is_a_file_that_other_commands_take(tmp_path: Path, option: str) -> None:
    store = tmp_path / "store"
    log = LogMaker(store, SigningKey("x", b"1" * 32), enrolment_key=ENROL)
    log.exchanges(1)
    log.close()
    private, public = tmp_path / "k", tmp_path / "k.pub"
    private.write_text(ENROL.private_text())
    public.write_text(sidecar("keys", "show", private).out)
    for file in (public, private):
        ran = sidecar("verify", "--store", store, "--trust", ENROL.verifier, option, file)
        assert (ran.code, ran.err) == (0, "")
        ran = sidecar("keys", "show", "--store", store, option, file)
        assert (ran.code, ran.err) == (0, "")


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = sidecar("keys", "show", "--store", tmp_path / "none")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)

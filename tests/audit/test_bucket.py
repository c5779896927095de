"""verify and prove over a real S3 bucket say what they say over a directory."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import obstore
import pytest

from tests.support import audited
from tests.support.audited import ENROLMENT_KEY, enrolment
from tests.support.commands import sidecar
from tests.support.sealed_store import PLACE, tamper
from tests.support.seaweed import ADMINISTRATOR, BUCKET, Seaweed


def test_a_bucket_is_verified_as_a_directory_is(
    seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = audited.make(tmp_path / "store")
    store.append("enrolment", enrolment(PLACE))
    store.witness(store.log)
    tamper(store.root, store.log.names[1], lambda opened: opened.row(22).update(status=200))
    folder = f"audit/{uuid4().hex}"
    for path in store.root.rglob("*"):
        if path.is_file():
            obstore.put(seaweed.client(), f"{folder}/{path.relative_to(store.root)}", path.read_bytes())
    for name, value in ADMINISTRATOR.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIDECAR_STORE_ENDPOINT", seaweed.endpoint)
    places = (str(store.root), f"s3://{BUCKET}/{folder}")

    trust = ("--trust", str(ENROLMENT_KEY.verifier))
    # Workers are kept by their number, and those of earlier tests lack these credentials.
    found = [sidecar("verify", "--store", place, "--json", "--jobs", "5", *trust) for place in places]
    local, remote = (json.loads(each.out) for each in found)
    assert [each.code for each in found] == [1, 1]
    assert remote["logs"] == local["logs"]
    assert remote["objects_sha256"] == local["objects_sha256"]
    assert remote["site_entries"] == 2
    receipts = [sidecar("prove", f"{store.log.log}.5", "--store", place) for place in places]
    assert receipts[0].out == receipts[1].out != ""

"""find, show, compact and replay over a real S3 bucket give what they give over a directory."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import obstore
import pytest

from sidecar.ledger.note import SigningKey
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, START_US, LogMaker
from tests.support.seaweed import ADMINISTRATOR, BUCKET, Seaweed


@pytest.fixture
def stores(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The same objects in a directory and in a bucket."""
    root = tmp_path / "store"
    for number in range(4):
        log = LogMaker(
            root,
            SigningKey("k", bytes([number + 1]) * 32),
            boot=f"b{number}",
            t_us=START_US - number * DAY_US,
        )
        log.exchanges(30)
        log.next()
        log.exchanges(10, status=500)
        log.close()
    folder = f"archive/{uuid4().hex}"
    client = seaweed.client()
    for path in root.rglob("*.parquet"):
        obstore.put(client, f"{folder}/{path.relative_to(root)}", path.read_bytes())
    for name, value in ADMINISTRATOR.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIDECAR_STORE_ENDPOINT", seaweed.endpoint)
    return root, f"s3://{BUCKET}/{folder}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--limit", "0"),
        ("--limit", "7"),
        ("--key", "applicant=A-17"),
        ("--status", "500", "--limit", "0"),
        ("--where", "status = 500 AND seq % 2 = 0"),
        ("--since", "2026-11-22", "--until", "2026-11-23", "--limit", "0"),
        ("--kind", "close"),
        ("--model", "nobody"),
    ],
)
def test_find_gives_the_same_from_both(stores: tuple[Path, str], arguments: tuple[str, ...]) -> None:
    local, remote = (sidecar("find", "--store", each, "--json", *arguments) for each in stores)
    assert remote.code == 0, remote.err
    assert remote.out == local.out
    assert ("nobody" in arguments) == (remote.out == "")


def test_show_gives_the_same_from_both(stores: tuple[Path, str]) -> None:
    local, remote = (sidecar("show", "b1.default.17", "--store", each, "--json") for each in stores)
    assert remote.code == 0, remote.err
    assert json.loads(remote.out) == json.loads(local.out)
    missing = sidecar("show", "b1.default.999", "--store", stores[1])
    assert (missing.code, len(missing.err.splitlines())) == (1, 1)
    assert stores[1] in missing.err


def test_explain_counts_ranges_and_not_objects(stores: tuple[Path, str]) -> None:
    ran = sidecar("find", "--store", stores[1], "--where", "seq = 3", "--since", "2026-11-22", "--until",
                  "2026-11-23", "--explain")  # fmt: skip
    assert ran.code == 0, ran.err
    told = dict(line.rsplit(maxsplit=1) for line in ran.err.splitlines() if "  " in line)
    assert (told["files listed"], told["footers read"]) == ("2", "2")


def test_compact_in_a_bucket_repeats_everything_once(stores: tuple[Path, str]) -> None:
    root, url = stores
    first = json.loads(sidecar("compact", "--store", url, "--json", "--before", "2026-11-24").out)
    assert (first["sources"], first["files"]) == (6, 3)
    again = json.loads(sidecar("compact", "--store", url, "--json", "--before", "2026-11-24").out)
    assert (again["sources"], again["already"]) == (0, 6)
    here = json.loads(sidecar("compact", "--store", root, "--json", "--before", "2026-11-24").out)
    assert here["rows"] == first["rows"]


def test_a_bucket_that_cannot_be_reached_is_one_clear_line(
    stores: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    ran = sidecar("find", "--store", stores[1])
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("sidecar: store s3://")

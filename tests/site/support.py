"""A site log in a directory, and ways to write it from outside."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]

from sidecar.ledger.note import SigningKey
from sidecar.objects import Store, open_store
from sidecar.site.entry import Entry
from sidecar.site.log import SiteLog
from sidecar.site_log import KeyAuthor, open_site_log

OPERATOR = SigningKey("operator", b"o" * 32)
OTHER = SigningKey("other", b"x" * 32)


def operator(key: SigningKey = OPERATOR) -> KeyAuthor:
    return KeyAuthor(key)


def hold(reason: str = "case 7", model: str = "mortgage") -> dict[str, Any]:
    return {
        "scope": "model",
        "model": model,
        "subject": None,
        "master": None,
        "record": None,
        "reason": reason,
    }


def site_log(folder: Path) -> tuple[SiteLog, Store]:
    store = open_store(str(folder))
    return open_site_log(store), store


def filled(folder: Path, entries: int) -> SiteLog:
    """A log with so many holds."""
    log, _ = site_log(folder)
    for number in range(entries):
        log.append(operator(), "hold", hold(f"case {number}"))
    return log


def entries(log: SiteLog) -> list[Entry]:
    return list(log.reader())


def independent_root(objects: list[bytes]) -> bytes:
    """The root over these objects as docs/site-log.md says, with nothing of the product but msgpack."""
    leaves = []
    for data in objects:
        found = json.loads(data)
        text = json.dumps(found["body"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        packed = msgpack.packb([1, found["index"], found["t_us"], found["kind"], text])
        leaves.append(sha256(b"\x00" + packed).digest())
    return _root(leaves)


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + _root(leaves[:split]) + _root(leaves[split:])).digest()

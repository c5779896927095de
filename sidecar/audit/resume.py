"""Facts of batches kept in a file, so that a verification that was interrupted goes on where it stopped.

One JSON line a batch. What is in it is taken as it stands: keep the file where
nobody else can write, and leave it away for a verification that must rest on
the store alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from sidecar.audit.batch import BatchFacts, SealingLeaf
from sidecar.audit.naming import BatchName
from sidecar.errors import StoreError

FORMAT = 2
_NODES = ("computed", "claimed")
_PAIRS = ("mismatches", "numbers")


class Progress:
    """The state file of one verification: read whole when opened, appended to after every batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        try:
            if path.exists():
                self._read(path.read_bytes())
            self._file: BinaryIO = path.open("ab")
        except OSError as error:
            raise StoreError(
                f"state file {path}: {error.strerror}: give a path that can be written"
            ) from error

    def _read(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            try:
                found = orjson.loads(line)
                if found["format"] == FORMAT:
                    self._known[found["name"]] = found
            except (orjson.JSONDecodeError, KeyError, TypeError):
                # The last line of an interrupted run; its batch is read again.
                continue

    def known(self, named: BatchName, size_bytes: int, recompute: bool) -> BatchFacts | None:
        """Facts of a batch that was done before, if its object still has that size."""
        found = self._known.get(named.name)
        if found is None or found["facts"]["size_bytes"] != size_bytes:
            return None
        if recompute and not found["facts"]["recomputed"]:
            return None
        return _from_json(named, found["facts"])

    def add(self, facts: BatchFacts) -> None:
        line = {"format": FORMAT, "name": facts.named.name, "facts": _to_json(facts)}
        try:
            self._file.write(orjson.dumps(line) + b"\n")
            self._file.flush()
        except OSError as error:
            raise StoreError(
                f"state file {self._path}: {error.strerror}: make room, then run again"
            ) from error

    def close(self) -> None:
        self._file.close()


def _to_json(facts: BatchFacts) -> dict[str, Any]:
    made = {each.name: getattr(facts, each.name) for each in fields(facts) if each.name != "named"}
    for name in _NODES:
        made[name] = [[level, node.hex()] for level, node in made[name]]
    made["sealing"] = [asdict(leaf) for leaf in facts.sealing]
    return made


def _from_json(named: BatchName, stored: dict[str, Any]) -> BatchFacts:
    made = dict(stored)
    for name in _NODES:
        nodes: Iterable[tuple[int, str]] = made[name]
        made[name] = [(level, bytes.fromhex(node)) for level, node in nodes]
    for name in _PAIRS:
        made[name] = [tuple(each) for each in made[name]]
    made["sealing"] = [SealingLeaf(**each) for each in made["sealing"]]
    made["unknown_columns"] = tuple(made["unknown_columns"])
    made["log_values"] = None if made["log_values"] is None else tuple(made["log_values"])
    return BatchFacts(named, **made)

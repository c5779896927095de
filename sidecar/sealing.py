"""Rows become leaves of a signed log: what the analyst does between reading rows and committing files.

One log per route and boot, signed with the boot's key. What a dead boot left
in the journal goes into a log of the live boot's own, which names where the
dead one's had come to. The rows that the log itself needs (genesis, config,
identity, batch, heartbeat, close) are put around the others here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.clock import Clock
from sidecar.identity.kubernetes import parse_image_id
from sidecar.key_filter import key_filter
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import ED25519, Note, Signature, VerifierKey, key_id
from sidecar.ledger.origin import Place, origin
from sidecar.ledger.tree import Frontier
from sidecar.records import Container, Epoch
from sidecar.shipping.knowledge import Knowledge, Tree
from sidecar.shipping.parquet import BatchFacts, EncodedBatch, encode, object_name
from sidecar.shipping.rows import RowGroup
from sidecar.shipping.values import Row, json_text, sparse

TREES_KEPT = 256
Sign = Callable[[str], bytes]
"""The Ed25519 signature of a checkpoint's text; whoever holds the key may refuse with LedgerError."""


@dataclass(frozen=True, slots=True)
class BootFacts:
    """What every log of this boot says of itself."""

    place: Place
    boot: str
    version: str
    public_key: bytes
    enrolment: str | None
    """Signed note in which an enrolment key certifies `public_key`."""
    settings: Mapping[str, Any]
    """Effective settings without secrets, JSON-able."""
    store: str = ""
    """Address of the store: a log in another one is not there to be found."""


class Sealer:
    """Seals groups of rows into the trees that `known` carries; nothing is durable before the commit."""

    def __init__(self, facts: BootFacts, sign: Sign, clock: Clock) -> None:
        self._facts = facts
        self._sign = sign
        self._clock = clock

    def tree_of(self, known: Knowledge, boot: str, route: str) -> Tree | None:
        """The tree of a log as this boot seals it; None before its first leaf."""
        tree = known.trees.get(f"{boot}.{route}")
        return tree if tree is not None and tree.sealer == self._facts.boot else None

    def open_logs(self, known: Knowledge) -> list[tuple[str, str]]:
        """Boot and route of every log that this boot has begun and not closed, dead boots' among them."""
        return [
            (boot, route)
            for log, tree in known.trees.items()
            if tree.sealer == self._facts.boot and not tree.closed
            for boot, _, route in (log.partition("."),)
        ]

    def seal(self, group: RowGroup, known: Knowledge) -> EncodedBatch:
        """The group as a finished file, with the object that holds its keys if rows are encrypted.

        Its tree in `known` moves on, and its keys are forgotten.
        Raises LedgerError when the checkpoint cannot be signed.
        """
        now_us = self._clock.wall_us()
        log, route, boot = group.key.log, group.key.route, group.key.boot
        tree = self.tree_of(known, boot, route)
        before: list[Row] = []
        details: Mapping[str, Any]
        if tree is None:
            tree = self._begin(known, boot, route)
            before = self._opening(known, group, tree, now_us)
        elif tree.batch:
            details = {"name": tree.batch, "sha256": tree.batch_sha256.hex()}
            before = [self._own(tree, "batch", 0, now_us, details)]
        for epoch in _to_name(group, known, tree):
            before.append(self._own(tree, "identity", len(before), now_us, _identity(epoch)))
        first_leaf = tree.size
        after: list[Row] = []
        if group.mark is not None:
            ahead = len(before) + group.rows
            details = {"size": first_leaf + ahead} if group.mark == "close" else {}
            after = [self._own(tree, group.mark, ahead, now_us, details)]
            tree.closed = group.mark == "close"
        frontier = Frontier.from_list(tree.frontier)
        before_it = tuple(base64.b64encode(each).decode() for each in frontier.hashes)
        frontier.extend(group.leaf(row) for row in before)
        frontier.extend(group.leaves)
        frontier.extend(group.leaf(row) for row in after)
        root = frontier.root()
        own_us = [now_us] if before or after else []
        times = [*own_us, group.t_min_us, group.t_max_us] if group.rows else own_us
        span = f"{tree.origin}-L{first_leaf:012d}-{frontier.size - 1:012d}"
        vault = group.vault
        keys = (f"subjects/{span}.json", vault.close(span)) if vault is not None and vault.used else None
        facts = BatchFacts(
            origin=tree.origin,
            log=log,
            model=group.epoch.model,
            digest=group.epoch.digest,
            date=group.key.iso_date,
            rows=frontier.size - first_leaf,
            first_leaf=first_leaf,
            first_seq=group.first,
            last_seq=group.last,
            t_min_us=min(times),
            t_max_us=max(times),
            checkpoint=self._checkpoint(tree.origin, frontier.size, root),
            public_key=str(VerifierKey(tree.origin, self._facts.public_key)),
            enrolment=self._facts.enrolment,
            keys=keys[0] if keys else None,
            frontier=before_it,
            key_entries=_entries(keys[1]) if keys else None,
            key_filter=key_filter(group.pairs),
        )
        data = encode(facts, group.batches(first_leaf, before, after))
        name = object_name(facts, data)
        tree.frontier = frontier.to_list()
        tree.root = root
        tree.batch, tree.batch_sha256 = name, hashlib.sha256(data).digest()
        tree.t_us = now_us
        known.trees[log] = tree
        return EncodedBatch(name, data, facts.rows, (keys,) if keys else ())

    def _begin(self, known: Knowledge, boot: str, route: str) -> Tree:
        facts = self._facts
        dead_boot = boot if boot != facts.boot else None
        name = origin(facts.place, route, facts.boot, dead_boot)
        continues = self._end_of(known.trees.get(f"{boot}.{route}")) if dead_boot else None
        self._make_room(known)
        return Tree(name, facts.boot, Frontier().to_list(), continues=continues, store=facts.store)

    def _make_room(self, known: Knowledge) -> None:
        """Forget where the oldest logs of other boots had come to; an own one would begin a second time."""
        others = [log for log, tree in known.trees.items() if tree.sealer != self._facts.boot]
        others.sort(key=lambda log: known.trees[log].t_us)
        del others[max(0, len(known.trees) - TREES_KEPT + 1) :]
        for log in others:
            del known.trees[log]

    def _opening(self, known: Knowledge, group: RowGroup, tree: Tree, now_us: int) -> list[Row]:
        """Genesis and config, the first two leaves of every log."""
        facts, place = self._facts, self._facts.place
        route = group.key.route
        others = [each for log, each in known.trees.items() if log.endswith("." + route)]
        last = max(others, key=lambda each: each.t_us, default=None)
        # What this boot goes on with for a dead one is no boot before it.
        previous = last.continues if last is not None and last.sealer == facts.boot else self._end_of(last)
        genesis = {
            "origin": tree.origin,
            "public_key": str(VerifierKey(tree.origin, facts.public_key)),
            "enrolment": facts.enrolment,
            "cluster": place.cluster,
            "namespace": place.namespace,
            "workload": place.workload,
            "pod_uid": place.pod_uid,
            "route": route,
            "boot": facts.boot,
            "version": facts.version,
            "previous": previous if group.key.boot == facts.boot else None,
            "continues": tree.continues,
        }
        settings = orjson.dumps(facts.settings, option=orjson.OPT_SORT_KEYS)
        config = {"settings": facts.settings, "sha256": hashlib.sha256(settings).hexdigest()}
        return [
            self._own(tree, "genesis", 0, now_us, genesis),
            self._own(tree, "config", 1, now_us, config),
        ]

    def _end_of(self, tree: Tree | None) -> dict[str, Any] | None:
        """Where another log had come to, as far as this journal knows, if it went to the same store."""
        if tree is None or tree.store != self._facts.store:
            return None
        root = base64.b64encode(tree.root).decode()
        return {"origin": tree.origin, "size": tree.size, "root": root, "batch": tree.batch}

    def _own(self, tree: Tree, kind: str, ahead: int, now_us: int, details: Mapping[str, Any]) -> Row:
        """A row of the log itself, `ahead` leaves after the tree's last."""
        return sparse(
            record_id=f"{tree.origin}.{kind}.{tree.size + ahead}",
            kind=kind,
            t_request_us=now_us,
            details=json_text(details),
        )

    def _checkpoint(self, origin: str, size: int, root: bytes) -> str:
        text = Checkpoint(origin, size, root).text()
        key = self._facts.public_key
        return Note(text, (Signature(origin, key_id(origin, ED25519, key), self._sign(text)),)).format()


def _entries(key_object: bytes) -> tuple[str, ...]:
    # Loaded only where records are encrypted: it brings the cryptography library.
    from sidecar.privacy.key_object import KeyObject

    return KeyObject.parse(key_object).digests()


def _to_name(group: RowGroup, known: Knowledge, tree: Tree) -> list[Epoch]:
    """The epochs whose identity leaf comes before the group's rows: its own, if that is new, and those
    of which more has been learnt since theirs."""
    key = group.key
    due = known.due.pop(key.log, [])
    found = [
        known.epochs[key.boot, key.route, number]
        for number in due
        if number != key.epoch and (key.boot, key.route, number) in known.epochs
    ]
    if key.epoch not in tree.epochs:
        tree.epochs.append(key.epoch)
        found.append(group.epoch)
    elif key.epoch in due:
        found.append(group.epoch)
    return found


def _identity(epoch: Epoch) -> dict[str, Any]:
    return _static(epoch) | (_container(epoch.container) if epoch.container is not None else {})


def _container(container: Container) -> dict[str, Any]:
    return {
        "image": container.image,
        "image_id": container.image_id,
        "digest_kind": parse_image_id(container.image_id).kind,
        "container_id": container.container_id,
        "restart_count": container.restart_count,
        "configuration": container.configuration or None,
    }


def _static(epoch: Epoch) -> dict[str, Any]:
    return {
        "number": epoch.number,
        "model": epoch.model,
        "image_digest": epoch.image_digest,
        "artifact_digest": epoch.artifact_digest,
        "source": epoch.source,
        "since_us": epoch.since_us,
    }

"""Any single bit of any object: when it flips, verify says so, in one line and without a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.audit import naming
from sidecar.audit.findings import Kind
from sidecar.audit.workers import DIED, Workers
from sidecar.objects import AUDITOR
from sidecar.privacy.master import LocalMasterKey
from tests.support import audited
from tests.support.audited import ENROLMENT_KEY, WITNESS, Store, enrolment, failures
from tests.support.sealed_store import PLACE, Encryption, LogMaker

FLIPS = 150
"""Bits of each object that are flipped in turn, evenly spread over it."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every kind of object: sealed batches, a key object, entries of the site log."""
    root = tmp_path_factory.mktemp("flips")
    log = LogMaker(
        root,
        audited.BOOT_KEY,
        enrolment_key=ENROLMENT_KEY,
        encryption=Encryption(LocalMasterKey(b"m" * 32)),
    )
    log.exchange(subject="anna")
    log.exchange(subject="bert")
    log.next()
    log.exchanges(2)
    log.close()
    made = Store(root, log, log)
    made.append("enrolment", enrolment(PLACE))
    made.witness(log)
    assert made.report(witnesses=[WITNESS]).intact
    return made


def objects(store: Store) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def noticed(store: Store, path: Path, bit: int) -> bool:
    original = path.read_bytes()
    changed = bytearray(original)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
        found = store.report(witnesses=[WITNESS])
    finally:
        path.write_bytes(original)
    return not found.intact


def test_flipped_bits_spread_over_every_object_are_noticed(store: Store) -> None:
    missed = []
    for path in objects(store):
        bits = path.stat().st_size * 8
        for bit in range(0, bits, max(bits // FLIPS, 1)):
            if not noticed(store, path, bit):
                missed.append((path.name, bit))
    assert not missed


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_noticed(store: Store, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(objects(store)))
    assert noticed(store, path, data.draw(st.integers(0, path.stat().st_size * 8 - 1)))


def test_an_object_of_the_records_cut_short_is_named_once(store: Store) -> None:
    for name in store.log.names:
        path = store.path(name)
        original = path.read_bytes()
        for length in (0, 1, 4, 100, len(original) // 2, len(original) - 1):
            path.write_bytes(original[:length])
            found = failures(store.report())
            path.write_bytes(original)
            assert [each.kind for each in found] == [Kind.ALTERED], length
            assert found[0].object == name
            assert "\n" not in found[0].text


def test_rubbish_in_place_of_every_object_is_named(store: Store) -> None:
    for path in objects(store):
        original = path.read_bytes()
        for rubbish in (b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1", b"{}", b"[" * 100_000, b"\xff" * 300):
            path.write_bytes(rubbish)
            found = store.report(witnesses=[WITNESS])
            path.write_bytes(original)
            assert not found.intact, (path.name, rubbish[:8])


def test_an_object_that_kills_its_reader_is_named_and_the_rest_verified(store: Store) -> None:
    path = store.path(store.log.names[0])
    original = path.read_bytes()
    tasks = [(named, True) for name in store.log.names if (named := naming.parse(name)) is not None]
    killed = 0
    try:
        for bit in range(0, len(original) * 8, 97):
            changed = bytearray(original)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            found = {each.named.name: each for each in Workers(str(store.root), AUDITOR, 2).check(tasks)}
            assert found[store.log.names[1]].unreadable is None
            killed += found[store.log.names[0]].unreadable == DIED
            if killed == 2:
                break
    finally:
        path.write_bytes(original)
    assert killed == 2, "the reader survived every one of these"
    assert store.report(witnesses=[WITNESS]).intact


def test_an_object_larger_than_a_reader_may_hold_is_named(store: Store) -> None:
    path = store.path(store.log.names[0])
    original = path.read_bytes()
    try:
        os.truncate(path, 8 << 30)
        found = failures(store.report())
    finally:
        path.write_bytes(original)
    assert [(each.kind, each.object) for each in found] == [(Kind.ALTERED, store.log.names[0])]

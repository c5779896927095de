"""The recorder's look at its model: real sockets come and go, and the numbers of the epochs with them."""

from __future__ import annotations

import errno
import logging
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from sidecar.clock import ManualClock
from sidecar.config import Address
from sidecar.counters import Counters, Global, Route
from sidecar.identity.listener import ListenerProbe
from sidecar.model_watch import FAILURES, LOOK_NS, ModelWatch, go_on_from
from sidecar.proxy.capture import CaptureBudget
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Epoch

DIGEST = "sha256:" + "ab" * 32


class Rig:
    """A route, its counters, and the epochs that reached the journal."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", boot: str = "earlier") -> None:
        self.clock = ManualClock()
        stamp = {"earlier": "20250101T000000-0000000000", "later": "20250102T000000-0000000000"}[boot]
        self.counters = Counters.create(folder, stamp, ["default"])
        self.epochs: list[Epoch] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.upstream = Address(host, free.getsockname()[1])
        self.model: socket.socket | None = None

    def watch(self) -> ModelWatch:
        """A recorder of this boot begins."""
        slots, base = self.counters.slots, self.counters.base("default")
        nothing = cast(Any, None)
        budget = CaptureBudget(1 << 20, 1 << 20)
        self.context = RouteContext("default", self.clock, slots, base, budget, nothing, nothing)
        first = Epoch("default", 0, "m", DIGEST, None, "flag", 1)
        watch = ModelWatch(self.context, self.counters, self, first, self.upstream, self.clock)
        watch.begin()
        self.context.watch = watch.answering
        return watch

    def epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def come(self) -> None:
        self.model = socket.create_server(("127.0.0.1", self.upstream.port))

    def go(self) -> None:
        assert self.model is not None
        self.model.close()

    def answering(self) -> int:
        self.clock.advance(LOOK_NS / 1e9)
        return self.context.answering()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_models_that_follow_one_another_are_numbered(rig: Rig) -> None:
    rig.watch()
    assert rig.answering() == 0
    rig.come()
    assert rig.answering() == 0
    seen_us = rig.clock.wall_us()
    rig.go()
    # A connection that stands while nobody listens is one to the model that has just gone.
    assert [rig.answering(), rig.answering()] == [0, 0]
    assert rig.context.epoch == 1
    rig.come()
    assert rig.answering() == 1
    # Nothing that was said of the first model is said of the next.
    assert rig.epochs == [Epoch("default", 1, "m", None, None, "unknown", seen_us)]


def test_looks_are_no_closer_together_than_need_be(rig: Rig) -> None:
    rig.watch()
    rig.come()
    assert rig.answering() == 0
    rig.go()
    rig.come()
    assert rig.context.answering() == 0
    assert rig.answering() == 1
    rig.go()
    rig.answering()
    rig.come()
    # But the first one of a model that has just come must not wait for the next look.
    assert rig.context.answering() == 2


def test_a_restarted_recorder_goes_on_with_the_number(rig: Rig) -> None:
    rig.watch()
    rig.come()
    rig.answering()
    rig.go()
    rig.answering()
    rig.come()
    rig.answering()
    rig.watch()
    assert rig.context.epoch == rig.answering() == 1
    assert [epoch.number for epoch in rig.epochs] == [1, 1]


def test_a_model_that_was_replaced_while_no_recorder_ran_is_another(rig: Rig) -> None:
    rig.watch()
    rig.come()
    rig.answering()
    rig.go()
    rig.come()
    rig.watch()
    assert rig.context.epoch == 1
    assert rig.answering() == 1


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("gone", [False, True])
def test_the_next_boot_knows_whether_the_model_is_still_the_same(
    tmp_path: Path, replaced: bool, gone: bool
) -> None:
    last = Rig(tmp_path)
    last.watch()
    last.come()
    assert last.answering() == 0
    seen_us = last.clock.wall_us()
    if gone:
        last.go()
        last.answering()
        assert last.context.epoch == 1
    elif replaced:
        last.go()
    rig = Rig(tmp_path, boot="later")
    rig.upstream = last.upstream
    if gone or replaced:
        rig.come()
    go_on_from(tmp_path, rig.counters)
    rig.watch()
    another = gone or replaced
    assert rig.answering() == int(another)
    assert [epoch.since_us for epoch in rig.epochs] == [seen_us] * another


def test_what_is_said_of_the_pods_first_model_is_not_said_of_a_later_one_by_a_later_boot(
    tmp_path: Path,
) -> None:
    last = Rig(tmp_path)
    last.watch()
    last.come()
    last.answering()
    seen_us = last.clock.wall_us()
    last.go()
    last.answering()
    last.come()
    last.answering()
    rig = Rig(tmp_path, boot="later")
    rig.upstream = last.upstream
    go_on_from(tmp_path, rig.counters)
    rig.watch()
    assert rig.answering() == 1
    assert rig.epochs == [Epoch("default", 1, "m", None, None, "unknown", seen_us)]


def test_another_pods_models_on_the_same_journal_are_none_of_this_ones(tmp_path: Path) -> None:
    last = Rig(tmp_path)
    last.counters.set(Global.POD, 1)
    last.watch()
    last.come()
    last.answering()
    last.go()
    last.answering()
    rig = Rig(tmp_path, boot="later")
    rig.counters.set(Global.POD, 2)
    go_on_from(tmp_path, rig.counters)
    rig.watch()
    rig.come()
    assert (rig.answering(), rig.epochs) == (0, [])


def test_looks_that_fail_for_too_long_begin_an_epoch_of_which_nothing_is_said(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.watch()
    rig.come()
    assert rig.answering() == 0

    def fails(probe: ListenerProbe, known: frozenset[int]) -> frozenset[int]:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    with monkeypatch.context() as broken:
        broken.setattr(ListenerProbe, "listeners", fails)
        assert [rig.answering() for _ in range(FAILURES + 2)] == [0] * (FAILURES - 1) + [1] * 3
    rig.go()
    rig.come()
    assert [rig.answering(), rig.answering()] == [1, 1]
    assert [(epoch.number, epoch.image_digest) for epoch in rig.epochs] == [(1, None)]


def test_a_boot_without_another_before_it_begins_with_what_it_sees(rig: Rig) -> None:
    go_on_from(rig.counters.path.parent, rig.counters)
    rig.come()
    rig.watch()
    assert rig.answering() == 0
    (rig.counters.path.parent / "counters-20200101T000000-aaaaaaaaaa.bin").write_bytes(b"no counters")
    go_on_from(rig.counters.path.parent, rig.counters)


def test_a_model_that_cannot_be_seen_is_said_and_stays_number_0(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, host="model.example")
    with caplog.at_level(logging.WARNING):
        rig.watch()
    assert "cannot be seen" in caplog.text
    assert rig.answering() == 0
    assert rig.counters.route("default", Route.BLIND) == 1
    assert rig.answering() == 0


def test_a_model_that_was_not_seen_yet_is_no_model_that_cannot_be_seen(rig: Rig) -> None:
    rig.watch()
    assert rig.counters.route("default", Route.BLIND) == 0

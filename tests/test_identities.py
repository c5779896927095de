"""The recorder's numbers and a cluster's news → which container each exchange is filed under."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import ManualClock
from sidecar.identities import Identities
from sidecar.identity.facts import Facts
from sidecar.identity.kubernetes import digest_text
from sidecar.identity.spans import Span, spans
from sidecar.journal.reader import Segment
from sidecar.records import NEVER, Container, Entry, Epoch, Exchange, Outcome, Position
from sidecar.shipping.knowledge import Knowledge, Tree

S = 1_000_000
START_S = 1_700_000_000
BOOT, ROUTE = "boot", "default"
PINNED = "sha256:" + "f" * 64


def digest(image: str) -> str:
    return "sha256:" + image.encode().hex().rjust(64, "0")


def ran(name: str, started_s: float, finished_s: float | None = None, restarts: int = 0) -> Container:
    """`a.2` is a restart of image `a`."""
    started_us = int((START_S + started_s) * S) // S * S
    finished_us = None if finished_s is None else int((START_S + finished_s) * S) // S * S
    return Container("i", f"r@{digest(name.split('.')[0])}", name, restarts, started_us, finished_us)


class Rig:
    """One route's identities; times are seconds after the start."""

    def __init__(self, wait_s: float = 30.0, blind: bool = False, pinned: str | None = None) -> None:
        self.clock = ManualClock(START_S * S)
        self.facts = Facts()
        self.known = Knowledge()
        self.identities = Identities(
            self.facts, BOOT, ROUTE, self.clock, wait_s, START_S * S - 1000 * S, lambda: blind
        )
        source = "flag" if pinned else "unknown"
        self.epoch(Epoch(ROUTE, 0, "m", pinned, None, source, START_S * S))

    def epoch(self, epoch: Epoch) -> None:
        self.known.epochs[BOOT, epoch.route, epoch.number] = epoch

    def segment(self, *entries: Entry, boot: str = BOOT) -> Segment:
        return Segment(Position(1, 1), boot, self.clock.wall_us(), list(entries), {ROUTE: 1}, 100)

    def exchange(
        self, epoch: int, at_s: float | None = None, outcome: Outcome = Outcome.COMPLETE
    ) -> Exchange:
        at_us = self.clock.wall_us() if at_s is None else int((START_S + at_s) * S)
        made = Exchange(ROUTE, 1, "", at_us, 0)
        made.epoch, made.outcome, made.first_byte_ns = epoch, outcome, 0
        return made

    def change(self, number: int) -> Epoch:
        return Epoch(ROUTE, number, "m", None, None, "unknown", self.clock.wall_us())

    def take(self, *entries: Entry) -> bool:
        """Whether a segment of these is let through, once what is new was settled."""
        admitted = self.identities.admits(self.segment(*entries), self.known)
        if not admitted and self.identities.news:
            self.identities.settle(self.known)
            admitted = self.identities.admits(self.segment(*entries), self.known)
        return admitted

    def digest(self, number: int) -> str | None:
        return self.known.epochs[BOOT, ROUTE, number].image_digest


def test_records_wait_for_the_news_and_no_longer_than_agreed() -> None:
    rig = Rig(wait_s=30)
    rig.clock.advance(5)
    first = rig.exchange(0)
    assert not rig.take(first)
    assert rig.identities.holds()
    rig.clock.advance(29)
    assert not rig.take(first)
    rig.clock.advance(1.1)
    assert not rig.identities.holds()
    assert rig.take(first)
    assert rig.digest(0) is None
    assert rig.take(rig.exchange(0)), "whoever waited once does not wait again"


def test_news_ends_the_wait_at_once() -> None:
    rig = Rig()
    rig.clock.advance(5)
    first = rig.exchange(0)
    assert not rig.take(first)
    rig.facts.tell([ran("a", -100)])
    assert not rig.identities.holds()
    assert rig.take(first)
    assert rig.digest(0) == digest("a")
    assert rig.known.epochs[BOOT, ROUTE, 0].source == "kubernetes"


def test_a_clock_that_steps_back_does_not_lengthen_the_wait() -> None:
    rig = Rig(wait_s=30)
    first = rig.exchange(0)
    rig.clock.step_wall(-3600)
    assert not rig.take(first)
    rig.clock.advance(30.1)
    assert rig.take(first)


def test_old_records_of_a_restarted_analyst_do_not_wait_anew() -> None:
    rig = Rig(wait_s=30)
    first = rig.exchange(0)
    rig.clock.advance(31)
    assert rig.take(first)


def test_a_pinned_digest_needs_no_news_and_holds_for_the_first_model_alone() -> None:
    rig = Rig(pinned=PINNED)
    assert rig.take(rig.exchange(0))
    assert rig.digest(0) == PINNED
    rig.clock.advance(60)
    assert not rig.take(rig.change(1), rig.exchange(1))


def test_an_image_changed_in_place_is_another_epoch_and_old_news_is_not_its() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    rig.clock.advance(10)
    assert rig.take(rig.exchange(0))
    change = rig.change(1)
    rig.clock.advance(5)
    first = rig.exchange(1)
    assert not rig.take(change, first)
    rig.facts.tell([ran("a", -100)])
    assert not rig.take(change, first)
    rig.facts.tell([ran("b", 13)])
    assert rig.take(change, first)
    assert (rig.digest(0), rig.digest(1)) == (digest("a"), digest("b"))


def test_the_same_image_again_is_another_epoch_with_the_same_digest() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    assert rig.take(rig.exchange(0))
    rig.clock.advance(10)
    change = rig.change(1)
    rig.clock.advance(5)
    rig.facts.tell([ran("a.2", 12)])
    assert rig.take(change, rig.exchange(1))
    assert rig.digest(1) == rig.digest(0) == digest("a")
    containers = [rig.known.epochs[BOOT, ROUTE, number].container for number in (0, 1)]
    assert [each.container_id for each in containers if each is not None] == ["a", "a.2"]


def test_news_of_what_came_between_is_missing_and_nothing_is_guessed() -> None:
    rig = Rig(wait_s=1)
    rig.facts.tell([ran("a", -100)])
    assert rig.take(rig.exchange(0))
    for number in (1, 2):
        rig.clock.advance(10)
        change = rig.change(number)
        rig.clock.advance(5)
        exchange = rig.exchange(number)
        rig.take(change, exchange)
        rig.clock.advance(2)
        assert rig.take(change, exchange)
    rig.facts.tell([ran("c", 27)])
    assert rig.identities.settle(rig.known) == {2}
    assert (rig.digest(1), rig.digest(2)) == (None, digest("c"))


def test_a_run_of_which_only_the_end_is_told_is_no_other_epochs() -> None:
    rig = Rig(wait_s=1)
    rig.facts.tell([ran("a", -100)])
    assert rig.take(rig.exchange(0))
    rig.clock.advance(10.6)
    rig.take(rig.change(1), rig.exchange(1, at_s=11.1))
    rig.clock.advance(1.2)
    change, answer = rig.change(2), rig.exchange(2, at_s=12.9)
    rig.clock.advance(3)
    rig.take(rig.exchange(1, at_s=11.1))
    silent = replace(ran("b", 11, 12, restarts=1), image_id="")
    rig.facts.tell([silent, ran("c", 12, restarts=2)])
    assert rig.take(change, answer)
    assert (rig.digest(1), rig.digest(2)) == (None, digest("c"))


@pytest.mark.parametrize("number", [0, 1])
def test_a_container_that_ended_without_listening_gives_its_image_to_nobody(number: int) -> None:
    rig = Rig(pinned=digest("b") if number == 0 else None)
    if number:
        rig.facts.tell([ran("a", -100)])
        assert rig.take(rig.exchange(0))
    rig.clock.advance(10)
    change = [rig.change(1)] * number
    rig.take(*change)
    rig.clock.advance(3)
    rig.facts.tell([ran("b", 12, restarts=number)])
    rig.clock.advance(5)
    assert rig.identities.settle(rig.known, rig.clock.wall_us()) == {number}
    assert rig.digest(number) == digest("b")
    rig.facts.tell([ran("b", 12, 15, restarts=number)])
    rig.clock.advance(20)
    answer = rig.exchange(number)
    assert not rig.take(answer), "nothing is told yet of whoever answers now"
    assert rig.digest(number) is None
    rig.facts.tell([ran("c", 30, restarts=number + 1)])
    assert rig.take(answer)
    assert rig.digest(number) == digest("c")


def test_a_pinned_digest_is_not_that_of_whoever_answers_after_a_container_has_failed() -> None:
    rig = Rig(pinned=digest("b"))
    rig.facts.tell([ran("b", 1, 3)])
    rig.clock.advance(20)
    assert not rig.take(rig.exchange(0))
    assert rig.digest(0) is None


def test_a_restarted_analyst_that_has_read_nothing_yet_takes_nothing_back() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    assert rig.take(rig.exchange(0))
    rig.clock.advance(30)
    rig.facts.tell([ran("a", -100, 10)])
    rig.identities = Identities(rig.facts, BOOT, ROUTE, rig.clock, 30, 0)
    rig.identities.settle(rig.known, rig.clock.wall_us())
    container = rig.known.epochs[BOOT, ROUTE, 0].container
    assert container is not None


def test_what_was_filed_under_a_container_that_had_ended_by_then_is_filed_anew() -> None:
    rig = Rig()
    rig.known.trees[f"{BOOT}.{ROUTE}"] = Tree("o", BOOT, [3], epochs=[0])
    rig.facts.tell([ran("b", 1)])
    rig.clock.advance(5)
    rig.identities.settle(rig.known, rig.clock.wall_us())
    rig.clock.advance(20)
    answer = rig.exchange(0)
    assert rig.take(answer)
    assert rig.digest(0) == digest("b"), "neither its end nor another's start is told"
    rig.facts.tell([ran("b", 1, 3)])
    assert rig.identities.settle(rig.known, rig.clock.wall_us()) == {0}
    assert not rig.take(answer)
    assert rig.known.due == {f"{BOOT}.{ROUTE}": [0]}


def test_what_has_its_leaf_gets_another_when_more_is_learnt() -> None:
    rig = Rig(wait_s=1)
    rig.known.trees[f"{BOOT}.{ROUTE}"] = Tree("o", BOOT, [3], epochs=[0])
    rig.clock.advance(5)
    assert rig.take(rig.exchange(0, at_s=0))
    rig.facts.tell([ran("a", -100)])
    assert rig.identities.settle(rig.known) == {0}
    assert rig.known.due == {f"{BOOT}.{ROUTE}": [0]}
    assert rig.identities.settle(rig.known) == set()


def test_a_503_waits_for_nobody_and_tells_nothing_of_the_model() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    assert rig.take(rig.exchange(0))
    rig.clock.advance(10)
    refused = rig.exchange(1, outcome=Outcome.UPSTREAM_ERROR)
    assert rig.take(rig.change(1), refused)
    assert not rig.take(refused, rig.exchange(1)), "the answer behind it waits"


def test_a_request_that_was_given_up_before_the_model_came_does_not_say_when_it_answered() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    assert rig.take(rig.exchange(0))
    rig.clock.advance(10)
    given_up = rig.exchange(1, outcome=Outcome.CLIENT_ABORT)
    given_up.first_byte_ns = NEVER
    assert rig.take(rig.change(1), given_up)
    rig.clock.advance(10)
    answer = rig.exchange(1)
    assert not rig.take(answer)
    rig.facts.tell([ran("b", 15, restarts=1)])
    assert rig.take(answer)
    assert rig.digest(1) == digest("b")


def test_what_is_known_is_known_at_once_when_the_journal_is_read_again() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    rig.clock.advance(10)
    change = rig.change(1)
    rig.clock.advance(5)
    rig.facts.tell([ran("b", 12)])
    segment = (change, rig.exchange(1, outcome=Outcome.UPSTREAM_ERROR), rig.exchange(1))
    assert rig.take(*segment)
    rig.known = Knowledge()
    rig.epoch(Epoch(ROUTE, 0, "m", None, None, "unknown", START_S * S))
    rig.identities.begin(rig.known)
    assert rig.identities.admits(rig.segment(*segment), rig.known)
    assert rig.digest(1) == digest("b")
    assert not rig.identities.news


def test_another_boots_records_are_as_they_were() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    assert rig.identities.admits(rig.segment(rig.exchange(7), boot="dead"), rig.known)
    assert (BOOT, ROUTE, 7) not in rig.known.epochs


def test_a_container_of_before_the_nodes_start_is_no_longer_there() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -2000)])
    assert not rig.take(rig.exchange(0))


def test_an_idle_model_is_known_without_an_exchange() -> None:
    rig = Rig()
    rig.facts.tell([ran("a", -100)])
    rig.clock.advance(10)
    assert rig.identities.settle(rig.known, read_to_us=rig.clock.wall_us()) == {0}
    assert rig.identities.counts(rig.known)["known"] == 1


def test_nothing_waits_at_the_end() -> None:
    rig = Rig()
    asked: list[int] = []
    rig.facts.look = lambda: asked.append(1)
    assert not rig.take(rig.exchange(0))
    rig.identities.hurry()
    assert rig.take(rig.exchange(0))
    assert asked == [1]


def test_an_annotation_that_cannot_be_read_or_is_about_another_container_is_counted_and_changes_nothing() -> (
    None
):
    facts = Facts("model")
    facts.tell_text(digest_text("proxy", [ran("a", 1)]))
    facts.tell_text("{")
    assert (facts.containers, facts.unreadable, facts.version) == ((), 2, 0)
    facts.tell_text(digest_text("model", [ran("a", 1)]))
    facts.tell_text(digest_text("model", [ran("a", 1)]))
    assert (len(facts.containers), facts.version, facts.news) == (1, 1, 2)


# where the model cannot be seen


def test_unseen_models_are_told_apart_by_the_second_of_their_start() -> None:
    a, b, c = ran("a", 0, 9), ran("b", 10, 20), ran("c", 20)
    assert spans([a, b, c]) == [
        Span(0, a),
        Span(b.started_us, b),
        Span(c.started_us, None),
        Span(c.started_us + S, c),
    ]
    again = ran("b.2", 20)
    assert spans([b, again]) == [Span(0, b), Span(again.started_us, again)], "the same image either way"


def test_an_unseen_model_of_which_only_the_end_is_told_has_no_digest_until_its_image_is_told() -> None:
    rig = Rig(blind=True, wait_s=0)
    silent = replace(ran("b", 10, 19), image_id="")
    rig.facts.tell([ran("a", 0, 9), silent, ran("c", 20)])
    rig.identities.settle(rig.known)

    def found() -> list[str | None]:
        entries = [rig.exchange(0, at_s) for at_s in (5.0, 15.0, 25.0)]
        assert rig.take(*entries)
        return [rig.digest(each.epoch) for each in entries]

    assert found() == [digest("a"), None, digest("c")]
    rig.facts.tell([ran("b", 10, 19)])
    rig.identities.settle(rig.known)
    assert found() == [digest("a"), digest("b"), digest("c")]
    assert len(rig.known.epochs) == 3


@pytest.mark.parametrize("late", [False, True])
def test_unseen_models_are_filed_by_time_and_labelled_anew_when_news_is_late(late: bool) -> None:
    rig = Rig(blind=True)
    rig.facts.tell([ran("a", -100)])
    times = (5.0, 19.9, 20.4, 21.0, 30.0)
    rig.clock.advance(40)
    entries = [rig.exchange(0, at_s) for at_s in times]
    if late:
        assert rig.take(*entries)
        assert {each.epoch for each in entries} == {0}
    rig.facts.tell([ran("b", 20)])
    changed = rig.identities.settle(rig.known)
    assert 0 in changed, "what is filed under the first has to be looked at again"
    entries = [rig.exchange(0, at_s) for at_s in times]
    assert rig.take(*entries)
    found = [rig.digest(each.epoch) for each in entries]
    assert found == [digest("a"), digest("a"), None, digest("b"), digest("b")]
    rig.identities.settle(rig.known)
    rig.identities.begin(rig.known)
    again = [rig.exchange(0, at_s) for at_s in times]
    assert rig.take(*again)
    assert [each.epoch for each in again] == [each.epoch for each in entries]


@given(st.data())
def test_whatever_comes_late_or_never_no_record_gets_another_models_digest(data: st.DataObject) -> None:
    """A pod's life: models that follow one another, some silent, with news shuffled, repeated and partly lost."""
    rig = Rig(wait_s=data.draw(st.sampled_from([0.5, 40.0])))
    truth: dict[int, str] = {}
    news: list[Container] = []
    at_s = 0.0
    segments: list[tuple[float, list[Entry]]] = [(0.0, [])]
    for number in range(data.draw(st.integers(1, 5))):
        started_s = at_s + data.draw(st.floats(0.3, 5))
        image = data.draw(st.sampled_from("ab"))
        answers_s = started_s + data.draw(st.floats(0.1, 5))
        ended_s = answers_s + data.draw(st.floats(0.0, 20))
        entries: list[Entry] = []
        if number:
            entries.append(Epoch(ROUTE, number, "m", None, None, "unknown", int((START_S + at_s) * S)))
        entries += [rig.exchange(number, answers_s), rig.exchange(number, ended_s)]
        segments.append((answers_s, entries))
        truth[number] = digest(image)
        finished = data.draw(st.sampled_from([None, ended_s + 0.2]))
        news.append(ran(f"{image}.{number}", started_s, finished, number))
        at_s = ended_s
    # What a status tells of the run before is not its image.
    told = data.draw(
        st.lists(
            st.sampled_from(news + [replace(each, image_id="") for each in news]), max_size=3 * len(news)
        )
    )
    early = data.draw(st.lists(st.booleans(), min_size=len(segments) * 3, max_size=len(segments) * 3))
    for answers_s, entries in segments:
        while told and early and early.pop():
            each = told.pop()
            # Nobody tells what has not happened yet.
            if each.started_us <= (START_S + answers_s) * S:
                rig.facts.tell([each])
        rig.clock.advance(max((START_S + answers_s) * S - rig.clock.wall_us(), 0) / S)
        while not rig.take(*entries):
            rig.clock.advance(1)
        for number, right in truth.items():
            if (BOOT, ROUTE, number) in rig.known.epochs:
                assert rig.digest(number) in (None, right)
    rig.facts.tell(told)
    rig.identities.settle(rig.known)
    for number, right in truth.items():
        assert rig.digest(number) in (None, right)

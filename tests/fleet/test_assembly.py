"""Panes of many writers put together: exactly the sum, each once, in bounded time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.fleet.assembly import OPEN_PANES, Assembly
from sidecar.fleet.pane_file import PaneFile
from sidecar.fleet.sums import Sum, vector
from sidecar.fleet.writers import RANGES_KEPT, Writer
from tests.support.panes import MINUTE_US, T0_US, facts, file_of, pane

WAIT_US = 10 * MINUTE_US
NOW_US = T0_US + 20 * MINUTE_US


def add(total: Sum, other: Sum) -> None:
    total.exchanges += other.exchanges
    for name, counts in other.counts.items():
        total.counts[name] = total.counts[name] + counts if name in total.counts else counts
    for source, exchanges in other.sources.items():
        total.sources[source] = total.sources.get(source, 0) + exchanges


def whole(assembly: Assembly) -> Sum:
    """Everything an assembly was given: handed out, open and behind."""
    total = Sum()
    for each in assembly.hand_out(2**62):
        add(total, each.sum)
    add(total, assembly.behind)
    return total


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[int, int, list[int]]]:
    """Exchanges: pane, slot of each of two tallies."""
    return draw(
        st.lists(
            st.tuples(
                st.integers(0, 12), st.integers(0, 3), st.lists(st.integers(0, 4), min_size=2, max_size=2)
            ),
            min_size=1,
            max_size=80,
        )
    )


@settings(max_examples=60, deadline=None)
@given(traffic(), st.randoms(use_true_random=False))
def test_the_sum_over_any_split_is_the_whole(
    exchanges: list[tuple[int, int, list[int]]], chance: random.Random
) -> None:
    """Split over pods, files, panes and late rows at random, delivered in any order and some twice."""
    files = split(exchanges, chance)
    assembly = Assembly(WAIT_US)
    given_out = Sum()
    for file in files:
        assembly.take(file, NOW_US)
        if chance.random() < 0.3:
            assembly = restored(assembly, given_out)
        if chance.random() < 0.3:
            for each in assembly.hand_out(T0_US + chance.randrange(14) * MINUTE_US):
                add(given_out, each.sum)
    total = whole(assembly)
    add(total, given_out)
    expected = {"a": np.zeros(5, dtype=np.int64), "b": np.zeros(5, dtype=np.int64)}
    for _, _, (first, second) in exchanges:
        expected["a"][first] += 1
        expected["b"][second] += 1
    assert total.exchanges == len(exchanges)
    assert {name: counts.tolist() for name, counts in total.counts.items()} == {
        name: counts.tolist() for name, counts in expected.items()
    }
    assert sum(total.sources.values()) == len(exchanges)


def restored(assembly: Assembly, given_out: Sum) -> Assembly:
    """As after a restart: what lies behind is the caller's to keep."""
    add(given_out, assembly.behind)
    return Assembly.restore(assembly.state(), WAIT_US)


def split(exchanges: Sequence[tuple[int, int, list[int]]], chance: random.Random) -> list[PaneFile]:
    groups: dict[tuple[int, int], dict[tuple[int, bool], list[list[int]]]] = {}
    serials: dict[int, int] = {}
    for number, pod, slots in exchanges:
        serial = chance.randrange(3)
        serials[pod] = max(serials.get(pod, 0), serial)
        late = chance.random() < 0.2
        groups.setdefault((pod, serial), {}).setdefault((number, late), []).append(slots)
    files = []
    for (pod, serial), panes in groups.items():
        made = []
        by_start: dict[tuple[int, bool], list[list[int]]] = {}
        for (number, late), rows in panes.items():
            # Late rows are folded by hour before they are shipped.
            by_start.setdefault((number if not late else 0, late), []).extend(rows)
        for (number, late), rows in by_start.items():
            counts = {
                name: np.bincount([row[index] for row in rows], minlength=5).tolist()
                for index, name in enumerate("ab")
            }
            made.append(pane(number, counts, len(rows), late))
        files.append(file_of(facts(pod, serial), made))
    files += [chance.choice(files) for _ in range(chance.randrange(3))]
    chance.shuffle(files)
    return files


def settled() -> Assembly:
    """One that has known its writers for longer than it waits."""
    assembly = Assembly(WAIT_US)
    assembly.known_since_us = 0
    return assembly


def numbers(assembly: Assembly, now_us: int) -> list[int]:
    return [(each.start_us - T0_US) // MINUTE_US for each in assembly.due(now_us)]


def test_a_file_is_taken_once() -> None:
    assembly = Assembly(WAIT_US)
    file = file_of(facts(), [pane(0, {"a": [1, 2]}, 3)])
    assert assembly.take(file, NOW_US)
    assert not assembly.take(file, NOW_US)
    assert whole(assembly).counts["a"].tolist() == [1, 2]
    assert assembly.tallied.repeated_files == 1


def test_a_pane_waits_for_every_writer_that_is_heard_of() -> None:
    assembly = settled()
    now = T0_US + 4 * MINUTE_US
    assembly.take(
        file_of(facts(1, complete_to_us=T0_US + 3 * MINUTE_US), [pane(0, {"a": [1]}), pane(2, {"a": [1]})]),
        now,
    )
    assembly.take(file_of(facts(2, complete_to_us=T0_US + MINUTE_US), [pane(0, {"a": [1]})]), now)
    found = assembly.due(now)
    assert [((each.start_us - T0_US) // MINUTE_US, each.sum.counts["a"].tolist()) for each in found] == [
        (0, [2])
    ]
    assembly.take(
        file_of(
            facts(2, 1, complete_to_us=T0_US + 3 * MINUTE_US), [pane(1, {"a": [1]}), pane(2, {"a": [1]})]
        ),
        now,
    )
    assert numbers(assembly, now) == [1, 2]


def test_a_silent_writer_is_waited_for_a_bounded_time() -> None:
    assembly = settled()
    assembly.take(file_of(facts(1, complete_to_us=T0_US), [pane(-1, {"a": [1]})]), T0_US)
    assembly.take(file_of(facts(2, complete_to_us=T0_US + 3 * MINUTE_US), [pane(1, {"a": [1]})]), T0_US)
    assert numbers(assembly, T0_US + 3 * MINUTE_US) == [-1]
    assert numbers(assembly, T0_US + 12 * MINUTE_US - 1) == [1]


def test_a_writer_that_ended_is_not_waited_for() -> None:
    assembly = settled()
    assembly.take(file_of(facts(1, final=True), [pane(0, {"a": [1]})]), NOW_US)
    assembly.take(file_of(facts(2, complete_to_us=T0_US + 3 * MINUTE_US), [pane(1, {"a": [1]})]), NOW_US)
    assert numbers(assembly, T0_US + 3 * MINUTE_US) == [0, 1]


def test_a_new_assembly_gives_everyone_time_to_be_heard_of() -> None:
    assembly = Assembly(WAIT_US)
    now = T0_US + 4 * MINUTE_US
    assembly.take(file_of(facts(1, complete_to_us=now), [pane(0, {"a": [1]})]), now)
    assert numbers(assembly, now) == []
    assembly.take(file_of(facts(2, complete_to_us=now), [pane(0, {"a": [5]})]), now + MINUTE_US)
    (found,) = assembly.due(T0_US + MINUTE_US + WAIT_US)
    assert found.sum.counts["a"].tolist() == [6]


def test_what_comes_after_its_pane_was_handed_out_is_in_the_sum_and_not_in_a_pane() -> None:
    assembly = settled()
    assembly.take(file_of(facts(1, final=True), [pane(0, {"a": [1]})]), NOW_US)
    assert numbers(assembly, NOW_US) == [0]
    assembly.take(file_of(facts(2, final=True), [pane(0, {"a": [5]}, 5)]), NOW_US)
    assert numbers(assembly, NOW_US) == []
    assert assembly.tallied.overdue == 5
    assert assembly.behind.counts["a"].tolist() == [5]


def test_a_recount_of_a_lost_state_is_dropped() -> None:
    """The second writer counted the same boot: it read again what was still in the journal."""
    assembly = Assembly(WAIT_US)
    assembly.take(file_of(facts(1, boots=("x",)), [pane(0, {"a": [4]}, 4), pane(1, {"a": [4]}, 4)]), NOW_US)
    again = [pane(1, {"a": [3]}, 3), pane(2, {"a": [9]}, 9)]
    assembly.take(file_of(facts(2, boots=("x", "y")), again), NOW_US)
    assert assembly.tallied.recounted == 3
    assert whole(assembly).counts["a"].tolist() == [17]


def test_two_writers_without_a_common_boot_both_count() -> None:
    assembly = Assembly(WAIT_US)
    for writer in (1, 2):
        assembly.take(file_of(facts(writer, pod=""), [pane(0, {"a": [4]}, 4)]), NOW_US)
    assert whole(assembly).counts["a"].tolist() == [8]
    assert assembly.tallied.recounted == 0


def test_missing_files_are_known_by_their_numbers() -> None:
    assembly = Assembly(WAIT_US)
    for serial in (4, 7, 9):
        assembly.take(file_of(facts(1, serial), [pane(serial, {"a": [1]})]), NOW_US)
    writer = assembly.writers.by_id[f"{1:016x}"]
    assert writer.missing == 3
    for serial in (8, 6, 5):
        assembly.take(file_of(facts(1, serial), [pane(serial, {"a": [1]})]), NOW_US)
    assert (writer.missing, writer.runs, writer.lost) == (0, [(4, 9)], 0)


def test_the_first_file_seen_of_a_writer_does_not_make_its_earlier_ones_wait() -> None:
    assembly = Assembly(WAIT_US)
    assembly.take(file_of(facts(1, 1000), [pane(0, {"a": [1]})]), NOW_US)
    assert assembly.writers.by_id[f"{1:016x}"].missing == 0


@given(st.permutations(range(12)))
def test_numbers_taken_in_any_order_make_one_run(order: list[int]) -> None:
    writer = Writer()
    for done, serial in enumerate(order):
        assert not writer.has(serial)
        writer.take(serial)
        assert all(writer.has(each) for each in order[: done + 1])
        assert writer.missing == max(order[: done + 1]) - min(order[: done + 1]) - done
    assert writer.runs == [(0, 11)]


def test_holes_are_given_up_when_there_are_too_many() -> None:
    writer = Writer()
    for serial in range(0, 2 * RANGES_KEPT + 4, 2):
        writer.take(serial)
    assert (len(writer.runs), writer.lost, writer.has(1), writer.has(5)) == (RANGES_KEPT, 2, True, False)


def test_counts_of_another_shape_are_refused_and_told() -> None:
    assembly = Assembly(WAIT_US)
    assembly.take(file_of(facts(1), [pane(0, {"a": [1, 2]}, 3)]), NOW_US)
    assembly.take(file_of(facts(2), [pane(0, {"a": [1, 2, 3]}, 6)]), NOW_US)
    assert assembly.tallied.refused == 6
    assert whole(assembly).counts["a"].tolist() == [1, 2]


def test_open_panes_are_bounded() -> None:
    assembly = Assembly(2**50)
    crowd = [pane(number, {"a": [1]}) for number in range(OPEN_PANES + 5)]
    assembly.take(file_of(facts(1), crowd), NOW_US)
    assert numbers(assembly, T0_US) == [0, 1, 2, 3, 4]
    assert len(assembly.open) == OPEN_PANES


def test_an_assembly_survives_its_state() -> None:
    assembly = Assembly(WAIT_US)
    assembly.take(file_of(facts(1, 3), [pane(0, {"a": [1, 2]}, 3, record_ids={"a": ["b.d.1"]})]), NOW_US)
    again = Assembly.restore(assembly.state(), WAIT_US)
    assert again.state() == assembly.state()
    assert not again.take(file_of(facts(1, 3), [pane(0, {"a": [1, 2]}, 3)]), NOW_US)
    (found,) = again.hand_out(2**62)
    assert (found.sum.counts["a"].tolist(), found.sum.record_ids) == ([1, 2], {"a": ["b.d.1"]})


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x93\x01\x02\x03"])
def test_what_is_no_state_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        Assembly.restore(data, WAIT_US)


def test_a_vector_follows_the_plans_order_and_refuses_what_has_no_place() -> None:
    counts = {"b": np.array([3]), "a": np.array([1, 2])}
    assert vector(counts, [("a", 2), ("c", 2), ("b", 1)]).tolist() == [1, 2, 0, 0, 3]
    with pytest.raises(ValueError, match="b"):
        vector(counts, [("a", 2)])
    with pytest.raises(ValueError, match="a"):
        vector(counts, [("a", 3), ("b", 1)])

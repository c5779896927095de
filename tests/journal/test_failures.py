from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pytest

from sidecar.clock import ManualClock
from sidecar.counters import Global, Route
from sidecar.journal import JournalLimits, JournalReader, Segment
from sidecar.journal.folder import FORMAT, volume_bytes_on_disk, volume_path, volumes
from sidecar.journal.segment import KEY, Buffer, parts_of, segment_number
from sidecar.journal.volume import LmdbVolume, Volume, WriteFailed
from sidecar.records import Position
from tests.journal.rig import (
    BOOT,
    SMALL,
    Rig,
    accounted,
    events,
    exchange,
    exchanges,
    gaps,
    read_all,
)


class BrokenDisk:
    """Opens volumes whose writes fail while `failing`; the lowest seam there is."""

    def __init__(self) -> None:
        self.failing = 0
        """Writes still to fail."""
        self.space = False
        self.visible = False
        """Whether the data gets out although the write reports a failure."""

    def __call__(self, folder: Path, number: int, map_bytes: int, metasync: bool) -> Volume:
        return _BrokenVolume(self, LmdbVolume(folder, number, map_bytes, metasync))


class _BrokenVolume:
    def __init__(self, disk: BrokenDisk, volume: LmdbVolume) -> None:
        self._disk = disk
        self._volume = volume
        self.number = volume.number
        self.has = volume.has
        self.close = volume.close

    def write(self, items: Iterable[tuple[bytes, Buffer]]) -> None:
        if self._disk.failing:
            self._disk.failing -= 1
            if self._disk.visible:
                self._volume.write(items)
            raise WriteFailed("injected", self._disk.space)
        self._volume.write(items)


async def test_a_full_volume_is_closed_and_the_same_segment_goes_into_the_next(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        for size in (300_000, 700_000, 900_000, 100, 1_500_000, 650_000):
            assert await rig.record(exchange(b"q" * size)) == [True]
        assert rig.counters.get(Global.VOLUMES_OPENED) >= 3
        assert rig.counters.get(Global.VOLUME_CLOSED) == rig.counters.get(Global.VOLUME_CURRENT) - 1
    found = read_all(tmp_path)
    assert accounted(found) == 6
    assert not gaps(found)


async def test_many_segments_waiting_at_once_fill_volumes_to_the_end(tmp_path: Path) -> None:
    async with Rig(tmp_path, dataclasses.replace(SMALL, volume_bytes=8 << 20)) as rig:
        results = await rig.record(*[exchange(b"q" * 90_000) for _ in range(150)])
        assert all(results)
    found = read_all(tmp_path)
    assert accounted(found) == 150
    assert len(volumes(tmp_path)) == 2


async def test_an_exchange_that_no_volume_can_hold_is_shed_alone(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        results = await rig.record(exchange(), exchange(b"q" * (5 << 20)), exchange())
        assert results == [True, False, True]
        assert rig.counters.route("default", Route.SHED) == 1
        assert rig.writer.accepting
    found = read_all(tmp_path)
    assert accounted(found) == 3
    assert [(g.first_seq, g.count, g.reason) for g in gaps(found)] == [(2, 1, "too_large")]


async def test_max_bytes_blocks_until_volumes_are_unlinked_and_what_waited_is_kept(tmp_path: Path) -> None:
    limits = dataclasses.replace(SMALL, max_bytes=8 << 20, pending_bytes=4 << 20)
    async with Rig(tmp_path, limits) as rig:
        waiting = [rig.append(exchange(b"q" * 400_000)) for _ in range(9)]
        await rig.until(lambda: all(f.done() for f in waiting))
        while rig.writer.accepting:
            rig.append(exchange(b"q" * 400_000))
            await rig.until(lambda: not rig.writer.accepting or rig.writer.pending_bytes == 0)
        assert rig.writer.reason == "max_bytes"
        assert rig.counters.get(Global.JOURNAL_SHEDDING) == 1
        late = [rig.append(exchange(b"q" * 400_000)) for _ in range(20)]
        assert volume_bytes_on_disk(tmp_path) <= limits.max_bytes
        reader = JournalReader(tmp_path, BOOT)
        seen = []
        after = Position(0, 0)
        while rig.writer.pending_bytes or rig.writer.reason:
            results = reader.read(after, 1 << 20)
            seen.extend(results)
            if results:
                after = results[-1].position
            reader.release(after)
            await asyncio.sleep(0.02)
        assert await rig.record(exchange()) == [True]
        shed = [f for f in late if not f.result()]
        assert shed
        while results := reader.read(after, 1 << 20):
            seen.extend(results)
            after = results[-1].position
        reader.close()
        assert rig.counters.get(Global.JOURNAL_SHEDDING) == 0
        started = rig.counters.route("default", Route.STARTED)
    assert accounted(seen) == started
    assert sum(g.count for g in gaps(seen)) == len(shed)
    assert {g.reason for g in gaps(seen)} == {"max_bytes"}


async def test_an_io_error_closes_the_volume_and_the_next_takes_the_segment(tmp_path: Path) -> None:
    disk = BrokenDisk()
    async with Rig(tmp_path, open_volume=disk) as rig:
        await rig.record(exchange())
        disk.failing = 1
        assert await rig.record(exchange(), exchange()) == [True, True]
        assert rig.counters.get(Global.VOLUME_CLOSED) == 1
        assert rig.counters.get(Global.COMMIT_FAILURES) == 1
    assert accounted(read_all(tmp_path)) == 3


@pytest.mark.parametrize(("error", "reason"), [(errno.EDQUOT, "disk_full"), (errno.EACCES, "io_error")])
async def test_a_volume_that_cannot_even_be_begun_is_named(tmp_path: Path, error: int, reason: str) -> None:
    def refuse(folder: Path, number: int, map_bytes: int, metasync: bool) -> Volume:
        raise WriteFailed(os.strerror(error), space=error == errno.EDQUOT)

    async with Rig(tmp_path, open_volume=refuse) as rig:
        rig.append(exchange())
        await rig.until(lambda: not rig.writer.accepting)
        assert rig.writer.reason == reason


async def test_an_io_error_that_lasts_is_named_and_nothing_is_lost_that_fits_in_memory(
    tmp_path: Path,
) -> None:
    disk = BrokenDisk()
    async with Rig(tmp_path, open_volume=disk) as rig:
        await rig.record(exchange())
        disk.failing = 1 << 30
        waiting = rig.append(exchange())
        await rig.until(lambda: not rig.writer.accepting)
        assert rig.writer.reason == "io_error"
        disk.failing = 0
        assert await waiting
        assert rig.writer.accepting
    found = read_all(tmp_path)
    assert accounted(found) == 2
    assert not (tmp_path / "aside").exists()


async def test_a_failed_write_that_readers_can_see_is_not_written_twice(tmp_path: Path) -> None:
    disk = BrokenDisk()
    async with Rig(tmp_path, open_volume=disk) as rig:
        await rig.record(exchange())
        disk.failing, disk.visible = 1, True
        assert await rig.record(exchange()) == [False]
        assert await rig.record(exchange()) == [True]
    assert accounted(read_all(tmp_path)) == 3


async def test_closing_a_journal_that_cannot_be_written_ends_and_says_so_to_the_waiters(
    tmp_path: Path,
) -> None:
    disk = BrokenDisk()
    rig = Rig(tmp_path, open_volume=disk)
    async with rig:
        await rig.record(exchange())
        disk.failing = 1 << 30
        waiting = rig.append(exchange())
        await rig.writer.close(0.1)
        assert await waiting is False
    async with Rig(tmp_path) as again:
        assert await again.record(exchange()) == [True]
    found = read_all(tmp_path)
    assert accounted(found) == 3
    assert [(g.first_seq, g.count) for g in gaps(found)] == [(2, 1)]


async def test_a_journal_of_a_newer_version_is_left_alone_and_named(tmp_path: Path) -> None:
    volume = LmdbVolume(tmp_path, 1, 1 << 20, False)
    header = msgpack.packb((FORMAT + 1, "20991231T000000-future", segment_number(1, 0), 0, 1, {}))
    volume.write(
        (KEY.pack(segment_number(1, 0), i), v) for i, v in enumerate(parts_of([header], bytearray(1 << 20)))
    )
    volume.close()
    content = volume_path(tmp_path, 1).read_bytes()
    rig = Rig(tmp_path)
    async with rig:
        waiting = rig.append(exchange())
        await rig.until(lambda: rig.writer.reason == "newer_version")
        await rig.writer.close(0.1)
        assert await waiting is False
    assert volume_path(tmp_path, 1).read_bytes() == content
    assert volumes(tmp_path) == [1]


async def test_a_corrupt_volume_is_moved_aside_recorded_and_a_fresh_one_begun(tmp_path: Path) -> None:
    async with Rig(tmp_path, boot="20260101T000000-aaaaaaaaaa") as old:
        for _ in range(9):
            await old.record(exchange(b"q" * 600_000))
    assert volumes(tmp_path) == [1, 2, 3]
    with volume_path(tmp_path, 2).open("r+b") as file:
        file.write(b"\0" * 8192)
    async with Rig(tmp_path) as rig:
        assert await rig.record(exchange()) == [True]
        assert rig.counters.get(Global.VOLUMES_MOVED_ASIDE) == 1
    assert (tmp_path / "aside" / "volume-00000002.lmdb").exists()
    assert volumes(tmp_path) == [1, 3, 4]
    found = read_all(tmp_path)
    assert [e.details["volume"] for e in events(found, "volume_moved_aside")] == ["volume-00000002.lmdb"]
    recorded = [e.seq for e in exchanges(found)]
    [gap] = gaps(found)
    assert gap.boot == "20260101T000000-aaaaaaaaaa"
    assert gap.reason == "volume_corrupt"
    lost = set(range(gap.first_seq, gap.first_seq + gap.count))
    assert sorted([*recorded[:-1], *lost]) == list(range(1, 10))


async def test_a_wall_clock_that_jumps_is_recorded_and_harms_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Rig(tmp_path, clock=clock) as rig:
        await rig.record(exchange())
        clock.step_wall(-3600)
        await rig.record(exchange())
        clock.step_wall(0.5)
        await rig.record(exchange())
        clock.advance(100)
        await rig.record(exchange())
        assert rig.counters.get(Global.CLOCK_STEPS) == 1
    found = read_all(tmp_path)
    assert accounted(found) == 4
    assert [e.details["step_us"] for e in events(found, "clock_step")] == [-3_600_000_000]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


DISK_LIMITS = JournalLimits(commit_interval_s=0.002, pending_bytes=2 << 20, body_limit=1 << 20)


@pytest.mark.root
@pytest.mark.faults
@pytest.mark.parametrize("foreign_bytes", [0, 20 << 20, 24 << 20])
async def test_a_full_disk_is_named_and_space_that_comes_back_is_used(
    small_disk: Path, foreign_bytes: int
) -> None:
    rig = Rig(small_disk, DISK_LIMITS)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        try:
            file.write(b"x" * foreign_bytes)
            file.flush()
        except OSError:
            assert foreign_bytes == 24 << 20
    async with rig:
        for _ in range(500):
            rig.append(exchange(b"q" * 100_000))
            await asyncio.sleep(0.001)
            if rig.writer.reason == "disk_full":
                break
        assert rig.writer.reason == "disk_full"
        shed_before = rig.counters.route("default", Route.SHED)
        for _ in range(40):
            rig.append(exchange(b"q" * 100_000))
        assert rig.counters.route("default", Route.SHED) > shed_before
        status = os.statvfs(small_disk)
        if foreign_bytes == 0:
            assert status.f_bavail * status.f_frsize >= 6 << 20
        seen = []
        ballast.unlink()
        reader = JournalReader(small_disk, BOOT)
        after = Position(0, 0)
        while not rig.writer.accepting or rig.writer.pending_bytes:
            for result in reader.read(after, 1 << 20):
                seen.append(result)
                after = result.position
            reader.release(after)
            await asyncio.sleep(0.02)
        assert await rig.record(exchange()) == [True]
        while results := reader.read(after, 1 << 20):
            seen.extend(results)
            after = results[-1].position
        reader.close()
        started = rig.counters.route("default", Route.STARTED)
        shed = rig.counters.route("default", Route.SHED)
    assert all(isinstance(result, Segment) for result in seen)
    assert accounted(seen) == started
    assert sum(g.count for g in gaps(seen)) == shed
    assert {g.reason for g in gaps(seen)} == {"disk_full"}


@pytest.mark.root
@pytest.mark.faults
def test_a_volume_is_not_begun_on_a_disk_without_room_for_its_reader_table(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), b"x" * 4096)
    with pytest.raises(WriteFailed) as caught:
        LmdbVolume(small_disk, 1, 1 << 20, False)
    assert caught.value.space
    assert volumes(small_disk) == []

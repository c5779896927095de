from __future__ import annotations

import asyncio
import random
import shutil
import struct
import sys
from pathlib import Path

import lmdb
import pytest

from sidecar.counters import Counters, Global
from sidecar.errors import JournalError
from sidecar.journal import Corrupt, JournalReader, Segment
from sidecar.journal.folder import lock_path_of, volume_path, volumes
from sidecar.records import Position
from tests.journal.rig import BOOT, Rig, exchange, exchanges, read_all

ROOT = Path(__file__).resolve().parents[2]
OLD = "20260101T000000-aaaaaaaaaa"


async def fill(folder: Path, count: int = 9, size: int = 600_000, boot: str = OLD) -> None:
    async with Rig(folder, boot=boot) as rig:
        for _ in range(count):
            await rig.record(exchange(b"q" * size))


async def test_reading_resumes_at_any_position_and_gives_the_rest(tmp_path: Path) -> None:
    await fill(tmp_path)
    whole = read_all(tmp_path)
    reader = JournalReader(tmp_path, None)
    for index, segment in enumerate(whole):
        rest = []
        after = segment.position
        while results := reader.read(after, 1):
            assert len(results) == 1
            rest += results
            after = results[-1].position
        assert [s.position for s in rest] == [s.position for s in whole[index + 1 :]]
    reader.close()


async def test_a_budget_that_ends_anywhere_in_a_volume_never_skips_its_rest(tmp_path: Path) -> None:
    for boot in (OLD, "20260102T000000-bbbbbbbbbb"):
        async with Rig(tmp_path, boot=boot) as rig:
            for number in range(30):
                await rig.record(exchange(b"q" * (1 + 7 * number)))
    whole = read_all(tmp_path)
    assert len({segment.position.volume for segment in whole}) > 1
    raw_bytes = 0
    for stop in whole:
        assert isinstance(stop, Segment)
        raw_bytes += stop.raw_bytes
        # A segment takes more bytes in the volume than it hands out: just past it both limits differ.
        for budget in range(raw_bytes - 2, raw_bytes + 6):
            found = read_all(tmp_path, max_bytes=budget)
            assert [s.position for s in found] == [s.position for s in whole]


async def test_the_counters_may_lie_elsewhere(tmp_path: Path) -> None:
    await fill(tmp_path, 1, boot=BOOT)
    whole = len(read_all(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = (tmp_path / f"counters-{BOOT}.bin").rename(elsewhere / f"counters-{BOOT}.bin")
    reader = JournalReader(tmp_path, BOOT, moved)
    assert len(reader.read(Position(0, 0), 1 << 30)) == whole
    reader.close()


async def test_a_sound_volume_that_cannot_be_opened_now_is_not_given_up(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    whole = len(read_all(tmp_path))
    (number,) = volumes(tmp_path)
    # LMDB refuses a second opening in one process: a failure that says nothing about the file.
    other = lmdb.open(str(volume_path(tmp_path, number)), subdir=False, readonly=True)
    reader = JournalReader(tmp_path, None)
    with pytest.raises(JournalError, match="tried again"):
        reader.read(Position(0, 0), 1 << 30)
    other.close()
    assert len(reader.read(Position(0, 0), 1 << 30)) == whole
    reader.close()


async def test_only_closed_volumes_wholly_behind_the_position_are_released(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        for _ in range(7):
            await rig.record(exchange(b"q" * 600_000))
        reader = JournalReader(tmp_path, BOOT)
        numbers = volumes(tmp_path)
        assert len(numbers) == 3
        found = reader.read(Position(0, 0), 1 << 30)
        ends = {s.position.volume: s.position for s in found}
        second_last = [s.position for s in found if s.position.volume == 1][-2]
        assert reader.release(Position(0, 0)) == []
        assert reader.release(second_last) == []
        assert reader.release(ends[1]) == [1]
        assert reader.release(ends[3]) == [2]
        assert volumes(tmp_path) == [3]
        await rig.record(exchange())
        assert len(reader.read(ends[3], 1 << 30)) == 1
        reader.close()
    reader = JournalReader(tmp_path, BOOT)
    assert reader.release(Position(4, 0)) == [3]
    assert not volumes(tmp_path)
    reader.close()


async def test_the_backlog_counts_committed_records_not_yet_read(tmp_path: Path) -> None:
    await fill(tmp_path, 5)
    async with Rig(tmp_path) as rig:
        await rig.record(*[exchange() for _ in range(10)])
        reader = JournalReader(tmp_path, BOOT)
        first = reader.read(Position(0, 0), 1)
        records, size = reader.backlog()
        assert records == 15
        assert size > 5 * 600_000
        reader.read(first[-1].position, 1 << 30)
        assert reader.backlog() == (0, 0)
        await rig.record(exchange(), exchange())
        assert reader.backlog()[0] == 2
        reader.close()
        resumed = JournalReader(tmp_path, BOOT)
        whole = resumed.read(Position(0, 0), 1 << 30)
        resumed.close()
        resumed = JournalReader(tmp_path, BOOT)
        resumed.read(whole[-2].position, 0)
        assert resumed.backlog()[0] <= 2
        resumed.close()


async def test_a_damaged_segment_is_reported_and_the_next_ones_are_read(tmp_path: Path) -> None:
    await fill(tmp_path, 2, 100_000)
    path = volume_path(tmp_path, 1)
    content = path.read_bytes()
    at = content.find(b"q" * 50_000)
    path.write_bytes(content[: at + 20] + b"X" + content[at + 21 :])
    found = read_all(tmp_path)
    assert [type(s) for s in found] == [Segment, Corrupt, Segment]
    assert [e.seq for e in exchanges(found)] == [2]
    reader = JournalReader(tmp_path, None)
    reader.read(Position(0, 0), 1 << 30)
    assert reader.release(found[-1].position) == [1]
    reader.close()
    assert (tmp_path / "aside" / path.name).exists()


async def test_a_volume_whose_structure_is_damaged_is_skipped_and_moved_aside(tmp_path: Path) -> None:
    await fill(tmp_path)
    with volume_path(tmp_path, 2).open("r+b") as file:
        file.truncate(300_000)
    reader = JournalReader(tmp_path, None)
    found = reader.read(Position(0, 0), 1 << 30)
    assert [s.position.volume for s in found if isinstance(s, Corrupt)] == [2]
    assert {s.position.volume for s in found} == {1, 2, 3}
    assert reader.release(found[-1].position) == [1, 2, 3]
    reader.close()
    assert [p.name for p in (tmp_path / "aside").iterdir()] == ["volume-00000002.lmdb"]


@pytest.mark.faults
async def test_no_damaged_byte_anywhere_kills_the_reader_or_alters_an_exchange(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    sound.mkdir()
    async with Rig(sound, boot=OLD) as rig:
        for index in range(60):
            rig.append(exchange(b"q" * (index * 37), b"r" * (index * 211 % 9000)))
            await asyncio.sleep(0.003 if index % 3 else 0)
    expected = {e.seq: (e.request, e.response, e.client) for e in exchanges(read_all(sound))}
    content = volume_path(sound, 1).read_bytes()
    rng = random.Random(5)
    damaged = tmp_path / "damaged"
    positions = [*range(0, 8192, 61), *(rng.randrange(len(content)) for _ in range(250))]
    for at in positions:
        shutil.rmtree(damaged, ignore_errors=True)
        damaged.mkdir()
        flipped = content[at] ^ (1 << rng.randrange(8))
        volume_path(damaged, 1).write_bytes(content[:at] + bytes([flipped]) + content[at + 1 :])
        for made in exchanges(read_all(damaged)):
            assert (made.request, made.response, made.client) == expected[made.seq]


async def test_a_commit_that_the_reader_table_does_not_know_is_read_once_the_volume_is_closed(
    tmp_path: Path,
) -> None:
    """A writer killed between its meta page and the table's transaction number leaves this behind."""
    await fill(tmp_path, 3, size=1000, boot=BOOT)
    whole = len(read_all(tmp_path))
    path = volume_path(tmp_path, 1)
    # Whoever opens the table first sets it right; another reader has it open since before.
    program = f"import lmdb; held = lmdb.open({str(path)!r}, subdir=False, readonly=True); print(flush=True); input()"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()
    try:
        with lock_path_of(path).open("r+b") as table:
            # MDB_txbody: magic, format, a mutex of 40 bytes, then the number of the last transaction.
            magic, last = struct.unpack("=I44xQ", table.read(56))
            assert magic == 0xBEEFC0DE
            table.seek(48)
            table.write(struct.pack("=Q", last - 1))
        counters = Counters.open(tmp_path / f"counters-{BOOT}.bin")
        counters.set(Global.VOLUME_CLOSED, 0)
        counters.set(Global.VOLUME_CURRENT, 1)
        reader = JournalReader(tmp_path, BOOT)
        found = reader.read(Position(0, 0), 1 << 20)
        assert len(found) == whole - 1, "as a reader that trusts the table sees it"
        counters.set(Global.VOLUME_CURRENT, 0)
        counters.set(Global.VOLUME_CLOSED, 1)
        found += reader.read(found[-1].position, 1 << 20)
        assert len(exchanges(found)) == 3
        assert reader.release(found[-1].position) == [1]
        reader.close()
        counters.close()
    finally:
        other.kill()
        await other.wait()


async def test_another_process_follows_a_live_writer_over_volumes(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from sidecar.journal import JournalReader
from sidecar.records import Exchange, Position
import time
reader, after, seqs = JournalReader(Path({str(tmp_path)!r}), {BOOT!r}), Position(0, 0), []
deadline = time.monotonic() + 20
while len(seqs) < 60 and time.monotonic() < deadline:
    for result in reader.read(after, 1 << 20):
        seqs += [e.seq for e in result.entries if isinstance(e, Exchange)]
        after = result.position
    reader.release(after)
    time.sleep(0.002)
assert seqs == list(range(1, 61)), seqs
"""
    async with Rig(tmp_path) as rig:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
        for _ in range(60):
            await rig.record(exchange(b"q" * 200_000))
        assert await asyncio.wait_for(process.wait(), 30) == 0
        assert len(volumes(tmp_path)) == 1

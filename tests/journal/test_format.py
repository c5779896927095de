"""Reads a journal with lmdb, msgpack and struct alone, as docs/journal-format.md tells a stranger to."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import lmdb
import msgpack  # type: ignore[import-untyped]

from sidecar.counters import FILE_BYTES, Global, Route
from sidecar.journal.segment import PART_BYTES
from sidecar.records import Cut, Delivery, EntryKind, Event, Outcome
from tests.journal.rig import BOOT, EPOCH, Rig, exchange

DOC = (Path(__file__).resolve().parents[2] / "docs" / "journal-format.md").read_text()


def read_journal(folder: Path) -> list[tuple[list[Any], list[list[Any]]]]:
    """Segments as (header, entries), in the journal's order."""
    segments = []
    for path in sorted(folder.glob("volume-*.lmdb"), key=lambda p: int(p.stem.split("-")[1])):
        with lmdb.open(str(path), subdir=False, readonly=True) as env, env.begin() as txn:
            parts: dict[int, list[bytes]] = {}
            for key, value in txn.cursor():
                number, part = struct.unpack(">QI", key)
                (crc,) = struct.unpack(">I", value[:4])
                assert crc == zlib.crc32(value[4:])
                assert part == len(parts.setdefault(number, []))
                parts[number].append(value[4:])
        for number, values in parts.items():
            unpacker = msgpack.Unpacker(max_buffer_size=1 << 31)
            unpacker.feed(b"".join(values))
            header, *entries = unpacker
            assert header[0] == 1
            assert header[2] == number
            assert header[4] == len(values)
            assert number >> 32 == int(path.stem.split("-")[1])
            segments.append((header, entries))
    return segments


def read_counters(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    magic, version, count, boot = struct.unpack_from("<8sII64s", data)
    assert (magic, version, len(data)) == (b"SCARCNT1", 1, 37376)
    names = [data[80 + 48 * i : 128 + 48 * i].rstrip(b"\0").decode() for i in range(count)]
    return {
        "boot": boot.rstrip(b"\0").decode(),
        "global": struct.unpack_from("<64Q", data, 4096),
        "routes": {name: struct.unpack_from("<64Q", data, 4608 + 512 * i) for i, name in enumerate(names)},
    }


async def test_a_reader_written_from_the_documentation_reads_every_field(tmp_path: Path) -> None:
    body = b"b" * 1_500_000
    first = exchange(b"POST / HTTP/1.1\r\n\r\n" + body, b"HTTP/1.1 200 OK\r\n\r\n")
    first.response_cut = Cut(123, b"\5" * 32)
    first.outcome, first.reason = Outcome.CLIENT_ABORT, "gone"
    async with Rig(tmp_path) as rig:
        await rig.record(first)
        rig.begin()
        rig.writer.shed("default", "splice_only", 77)
        rig.writer.delivery(Delivery("default", 1, 99, 1))
        rig.writer.event(Event("note", 100, {"a": [1, None]}))
        rig.begin()
        await rig.record(exchange())
        await rig.record(exchange(body))
    segments = read_journal(tmp_path)
    assert {header[1] for header, _ in segments} == {BOOT}
    assert segments[-1][0][5] == {"default": [5, 1]}
    flat = [entry for _, entries in segments for entry in entries]
    assert flat[0][:2] == [4, "volume"]
    assert flat[1] == [
        2, "default", 1, EPOCH.model, EPOCH.image_digest, None, "flag", EPOCH.since_us
    ]  # fmt: skip
    stored = [entry for entry in flat if entry[0] == 0]
    assert stored[0] == [
        0, "default", 1, 7, "127.0.0.1:40000", 1, 1, "gone", 1_700_000_000_000_000, 1000, 2000, 3000,
        19 + len(body), 19,
        b"POST / HTTP/1.1\r\n\r\n" + body, b"HTTP/1.1 200 OK\r\n\r\n", None, [123, b"\5" * 32],
    ]  # fmt: skip
    assert [entry[2] for entry in stored] == [1, 3, 4]
    assert [entry for entry in flat if entry[0] == 1] == [[1, BOOT, "default", 2, 1, 77, 77, "splice_only"]]
    assert [3, "default", 1, 99, 1] in flat
    assert [4, "note", 100, {"a": [1, None]}] in flat
    counters = read_counters(rig.counters.path)
    assert counters["boot"] == BOOT
    assert counters["global"][16] == max(header[2] >> 32 for header, _ in segments)
    assert counters["routes"]["default"][:4] == (5, 4, 1, 4)
    assert counters["routes"]["default"][32:35] == (2, 1, 0)


def test_the_documentation_names_every_number_that_the_code_stores() -> None:
    for kind in EntryKind:
        assert f"\n### {int(kind)}: {kind.name.lower()}" in DOC
    for outcome in Outcome:
        assert f"{int(outcome)} {outcome.label}" in DOC
    assert f"{PART_BYTES:,} bytes" in DOC
    assert f"{FILE_BYTES:,} bytes" in DOC
    for slot in (Global.VOLUME_CURRENT, Global.VOLUME_CLOSED):
        assert re.search(rf"\b{int(slot)}\s`{slot.name}`", DOC)
    for number in Route.STARTED, Route.ENDED, Route.SHED, Route.COMMITTED_SEQ:
        assert re.search(rf"\b{int(number)}\s`{number.name}`", DOC)

"""The analyst's view of the journal: segments in order over all volumes, whatever the recorder is doing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb
from lmdb import verify as lmdb_verify

from sidecar.counters import Counters, Global, Route
from sidecar.errors import JournalError, VolumeCorrupt
from sidecar.journal.folder import discard_volume, move_aside, volume_path, volumes
from sidecar.journal.segment import INDEX_BITS, KEY, Header, decode, payload, read_header, segment_number
from sidecar.journal.volume import open_here, reserve_reader_table
from sidecar.records import Entry, Position

_LAST_INDEX = (1 << INDEX_BITS) - 1
_PASSING = (lmdb.MemoryError, lmdb.ReadersFullError)
_DAMAGE = (VolumeCorrupt, lmdb.Error, lmdb_verify.VerifyError)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one commit left, decoded."""

    position: Position
    """Everything up to here is done once this segment is."""
    boot: str
    wall_us: int
    entries: list[Entry]
    next_seq: dict[str, int]
    """Per route of `boot`: the first sequence number after this segment."""
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A stretch of the journal that cannot be read; reading goes on after `position`."""

    position: Position
    reason: str


@dataclass(frozen=True, slots=True)
class _Raw:
    number: int
    values: list[bytes]


class JournalReader:
    """Reads while a recorder writes, in another process; one thread at a time.

    `boot` is the live boot, whose counters say which volumes are closed; None
    when there is none (the caller holds the journal's lock), then all are.
    """

    def __init__(self, folder: Path, boot: str | None, counters_path: Path | None = None) -> None:
        """Raises JournalError when the boot's counters cannot be read.

        `counters_path`: where they are, if not in `folder`.
        """
        self._folder = folder
        self._boot = boot
        self._counters = Counters.open(counters_path or folder / f"counters-{boot}.bin") if boot else None
        self._env: lmdb.Environment | None = None
        self._env_number = 0
        self._borrowed = False
        self._env_closed = False
        """Whether the volume took no more writes when it was opened."""
        self._position = Position(0, 0)
        self._oriented = False
        self._seen: dict[tuple[str, str], int] = {}
        self._heads: dict[tuple[str, str], int] = {}
        self._consumed = 0
        """Raw bytes read of the volume at `_position`."""
        self._sound: set[int] = set()
        """Volumes read to their end without a fault."""
        self._damaged: set[int] = set()

    def read(self, after: Position, max_bytes: int) -> list[Segment | Corrupt]:
        """Segments after that position, at least one if there is any, stopping at `max_bytes` of raw data.

        Raises JournalVersion for a volume of a newer format, JournalError when
        a volume cannot be opened now but may be later.
        """
        if not self._oriented:
            self._orient(after)
        found: list[Segment | Corrupt] = []
        budget = max_bytes
        numbers = [number for number in volumes(self._folder) if number >= after.volume]
        newest = numbers[-1] if numbers else 0
        for number in numbers:
            if number > self._closed() and number != self._current():
                # Not yet looked at by this boot's recorder: a damaged file can kill whoever maps it.
                break
            closed = number <= self._closed()
            results, complete = self._read_volume(number, after, budget, final=number < newest or closed)
            for result in results:
                found.append(result)
                after = result.position
                budget -= self._advance(result)
            # The next one's turn comes when this one takes no more writes and was read to its end since.
            if budget <= 0 or not complete or not closed:
                break
        return found

    def release(self, position: Position) -> list[int]:
        """Unlink every closed volume that lies wholly at or before the position; returns their numbers.

        Damaged ones go to `aside/` instead.
        """
        released = []
        for number in volumes(self._folder):
            if number > self._closed() or number > position.volume:
                break
            path = volume_path(self._folder, number)
            if self._env_number == number:
                self._close_env()
            sound = number in self._sound or self._is_sound(path)
            if number == position.volume and sound and self._last_segment(path) > position.segment:
                break
            if sound and number not in self._damaged:
                discard_volume(self._folder, number)
            else:
                move_aside(self._folder, path)
            released.append(number)
        return released

    def backlog(self) -> tuple[int, int]:
        """Records, and roughly bytes, that were committed and not yet read."""
        self._look_at_live_boot()
        records = sum(max(0, head - self._seen.get(log, 1)) for log, head in self._heads.items())
        if not records:
            return 0, 0
        size = -self._consumed
        for number in volumes(self._folder):
            if number >= self._position.volume:
                with contextlib.suppress(FileNotFoundError):
                    size += volume_path(self._folder, number).stat().st_blocks * 512
        return records, max(size, 0)

    def close(self) -> None:
        self._close_env()
        if self._counters is not None:
            self._counters.close()
            self._counters = None

    # --- one volume ---

    def _read_volume(
        self, number: int, after: Position, budget: int, final: bool
    ) -> tuple[list[Segment | Corrupt], bool]:
        """What comes after that position in one volume, and whether that is all there is."""
        first = after.segment + 1 if after.volume == number else segment_number(number, 0)
        end = Position(number, segment_number(number, _LAST_INDEX))
        if first > end.segment:
            return [], True
        results: list[Segment | Corrupt] = []
        complete = True
        try:
            env = self._open(number)
            if env is None:
                return [], True
            expected = first
            raws, complete = self._raw_segments(env, number, first, budget)
            for raw in raws:
                position = Position(number, raw.number)
                if raw.number != expected:
                    lost = Position(number, raw.number - 1)
                    results.append(Corrupt(lost, f"segments {expected} to {raw.number - 1} are missing"))
                expected = raw.number + 1
                results.append(_decoded(position, raw))
            if final and complete:
                self._sound.add(number)
        except _PASSING as error:
            raise JournalError(f"journal volume {number}: {error}: it is tried again") from error
        except _DAMAGE as error:
            results.append(Corrupt(end, f"{volume_path(self._folder, number).name}: {error}"))
            self._close_env()
        return results, complete

    def _raw_segments(
        self, env: lmdb.Environment, number: int, first: int, budget: int
    ) -> tuple[list[_Raw], bool]:
        """Copies of stored values, and whether they reach the end; decoding waits, so that it stays short."""
        found: list[_Raw] = []
        size = 0
        with env.begin(buffers=False) as txn, txn.cursor() as cursor:
            if not cursor.set_range(KEY.pack(first, 0)):
                return found, True
            for key, value in cursor:
                if len(key) != KEY.size or key[:4] != number.to_bytes(8, "big")[4:]:
                    raise VolumeCorrupt("key that belongs to no segment of this volume")
                segment, part = KEY.unpack(key)
                if not found or segment != found[-1].number:
                    if size >= budget:
                        return found, False
                    found.append(_Raw(segment, []))
                if part != len(found[-1].values):
                    raise VolumeCorrupt(f"segment {segment} has parts missing")
                found[-1].values.append(value)
                size += len(value)
        return found, True

    # --- environments ---

    def _open(self, number: int) -> lmdb.Environment | None:
        """The volume's environment; None when gone or empty. Raises what _DAMAGE lists, JournalError."""
        closed = number <= self._closed()
        followed = self._env is not None and self._env_number == number
        if self._env is not None and followed and self._env_closed == closed:
            if not self._borrowed or open_here.get(self._env_path()) is self._env:
                return self._env
            self._env = None
        self._close_env()
        self._env_closed = closed
        path = volume_path(self._folder, number)
        shared = open_here.get(path.resolve())
        if shared is not None:
            self._env, self._env_number, self._borrowed = shared, number, True
            return shared
        try:
            if path.stat().st_size == 0:
                return None
            if closed and not followed:
                _verify(path)
            reserve_reader_table(path)
            # A writer that was killed between its last meta page and the reader table's transaction
            # number leaves a commit that only readers without that table see.
            self._env = lmdb.open(
                str(path), subdir=False, readonly=True, map_size=0, max_dbs=0, lock=not closed
            )
        except FileNotFoundError:
            return None
        except lmdb.Error as error:
            if number <= self._closed():
                # Found sound just before: it is this process that lacks something, not the file.
                raise JournalError(f"journal volume {path}: {error}: it is tried again") from error
            return None  # being made just now
        except OSError as error:
            raise JournalError(f"journal volume {path}: {error.strerror}") from error
        self._env_number, self._borrowed = number, False
        return self._env

    def _env_path(self) -> Path:
        return volume_path(self._folder, self._env_number).resolve()

    def _close_env(self) -> None:
        if self._env is not None and not self._borrowed:
            self._env.close()
        self._env = None
        self._env_number = 0

    def _closed(self) -> int:
        """Volumes up to this number take no more writes."""
        if self._counters is None:
            return 1 << 62
        return self._counters.get(Global.VOLUME_CLOSED)

    def _current(self) -> int:
        """The volume that takes writes now; 0 if there is none."""
        return self._counters.get(Global.VOLUME_CURRENT) if self._counters is not None else 0

    def _is_sound(self, path: Path) -> bool:
        try:
            _verify(path)
        except (*_DAMAGE, OSError):
            return False
        return True

    def _last_segment(self, path: Path) -> int:
        from sidecar.journal.pages import open_pages

        try:
            file, pages = open_pages(path)
            with file:
                key = pages.last_key()
        except VolumeCorrupt:
            return 0
        return int(KEY.unpack(key)[0]) if key and len(key) == KEY.size else 0

    # --- how far ---

    def _advance(self, result: Segment | Corrupt) -> int:
        """Note that a result was handed out; returns its raw bytes."""
        if result.position.volume != self._position.volume:
            self._consumed = 0
        self._position = result.position
        if isinstance(result, Corrupt):
            self._damaged.add(result.position.volume)
            return 1
        self._consumed += result.raw_bytes
        for route, next_seq in result.next_seq.items():
            log = (result.boot, route)
            self._seen[log] = next_seq
            self._heads[log] = max(next_seq, self._heads.get(log, 1))
        return result.raw_bytes

    def _orient(self, after: Position) -> None:
        """Find, once, what lies before and behind the cursor, for `backlog`."""
        self._position = after
        self._oriented = True
        for number in volumes(self._folder):
            if number < after.volume:
                continue
            start = after.segment if number == after.volume else segment_number(number, 0)
            for header in _headers(volume_path(self._folder, number), start):
                for route, next_seq in header.next_seq.items():
                    self._seen.setdefault((header.boot, route), next_seq)
                    self._heads[header.boot, route] = next_seq
        self._look_at_live_boot()

    def _look_at_live_boot(self) -> None:
        if self._counters is not None and self._boot is not None:
            for route in self._counters.routes:
                log = (self._boot, route)
                head = self._counters.route(route, Route.COMMITTED_SEQ) + 1
                self._heads[log] = max(head, self._heads.get(log, 1))


def _decoded(position: Position, raw: _Raw) -> Segment | Corrupt:
    try:
        parts = [payload(value) for value in raw.values]
        count = len(parts)
        data = parts[0] if count == 1 else b"".join(parts)
        # A large segment is held as often as need be and no more: this is what the analyst's memory must fit.
        parts.clear()
        raw.values.clear()
        header, entries = decode(data)
        if header.segment != raw.number or header.parts != count:
            raise VolumeCorrupt(f"segment calls itself {header.segment} with {header.parts} parts")
    except VolumeCorrupt as error:
        return Corrupt(position, f"segment {raw.number}: {error}")
    return Segment(position, header.boot, header.wall_us, entries, header.next_seq, len(data))


def _verify(path: Path) -> None:
    """Raises VolumeCorrupt unless LMDB can be trusted with the file: a damaged page can kill its process."""
    errors: list[str] = lmdb_verify.verify(str(path), subdir=False)  # type: ignore[no-untyped-call]
    if errors:
        raise VolumeCorrupt(f"{len(errors)} structural faults, first: {errors[0]}")


def _headers(path: Path, start: int) -> Iterator[Header]:
    """Header of one segment and of the volume's last, as far as they can be read."""
    from sidecar.journal.pages import open_pages

    with contextlib.suppress(JournalError, OSError):
        file, pages = open_pages(path)
        with file:
            last = pages.last_key()
            wanted = [start] + ([KEY.unpack(last)[0]] if last and len(last) == KEY.size else [])
            for segment in wanted:
                value = pages.get(KEY.pack(segment, 0))
                if value is not None:
                    yield read_header(payload(value))

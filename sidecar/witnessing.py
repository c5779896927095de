"""`sidecar witness`: look at every log, and vouch for those that only grew."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sidecar.archive.commands import Moment
from sidecar.audit.naming import BatchName
from sidecar.batches import by_log
from sidecar.consistency import Course, follow, unreadable
from sidecar.errors import LedgerError, SidecarError, StoreError, UsageError
from sidecar.keyring import JSON, KEY, STORE
from sidecar.ledger import base64text
from sidecar.ledger.cosignature import CosignerKey, cosign
from sidecar.ledger.note import Note
from sidecar.objects import Store, for_command
from sidecar.site.bodies import Problem, Seen, TimeStamp, Witness, to_json
from sidecar.site.entry import Entry
from sidecar.site.log import Reader
from sidecar.site_log import KeyAuthor, author, open_site_log, public_keys
from sidecar.timestamping import roots, stamp
from sidecar.witness_memory import Memory, remember, remembered

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LOGS_AT_ONCE = 8
SEEN_PER_ENTRY = 1_000
PROBLEMS_PER_ENTRY = 1_000


@click.command()
@STORE
@KEY
@click.option(
    "--since-state/--from-start",
    default=True,
    show_default=True,
    help="Go on from this witness's own last entries, or read every batch again and compare.",
)
@click.option(
    "--recent",
    type=Moment(),
    metavar="AGE",
    help="Look only at days since then, such as 3d: for stores that take long to list.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Remember here, outside the store, how far the site log was seen: it cannot be cut back unnoticed.",
)
@click.option("--tsa", metavar="URL", help="Time stamp each entry at this authority (RFC 3161).")
@click.option(
    "--tsa-root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its root certificates, PEM; earlier stamps are checked too.  [default: this machine's]",
)
@click.option(
    "--operator",
    multiple=True,
    metavar="KEY",
    help="A key, or a file of them, whose retention runs explain that batches are gone.  [default: any]",
)
@JSON
def witness(
    store: str,
    key_file: Path,
    since_state: bool,
    recent: int | None,
    state: Path | None,
    tsa: str | None,
    tsa_root: Path | None,
    operator: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check that every log only grew since this witness last looked, and cosign its newest checkpoint.

    What does not continue what was seen (a fork, a cut end, another key) is
    named, recorded and not cosigned, and the exit code is 1. With --operator, only
    retention runs signed by these keys explain that batches are gone.
    """
    if recent is not None and not since_state:
        raise UsageError("witness: --recent looks at some days, --from-start at all: give one of the two")
    writer = author(key_file)
    trusted = roots(tsa_root) if tsa or tsa_root else None
    operators = frozenset(str(key) for key in public_keys(operator)) or None
    memory = Memory(writer.key, operators, trusted if tsa_root else None)
    opened = for_command(store)
    reader = open_site_log(opened).reader()
    memory.follow(remembered(reader, state))
    courses = _courses(opened, memory, since_state, None if recent is None else _day(recent))
    run = _Run(opened, writer, memory, tsa, trusted or [])
    run.append(courses, reader)
    if state is not None:
        # What was just appended is read back, so that what is remembered is what the store holds.
        for _ in reader:
            pass
        remember(state, reader.head)
    _report(run, courses, sorted(memory.believed), as_json)
    if run.problems:
        count = len(run.problems)
        raise LedgerError(f"{count} {'problem' if count == 1 else 'problems'} with the logs, named above")
    if run.unstamped is not None:
        raise SidecarError(f"{run.unstamped}; the entry stands without a time stamp")


def _day(t_us: int) -> str:
    return datetime.fromtimestamp(max(t_us, 0) // 1_000_000, UTC).date().isoformat()


def _courses(store: Store, memory: Memory, since_state: bool, since: str | None) -> list[Course]:
    """Every log of the store, and every log that was ever seen, followed as far as it goes."""
    logs = by_log(store, since)
    for course_of in memory.sightings:
        logs.setdefault(course_of, [])
    if _holes(logs, memory):
        # A batch may have been put in a folder that was listed before one that names it.
        logs = {**logs, **by_log(store, since)}

    def one(item: tuple[str, list[BatchName]]) -> Course:
        origin, batches = item
        sighting = memory.sightings.get(origin)
        removed = sorted(memory.removed.get(origin, []), key=lambda each: each.first_leaf)
        try:
            if sighting is None or since_state:
                seen = sighting.seen if sighting else None
                return follow(origin, batches, seen, removed, store.get, since)
            # Another count of files than any: everything is read again and compared.
            everything = msgspec.structs.replace(sighting.seen, files=-1)
            return follow(origin, batches, everything, removed, store.get)
        except StoreError as error:
            return Course(origin, problems=[unreadable(origin, error)])

    with ThreadPoolExecutor(LOGS_AT_ONCE, thread_name_prefix="witness") as pool:
        return list(pool.map(one, sorted(logs.items())))


def _holes(logs: Mapping[str, Sequence[BatchName]], memory: Memory) -> bool:
    for origin, batches in logs.items():
        sighting = memory.sightings.get(origin)
        end = sighting.seen.size if sighting is not None else 0
        removed = {each.first_leaf: each.last_leaf for each in memory.removed.get(origin, [])}
        for named in batches:
            while end in removed and named.first_leaf > end:
                end = removed[end] + 1
            if named.first_leaf > end:
                return True
            end = max(end, named.last_leaf + 1)
    return False


class _Run:
    """Turns what was found into entries."""

    def __init__(
        self, store: Store, writer: KeyAuthor, memory: Memory, tsa: str | None, trusted: list[Certificate]
    ) -> None:
        self._log = open_site_log(store)
        self._writer = writer
        self._memory = memory
        self._tsa = tsa
        self._roots = trusted
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []
        self.unstamped: SidecarError | None = None

    def append(self, courses: Sequence[Course], reader: Reader) -> None:
        """Append what is new; nothing when nothing is."""
        self.problems = [problem for course in courses for problem in course.problems]
        now_s = int(time.time())
        fresh = [self._seen(course, now_s) for course in courses if self._is_news(course)]
        kept = self.problems[:PROBLEMS_PER_ENTRY]
        if not fresh and kept == self._memory.problems:
            return
        chunks = [fresh[at : at + SEEN_PER_ENTRY] for at in range(0, len(fresh), SEEN_PER_ENTRY)] or [[]]
        for chunk in chunks:
            made = partial(self._body, chunk, kept, reader)
            self.entries.append(self._log.append(self._writer, "witness", made, reader))

    def _is_news(self, course: Course) -> bool:
        sighting = self._memory.sightings.get(course.origin)
        return not course.problems and course.size > (sighting.seen.size if sighting else 0)

    def _seen(self, course: Course, now_s: int) -> Seen:
        cosigned = cosign(self._writer.signer, Note.parse(course.checkpoint), now_s)
        return Seen(
            origin=course.origin,
            size=course.size,
            root=base64text.encode(course.tree.root()),
            key=course.key,
            checkpoint=cosigned.format(),
            frontier=[base64text.encode(node) for _, node in course.tree.nodes],
            batch=course.batch,
            files=course.files,
            names=course.names,
        )

    def _body(
        self, chunk: list[Seen], problems: list[Problem], reader: Reader, new: Sequence[Entry]
    ) -> dict[str, Any]:
        own = {entry.index for entry in self.entries}
        for entry in new:
            if entry.kind == "witness" and entry.key == self._writer.key and entry.index not in own:
                raise LedgerError(f"another run of this witness appended entry {entry.index}: run again")
        body = to_json(
            Witness(
                cosigner=str(CosignerKey.of(self._writer.signer.verifier)),
                site_size=reader.head.size,
                site_root=b64encode(reader.root()).decode(),
                checkpoints=chunk,
                problems=problems,
            )
        )
        body["timestamp"] = to_json(found) if (found := self._stamp(body)) else None
        return body

    def _stamp(self, body: dict[str, Any]) -> TimeStamp | None:
        if self._tsa is None or self.unstamped is not None:
            return None
        try:
            return stamp(self._tsa, body, self._roots)
        except UsageError:
            raise
        except SidecarError as error:
            # The entry is worth more than its stamp: an authority that is away does not stop a witness.
            self.unstamped = error
            return None


def _report(run: _Run, courses: Sequence[Course], believed: list[str], as_json: bool) -> None:
    seen = sum(len(entry.body["checkpoints"]) for entry in run.entries)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "logs": len(courses),
                    "cosigned": seen,
                    "entries": [entry.index for entry in run.entries],
                    "stamped": sum(entry.body["timestamp"] is not None for entry in run.entries),
                    "retention_believed_of": believed,
                    "problems": [to_json(problem) for problem in run.problems],
                }
            )
        )
        return
    for problem in run.problems:
        click.echo(f"{problem.kind}: {problem.origin}: {problem.text}")
    added = ", ".join(str(entry.index) for entry in run.entries)
    click.echo(
        f"{len(courses)} logs, {seen} new checkpoints cosigned"
        + (f" in entry {added} of the site log" if added else "; nothing new")
    )
    for key in believed:
        click.echo(
            f"note: what {key} says was removed was believed; --operator KEY believes none but that key"
        )

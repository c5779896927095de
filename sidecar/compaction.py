"""Glue for `sidecar compact`: evidence repeated in few large files, proven equal, beside it.

Evidence is only read. Every compacted file is encoded, read again from its own
bytes and compared: rows of each source, their leaf hashes as stored, and the
leaf hashes computed anew from the rows that were written. Only then it is put.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import read_parquet, write_parquet

from sidecar.archive.commands import STORE, Problems
from sidecar.archive.compacted import Portion, compacted, portions
from sidecar.archive.inference_table import view_statement
from sidecar.archive.source import Source
from sidecar.audit.leaves import NEEDED, leaf_hashes
from sidecar.audit.parquet import BatchFile
from sidecar.damage import reading
from sidecar.errors import StoreError
from sidecar.lookup import open_source
from sidecar.objects import Store, for_command
from sidecar.schema import BLOB_COLUMNS, COLUMN_TYPES
from sidecar.shipping.columns import SCHEMA
from sidecar.shipping.parquet import METADATA_KEY

ROW_GROUP_ROWS = 65_536

_UNIQUE = (*BLOB_COLUMNS, "record_id", "leaf_hash", "salt", "leaf_index", "wrapped_key", "key_commitment")
"""Columns whose values do not repeat: a dictionary for them costs time and space."""
_PAYLOADS = (
    *(name for name in COLUMN_TYPES if name.endswith(("_head", "_body", "_trailers", "_interim"))),
    *("inputs", "outputs", "decoded_ciphertext", "wrapped_key", "key_commitment", "leaf_hash", "salt"),
)
"""Columns that nobody searches by their range."""


@dataclass(slots=True)
class Made:
    """What a run did."""

    files: int = 0
    sources: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    already: int = 0
    """Sources that earlier runs had compacted."""


@click.command()
@STORE
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option(
    "--before",
    metavar="DATE",
    help="Only days before this one (YYYY-MM-DD, UTC). [default: today: days that are over]",
)
@click.option(
    "--target-size",
    type=click.IntRange(1, 1024),
    default=128,
    show_default=True,
    metavar="MIB",
    help="Evidence in one compacted file; about four times as much memory is used.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--view",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the SQL of a DuckDB view with the columns of Databricks inference tables.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def compact(
    store: str,
    model: str | None,
    before: str | None,
    target_size: int,
    dry_run: bool,
    view: Path | None,
    as_json: bool,
) -> None:
    """Repeat many small files of records in few large ones, below compacted/."""
    source, objects = open_source(store), for_command(store)
    done = _once(source, objects, dry_run, as_json)
    made, problems = Made(already=len(done)), Problems()
    touched: set[str] = set()
    for portion in portions(source, done, _day(before), model, target_size << 20):
        if not dry_run:
            try:
                made.rows += _compact(objects, portion, made)
                touched.add(portion.partition)
            except StoreError as error:
                # Evidence that is damaged or altered must not keep the rest from being compacted.
                problems(error)
                continue
        made.files += 1
        made.sources += len(portion.files)
        made.bytes_before += portion.size
        if not as_json:
            word = "would make" if dry_run else "made"
            click.echo(f"{word} {portion.name} of {len(portion.files):,} files")
    # Another run may have been at the same evidence meanwhile.
    _once(source, objects, dry_run, as_json, touched)
    if view is not None:
        location = str(source.root.resolve()) if source.root is not None else store.rstrip("/")
        _write(view, view_statement(location))
    if as_json:
        click.echo(orjson.dumps({name: getattr(made, name) for name in Made.__slots__}).decode())
    else:
        _summary(made, dry_run)
    problems.leave()


def _once(
    source: Source, objects: Store, dry_run: bool, quiet: bool, partitions: Iterable[str] = ("",)
) -> set[str]:
    """Evidence that is repeated, after the removal of compacted files that repeat some of it again."""
    done, superfluous = compacted(source, partitions)
    for name in superfluous:
        if not dry_run:
            objects.delete(name)
        if not quiet:
            word = "would remove" if dry_run else "removed"
            click.echo(f"{word} {name}: another run repeated the same evidence")
    return done


def _compact(objects: Store, portion: Portion, made: Made) -> int:
    """Make one compacted file and prove it; gives its rows."""
    sources = [objects.get(each.name) for each in portion.files]
    expected = [_leaves(file.name, data) for file, data in zip(portion.files, sources, strict=True)]
    counts = [len(each) for each in expected]
    data = _encoded(portion, sources, portion.metadata(counts))
    # The proof needs their leaf hashes alone, and room for what was written.
    sources.clear()
    _prove(portion, data, expected)
    made.bytes_after += len(data)
    if not objects.put_new(portion.name, data):
        # Another run was faster; its object is under the same name because it has the same sources.
        _prove(portion, objects.get(portion.name), expected)
    return sum(counts)


def _encoded(portion: Portion, sources: list[bytes], metadata: dict[str, Any]) -> bytes:
    def batches() -> Iterator[RecordBatch]:
        for file, data in zip(portion.files, sources, strict=True):
            for batch in _reading(file.name, data):
                if batch.schema.names != SCHEMA.names:
                    raise StoreError(
                        f"{file.name}: has other columns than this Sidecar writes: use a newer one"
                    )
                yield RecordBatch.from_arrays(batch.columns, schema=SCHEMA)

    out = io.BytesIO()
    write_parquet(
        RecordBatchReader.from_batches(SCHEMA, batches()),
        out,
        key_value_metadata={METADATA_KEY: orjson.dumps(metadata).decode()},
        max_row_group_size=ROW_GROUP_ROWS,
        compression="zstd(3)",
        created_by="sidecar",
        column_dictionary_enabled=dict.fromkeys(_UNIQUE, False),
        column_max_statistics_size=dict.fromkeys(_PAYLOADS, 0),
        skip_arrow_metadata=True,
    )
    return out.getvalue()


def _reading(name: str, data: bytes) -> Iterator[RecordBatch]:
    with reading(name):
        yield from read_parquet(io.BytesIO(data))


def _leaves(name: str, data: bytes) -> list[bytes]:
    """Stored leaf hashes of a file, in row order."""
    found: list[bytes] = []
    for _, columns in BatchFile(name, data).slices(("leaf_hash",)):
        found += [each or b"" for each in columns["leaf_hash"]]
    return found


def _prove(portion: Portion, data: bytes, expected: list[list[bytes]]) -> None:
    """Raises StoreError unless the file repeats its sources row by row."""
    written = BatchFile(portion.name, data)
    counts = [each["rows"] for each in written.metadata.get("sources", [])]
    if counts != [len(each) for each in expected]:
        raise StoreError(f"{portion.name}: lists other sources or row counts than it was made from")
    wanted = iter([leaf for each in expected for leaf in each])
    rows = 0
    for count, columns in written.slices(NEEDED):
        computed = leaf_hashes(count, columns)
        for number, (own, stored) in enumerate(zip(computed, columns["leaf_hash"], strict=True)):
            leaf = next(wanted, None)
            if leaf is None or stored != leaf or own != leaf:
                record = columns["record_id"][number]
                raise StoreError(
                    f"record {record}: its row does not come to its leaf hash: `sidecar verify` says why; "
                    "nothing was written"
                )
        rows += count
    if rows != sum(counts):
        raise StoreError(f"{portion.name}: {rows:,} rows, {sum(counts):,} were to be written")


def _summary(made: Made, dry_run: bool) -> None:
    if not made.sources:
        click.echo(f"nothing to compact; {made.already:,} files were compacted before")
        return
    if dry_run:
        click.echo(f"{made.sources:,} files would become {made.files:,}; nothing was written")
        return
    click.echo(
        f"{made.sources:,} files of {made.bytes_before / 1e6:,.1f} MB became {made.files:,} of "
        f"{made.bytes_after / 1e6:,.1f} MB; {made.rows:,} rows and leaf hashes are equal"
    )


def _day(text: str | None) -> str:
    if text is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no day: write YYYY-MM-DD", param_hint="--before") from error


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: give a path that can be written") from error

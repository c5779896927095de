"""Rows of many files through DuckDB: only the columns and row groups that a query needs are read.

The engine runs locked: it can open the files it was given and nothing else, so
that a predicate which somebody else wrote can be run as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidecar.archive.footer import Footer
from sidecar.archive.query import FIELDS, REPEATED, Query, Row, order
from sidecar.archive.source import Source
from sidecar.errors import StoreError, UsageError
from sidecar.schema import COLUMN_TYPES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_MB = 1_024
REMOTE_THREADS = 8

_TYPES = {
    "utf8": "VARCHAR",
    "binary": "BLOB",
    "int64": "BIGINT",
    "int32": "INTEGER",
    "bool": "BOOLEAN",
    "map": "MAP(VARCHAR, VARCHAR)",
}
_PATTERN = frozenset("*?[")
_PROFILE = {"TOTAL_BYTES_READ": "true"}
_TOO_MUCH = "--where: more than one condition was written: give one predicate over the columns"


def installed() -> bool:
    """Whether DuckDB is there, and for a bucket what it reads through."""
    try:
        import duckdb
    except ImportError:
        return False
    # 2.0.0 gives corrupt reads through a registered file system.
    return duckdb.__version__.startswith("1.")


def required(what: str) -> UsageError:
    """What to say where DuckDB is needed and not installed."""
    return UsageError(f"{what} needs DuckDB 1.4 or 1.5: pip install 'sidecar-recorder[audit]'")


class DuckEngine:
    """A locked connection over the given files of a store. Use as a context manager."""

    def __init__(self, source: Source, footers: Sequence[Footer]) -> None:
        import duckdb

        self._source = source
        root = None if source.root is None else str(source.root.resolve())
        # The engine would take a star in a path for a pattern.
        base = f"{root}/" if root is not None and not _PATTERN.intersection(root) else "sidecar://"
        self._direct = base != "sidecar://"
        self._places = {each.file.name: base + each.file.name for each in footers}
        self._texts: dict[str, str] = {}
        self._connection: DuckDBPyConnection = duckdb.connect(":memory:")
        if not self._direct:
            from sidecar.archive.remote import file_system

            self._connection.register_filesystem(file_system(source, footers))
            self._connection.execute(f"SET threads={REMOTE_THREADS}")
        lock(self._connection, list(self._places.values()))

    def __enter__(self) -> DuckEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def newest(self, footers: Sequence[Footer], query: Query) -> list[Row]:
        """Matching rows of these files, latest first, at most the query's limit.

        Raises StoreError when a file cannot be read, and UsageError when the
        predicate fails on a row.
        """
        condition, values = query.sql()
        ordered = (
            f" ORDER BY t_request_us DESC NULLS LAST, record_id LIMIT {query.limit}" if query.limit else ""
        )
        places = [self._places[each.file.name] for each in footers]
        columns = ", ".join(f'"{name}"' for name in FIELDS)
        text = f"SELECT {columns} FROM read_parquet(?, hive_partitioning=false) WHERE {condition}{ordered}"
        try:
            rows = self._rows(self._connection.execute(text, [places, *values]))
        except Exception as error:
            # Damaged files make the engine raise more than its own errors: texts that are no UTF-8, for one.
            raise self._reason(error, places, query) from error
        self._take_account(footers)
        return sorted(rows, key=order)

    def _rows(self, result: DuckDBPyConnection) -> list[Row]:
        """Everything of a result. Every value comes as an object of its own; equal texts become one."""
        rows: list[Row] = []
        known = self._texts
        while portion := result.fetchmany(2_048):
            for row in portion:
                values = list(row)
                for index in REPEATED:
                    text = values[index]
                    if text is not None:
                        values[index] = known.setdefault(text, text)
                rows.append(tuple(values))
            if len(known) > 10_000:
                known.clear()
        return rows

    def _reason(self, error: Exception, places: list[str], query: Query) -> Exception:
        reason = first_line(error)
        if query.where is not None:
            try:
                self._connection.execute("SELECT count(record_id) FROM read_parquet(?)", [places]).fetchall()
                return UsageError(f"--where: {reason}")
            except Exception:
                reason = f"{reason} (without --where neither)"
        return StoreError(f"{self._name(places[0])}: cannot be read: {reason}")

    def _take_account(self, footers: Sequence[Footer]) -> None:
        account = self._source.account
        account.opened += len(footers)
        profile = json.loads(self._connection.get_profiling_information(format="json"))
        if self._direct:
            account.bytes_read += int(profile.get("total_bytes_read", 0))
        for each in footers:
            account.row_groups += -(-int(each.metadata.get("rows") or 1) // 65_536)

    def _name(self, place: str) -> str:
        return next(name for name, each in self._places.items() if each == place)


def lock(connection: DuckDBPyConnection, places: Sequence[str]) -> None:
    """From now on the connection reads these files alone, writes and loads nothing, and stays so."""
    listed = ", ".join("'" + each.replace("'", "''") + "'" for each in places)
    for setting in (
        f"SET memory_limit='{MEMORY_MB}MB'",
        "SET temp_directory=''",
        "SET autoinstall_known_extensions=false",
        "SET autoload_known_extensions=false",
        "SET allow_community_extensions=false",
        "SET enable_profiling='no_output'",
        f"SET custom_profiling_settings='{json.dumps(_PROFILE)}'",
        f"SET allowed_paths=[{listed}]",
        "SET enable_external_access=false",
        "SET lock_configuration=true",
    ):
        connection.execute(setting)


def checked_where(text: str) -> str:
    """The predicate, if it is one expression over the columns and nothing more.

    Raises UsageError for anything else: a second statement, a subquery, a
    column that does not exist, a text that is no SQL.
    """
    import duckdb

    with duckdb.connect(":memory:") as connection:
        lock(connection, [])
        try:
            # Without parentheses, so that it cannot close them; with them below, where it will stand.
            (found,) = connection.execute(
                "SELECT json_serialize_sql(?)", [f"SELECT\n{text}\n"]
            ).fetchone() or ("{}",)
            tree = json.loads(found)
            if tree.get("error"):
                said = str(tree.get("error_message", "no SQL predicate"))
                # What a second statement that is no SELECT makes of it.
                raise UsageError(_TOO_MUCH if "Only SELECT" in said else f"--where: {said}")
            _require_expression(tree)
            columns = ", ".join(f'NULL::{_TYPES[kind]} AS "{name}"' for name, kind in COLUMN_TYPES.items())
            connection.execute(f"SELECT 1 FROM (SELECT {columns}) WHERE (\n{text}\n)").fetchall()
        except duckdb.Error as error:
            raise UsageError(f"--where: {first_line(error)}") from error
    return text


def _require_expression(tree: dict[str, Any]) -> None:
    statements = tree.get("statements", [])
    node = statements[0]["node"] if len(statements) == 1 else {}
    alone = (
        node.get("type") == "SELECT_NODE"
        and len(node.get("select_list", [])) == 1
        and node.get("from_table", {}).get("type") == "EMPTY"
        and not node.get("modifiers")
        and not node.get("cte_map", {}).get("map")
        and not any(node.get(part) for part in ("where_clause", "group_expressions", "having", "qualify"))
    )
    if not alone:
        raise UsageError(_TOO_MUCH)
    if _holds(node["select_list"], "SUBQUERY"):
        raise UsageError("--where: a subquery: give a predicate over the columns of one record")
    if _holds(node["select_list"], "WINDOW"):
        raise UsageError("--where: a window function: give a predicate over the columns of one record")


def _holds(tree: Any, kind: str) -> bool:
    if isinstance(tree, dict):
        return tree.get("class") == kind or any(_holds(each, kind) for each in tree.values())
    return isinstance(tree, list) and any(_holds(each, kind) for each in tree)


def first_line(error: Exception) -> str:
    """What a DuckDB error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__

"""The shapes in which the formats write tables, each turned into columns: name → one value per instance.

A value is a JSON scalar, or a list where a field is an array. Objects within
objects become dotted names. Whatever cannot be told apart from an attack on
the reader's memory (sparse tables, endless nesting, endless names) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.errors import DecodeError

Columns = dict[str, list[Any]]

SCALARS = frozenset({int, float, str, bool, type(None)})
MAX_COLUMNS_OF_ARRAY = 500
"""A wider array stays one field with a list as its value."""
MAX_DEPTH = 32
MAX_CELLS = 4_000_000
MAX_NAME = 1024
"""Characters in a name that was put together from parts."""


def from_records(rows: list[Any], what: str) -> Columns:
    """Objects, one per instance; a key that an object lacks is None there."""
    flat = [flat_record(row, what) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    check_cells(len(flat), len(names), what)
    return {name: [row.get(name) for row in flat] for name in names}


def flat_record(record: Any, what: str) -> dict[str, Any]:
    """One object with scalars and lists as its values; `record` itself if it is so already."""
    if type(record) is not dict:
        raise DecodeError(f"{what}: an object was expected where {kind_of(record)} is")
    if SCALARS.issuperset(map(type, record.values())):
        return record
    flat: dict[str, Any] = {}
    _flatten(record, "", flat, 0, what)
    return flat


def _flatten(record: dict[str, Any], prefix: str, into: dict[str, Any], depth: int, what: str) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep(what)
    for key, value in record.items():
        name = prefix + key
        if depth and len(name) > MAX_NAME:
            raise DecodeError(f"{what}: a field's name has more than {MAX_NAME} characters")
        if type(value) is dict:
            scalar = tf_bytes(value)
            if scalar is not None:
                into[name] = scalar
            else:
                _flatten(value, name + ".", into, depth + 1, what)
        else:
            into[name] = array_value(value, what)


def tf_bytes(value: dict[str, Any]) -> str | None:
    """The text in TensorFlow's way to write bytes, `{"b64": "…"}`; None for any other object."""
    text = value.get("b64")
    return text if len(value) == 1 and type(text) is str else None


def array_value(value: Any, what: str) -> Any:
    """`value`, once it is known to be a scalar or an array of bearable depth; of `{"b64": …}` the text."""
    if type(value) is dict:
        text = tf_bytes(value)
        if text is None:
            raise DecodeError(f"{what}: an object where a scalar or an array was expected")
        return text
    if type(value) not in SCALARS:
        check_depth(value, what)
    return value


def check_depth(value: Any, what: str) -> None:
    """Raises DecodeError if arrays and objects nest deeper than `MAX_DEPTH`."""
    level: Iterable[Any] = (value,)
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if type(item) is list:
                inner.extend(part for part in item if type(part) not in SCALARS)
            elif type(item) is dict:
                inner.extend(part for part in item.values() if type(part) not in SCALARS)
        if not inner:
            return
        level = inner
    raise _too_deep(what)


def from_rows(name: str, rows: list[Any], what: str) -> Columns:
    """Rows as the V1 formats write them: all scalars, all objects, or all arrays.

    Arrays of one length, at most 500 scalars each, become `name[0]`, `name[1]`, …;
    other arrays stay whole under `name`.
    """
    if not rows:
        return {}
    types = set(map(type, rows))
    if types <= SCALARS:
        return {name: rows}
    if types == {dict}:
        scalars = [tf_bytes(row) for row in rows]
        return {name: scalars} if None not in scalars else from_records(rows, what)
    if types == {list}:
        return _from_arrays(name, rows, what)
    if dict in types:
        raise DecodeError(f"{what}: objects and other rows are mixed")
    return {name: [array_value(row, what) for row in rows]}


def _from_arrays(name: str, rows: list[list[Any]], what: str) -> Columns:
    width = len(rows[0])
    even = all(len(row) == width for row in rows)
    if even and 0 < width <= MAX_COLUMNS_OF_ARRAY and all(SCALARS.issuperset(map(type, row)) for row in rows):
        return dict(zip(array_names(name, width, what), map(list, zip(*rows, strict=True)), strict=True))
    return {name: [array_value(row, what) for row in rows]}


def from_columnar(name: str, value: Any, what: str) -> tuple[int, Columns]:
    """V1 columns: an object of arrays, or one array; the number of instances and the columns.

    Raises DecodeError if the arrays have different lengths.
    """
    if type(value) is not dict:
        rows = value if type(value) is list else [value]
        return len(rows), from_rows(name, rows, what)
    columns: Columns = {}
    lengths = set()
    for key, column in value.items():
        rows = column if type(column) is list else [column]
        lengths.add(len(rows))
        columns.update(from_rows(key, rows, f"{what}.{key[:80]}"))
    if len(lengths) > 1:
        raise DecodeError(
            f"{what}: columns of different lengths ({', '.join(map(str, sorted(lengths)[:4]))})"
        )
    return lengths.pop() if lengths else 0, columns


def array_names(name: str, width: int, what: str) -> list[str]:
    """`name[0]` to `name[width-1]`."""
    if len(name) > MAX_NAME:
        raise DecodeError(f"{what}: a field's name has more than {MAX_NAME} characters")
    return [f"{name}[{index}]" for index in range(width)]


def check_cells(rows: int, columns: int, what: str) -> None:
    """Raises DecodeError for a table whose columns could not be held: few values, many names."""
    if rows * columns > MAX_CELLS:
        raise DecodeError(f"{what}: {rows} rows of {columns} different fields; at most {MAX_CELLS} values")


def checked_rows(columns: Columns, instances: int, what: str) -> Columns:
    """`columns`, once each holds one value per instance."""
    for name, values in columns.items():
        if len(values) != instances:
            raise DecodeError(f"{what}: {name[:80]!r} has {len(values)} values for {instances} instances")
    return columns


def kind_of(value: Any) -> str:
    """What a JSON value is, for an error message."""
    names: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "a number")


def _too_deep(what: str) -> DecodeError:
    return DecodeError(f"{what}: nested deeper than {MAX_DEPTH} levels")

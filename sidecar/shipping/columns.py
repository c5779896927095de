"""Python values → Arrow columns of a batch file."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Field, Schema, list_array, struct_array

from sidecar.schema import COLUMN_TYPES

_PAIR = (Field("key", DataType.utf8(), nullable=False), Field("value", DataType.utf8(), nullable=True))
_MAP = DataType.map(_PAIR[0], _PAIR[1], False)
_NAMED = {
    "utf8": DataType.utf8(),
    "binary": DataType.binary(),
    "int64": DataType.int64(),
    "int32": DataType.int32(),
    "bool": DataType.bool(),
    "map": _MAP,
}
ARROW_TYPES: dict[str, DataType] = {name: _NAMED[kind] for name, kind in COLUMN_TYPES.items()}
SCHEMA = Schema([Field(name, kind, nullable=True) for name, kind in ARROW_TYPES.items()])
UNPLACED = Schema([SCHEMA.field(name) for name in ARROW_TYPES if name != "leaf_index"])
"""The schema of rows whose leaf index is not known yet."""


def array(name: str, values: Sequence[Any]) -> Array:
    """A column's values as Arrow has them."""
    kind = ARROW_TYPES[name]
    return map_array(values) if kind is _MAP else Array(values, type=kind)


def map_array(values: Sequence[Mapping[str, str] | None]) -> Array:
    """A map<utf8, utf8> column; names within one value are sorted."""
    names: list[str] = []
    texts: list[str] = []
    offsets = [0]
    for value in values:
        for key in sorted(value or ()):
            names.append(key)
            texts.append((value or {})[key])
        offsets.append(len(names))
    utf8 = DataType.utf8()
    entries = struct_array([Array(names, type=utf8), Array(texts, type=utf8)], fields=_PAIR)
    kind = DataType.list(Field("entries", entries.type, nullable=False))
    missing = Array([value is None for value in values], type=DataType.bool())
    return _as_map(
        list_array(Array.from_numpy(np.array(offsets, dtype=np.int32)), entries, type=kind, mask=missing)
    )


def _as_map(pairs: Array) -> Array:
    """A list of pairs as a map: Arrow lays both out alike, and only the schema's format letter differs.

    arro3 has no constructor and no cast for maps; the Arrow C data interface has the letter at the
    beginning of its schema struct.
    """
    schema, data = pairs.__arrow_c_array__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    format_text = ctypes.c_void_p.from_address(pointer(schema, b"arrow_schema")).value
    assert format_text is not None
    assert ctypes.string_at(format_text) == b"+l"
    ctypes.memmove(format_text, b"+m", 2)
    return Array.from_arrow_pycapsule(schema, data)

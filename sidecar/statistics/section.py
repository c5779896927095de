"""A section of the watch file → frozen values, with one line of words for what is wrong."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
MAX_ENTRIES = 100
"""In one section; each entry becomes counts in every pane."""


def entries(section: object, kind: type[T], where: str) -> tuple[T, ...]:
    """The entries of a list section. Raises ValueError naming the entry, the key and what it may be."""
    if section is None:
        return ()
    if not isinstance(section, list):
        raise ValueError(f"{where}: must be a list of entries, each with {keys_of(kind)}")
    if len(section) > MAX_ENTRIES:
        raise ValueError(f"{where}: {len(section)} entries; at most {MAX_ENTRIES} are watched")
    return tuple(entry(each, kind, f"{where}[{number}]") for number, each in enumerate(section))


def entry(value: object, kind: type[T], where: str) -> T:
    """One mapping as the frozen value of its kind."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be a mapping with {keys_of(kind)}")
    unknown = [str(key) for key in value if key not in kind.__struct_encode_fields__]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0][:60]!r}: takes {keys_of(kind)}")
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        words = str(error).replace("Object missing required field", "lacks")
        words = words.replace("`$.", "`").replace("`$`", "it")
        raise ValueError(f"{where}: {words[:1].lower()}{words[1:]}: takes {keys_of(kind)}") from error


def keys_of(kind: type[msgspec.Struct]) -> str:
    """The accepted keys, for a message."""
    return ", ".join(kind.__struct_encode_fields__)


def checked(condition: object, where: str, words: str) -> None:
    """Raises ValueError unless the condition holds."""
    if not condition:
        raise ValueError(f"{where}: {words}")

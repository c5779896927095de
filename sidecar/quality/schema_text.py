"""Schema files, written: rules → YAML that a person can read and edit. Equal rules give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sidecar.quality.rules import VERSION, FieldRules, RelationRule, Schema, names_of

LEGEND: Final = {
    "type": "integer, number, text, boolean or array",
    "range": "[least, most] of a number; null for no bound",
    "length": "[least, most] characters of a text, or values of an array",
    "allowed": "the only values there may be",
    "format": "date, datetime, uuid, email, ipv4 or url",
    "pattern": "regular expression for the whole text",
    "nulls": "largest share of rows without a value",
    "unique": "no value twice among so many in a row",
    "tolerate": "share of the values that may break the field's other rules",
}
_ONE_LINE: Final = 90
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""What some YAML reader or other takes for a boolean or null."""


def write_schema(schema: Schema, heading: Sequence[str] = (), notes: Mapping[str, str] | None = None) -> str:
    """The file's text. `heading` are comment lines for its top; `notes` comments for single rules.

    A note's key is the rule's name: `inputs.age/range`, `inputs.age` for the field, or a relation's text.
    """
    notes = notes or {}
    lines = [f"# {line}".rstrip() for line in heading]
    used = dict.fromkeys(name for rules in schema.fields.values() for name in names_of(rules))
    if any(rules.tolerate for rules in schema.fields.values()):
        used["tolerate"] = None
    lines += [f"#   {name:<9} {text}" for name, text in LEGEND.items() if name in used]
    lines += [f"version: {VERSION}", ""]
    lines.append("fields:" if schema.fields else "fields: {}")
    for path, rules in schema.fields.items():
        lines += _field(path, rules, notes)
    if schema.relations:
        lines += ["", "relations:"]
        for each in schema.relations:
            lines += _relation(each, notes)
    return "\n".join(lines) + "\n"


def _field(path: str, rules: FieldRules, notes: Mapping[str, str]) -> list[str]:
    names = [*names_of(rules), *(["tolerate"] if rules.tolerate else [])]
    about = _comment(notes.get(path))
    if not names:
        return [f"  {scalar(path)}: {{}}{about}"]
    lines = [f"  {scalar(path)}:{about}"]
    for name in names:
        value = getattr(rules, name)
        comment = _comment(notes.get(f"{path}/{name}"))
        if isinstance(value, tuple):
            texts = [scalar(each) for each in value]
            joined = ", ".join(texts)
            if len(joined) > _ONE_LINE:
                lines += [f"    {name}:{comment}", *(f"      - {text}" for text in texts)]
                continue
            shown = f"[{joined}]"
        else:
            shown = _quoted(value) if name == "pattern" else scalar(value)
        lines.append(f"    {name}: {shown}{comment}")
    return lines


def _relation(each: RelationRule, notes: Mapping[str, str]) -> list[str]:
    text = str(each.relation)
    comment = _comment(notes.get(text))
    if not each.tolerate:
        return [f"  - {_quoted(text)}{comment}"]
    return [f"  - rule: {_quoted(text)}{comment}", f"    tolerate: {scalar(each.tolerate)}"]


def _comment(note: str | None) -> str:
    return "  # " + " ".join(note.split()) if note else ""


def scalar(value: Any) -> str:
    """A value as every YAML reader takes it."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float:
        text = repr(value)
        # YAML 1.1 takes 1e+16 for a text.
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    if type(value) is int:
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _quoted(text: str) -> str:
    """In single quotes, which leave backslashes alone."""
    return "'" + text.replace("'", "''") + "'" if text.isprintable() else scalar(text)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

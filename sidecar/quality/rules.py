"""What may be said of a field, of two fields, and of a whole model's data."""

from __future__ import annotations

from typing import Final

import msgspec

from sidecar.quality.relation import Relation

Number = int | float
Scalar = str | bool | int | float

TYPES: Final = ("integer", "number", "text", "boolean", "array")
SIDES: Final = ("inputs", "outputs", "exchange")
VERSION: Final = 1

DEFAULT_LIMIT: Final = 0.001
"""Share of violations that raises an alarm where a rule tolerates none: one in a thousand.

A share of exactly nothing cannot be watched under a budget of false alarms: a
single wrong row would be proof. Every violation is counted and shown all the same.
"""


class FieldRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rules for the values of one field; those that are None say nothing. All but `nulls` pass over nulls."""

    type: str | None = None
    """One of TYPES. An integer may be written with a fraction of zero; a number is finite."""
    range: tuple[Number | None, Number | None] | None = None
    """Least and most of a number, both allowed; None: open. Says nothing of what is no number."""
    length: tuple[int | None, int | None] | None = None
    """Least and most characters of a text, or values of an array."""
    allowed: tuple[Scalar, ...] | None = None
    """The only values there may be. True is not 1; 1 and 1.0 are the same."""
    format: str | None = None
    """A name out of `formats.FORMATS` that texts have."""
    pattern: str | None = None
    """Matches each text wholly; see `pattern.py` for its syntax."""
    nulls: float | None = None
    """Largest share of rows without a value."""
    unique: int | None = None
    """No value is there twice among so many in a row."""
    tolerate: float = 0.0
    """Share of the checked values that may break any one of the rules above (nulls aside)."""


class RelationRule(msgspec.Struct, frozen=True):
    """A relation between fields, and the share of rows that may break it."""

    relation: Relation
    tolerate: float = 0.0


class Schema(msgspec.Struct, frozen=True):
    """All rules for one model's data; fields by path, in the file's order."""

    fields: dict[str, FieldRules]
    relations: tuple[RelationRule, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field that is named, in a relation too."""
        related = (path for each in self.relations for path in each.relation.paths)
        return tuple(dict.fromkeys((*self.fields, *related)))

    @property
    def rules(self) -> int:
        """How many rules there are."""
        return len(self.relations) + sum(len(names_of(rules)) for rules in self.fields.values())


RULES: Final = tuple(name for name in FieldRules.__struct_fields__ if name != "tolerate")


def names_of(rules: FieldRules) -> list[str]:
    """Names of the rules that a field has, in their order."""
    return [name for name in RULES if getattr(rules, name) is not None]


def valid_path(text: str) -> bool:
    """Whether it is `inputs.NAME`, `outputs.NAME` or `exchange.NAME`."""
    side, _, name = text.partition(".")
    return side in SIDES and bool(name)

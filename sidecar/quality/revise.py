"""A schema brought up to date: what a person wrote stays as long as the data keeps it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from sidecar.quality.rules import FieldRules, Schema, names_of


@dataclass(slots=True)
class Revision:
    """The new rules, and what is different in them."""

    schema: Schema
    changed: list[str] = field(default_factory=list)
    """Names of rules that the data broke; they are as inferred now."""
    dropped: list[str] = field(default_factory=list)
    """Broken ones for which nothing else was inferred."""
    added: list[str] = field(default_factory=list)
    """Fields that the old schema did not have."""


def revise(old: Schema, broken: Collection[str], inferred: Schema) -> Revision:
    """`old` with the `broken` rules inferred anew and the fields it lacks; everything else as it was."""
    revision = Revision(old)
    fields: dict[str, FieldRules] = {}
    for path, rules in old.fields.items():
        values = msgspec.structs.asdict(rules)
        fresh = inferred.fields.get(path, FieldRules())
        for name in names_of(rules):
            full = f"{path}/{name}"
            if full not in broken:
                continue
            values[name] = getattr(fresh, name)
            (revision.dropped if values[name] is None else revision.changed).append(full)
            values["tolerate"] = max(values["tolerate"], fresh.tolerate)
        fields[path] = FieldRules(**values)
    for path, rules in inferred.fields.items():
        if path not in fields:
            fields[path] = rules
            revision.added.append(path)
    relations = [each for each in old.relations if str(each.relation) not in broken]
    revision.dropped += [str(each.relation) for each in old.relations if str(each.relation) in broken]
    news, kept = set(revision.added), {str(each.relation) for each in old.relations}
    relations += [
        each
        for each in inferred.relations
        if news & set(each.relation.paths) and str(each.relation) not in kept
    ]
    revision.schema = Schema(fields, tuple(relations))
    return revision

"""Schema files: what is written reads back the same, and what is wrong is said in one line."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given

from sidecar.quality.rules import FieldRules, Schema
from sidecar.quality.schema_file import SchemaError, parse_schema
from sidecar.quality.schema_text import write_schema
from tests.quality.tables import schemas


def read(text: str) -> Schema:
    return parse_schema(text.encode(), "schema.yaml")


@given(schemas())
def test_what_is_written_reads_back_the_same(schema: Schema) -> None:
    notes = dict.fromkeys(schema.fields, "a\nnote # of two lines")
    text = write_schema(schema, ["A heading", ""], notes)
    assert read(text) == schema
    assert write_schema(read(text), ["A heading", ""], notes) == text


@given(schemas())
def test_every_other_yaml_reader_sees_the_same_values(schema: Schema) -> None:
    document = yaml.safe_load(write_schema(schema))
    for path, rules in schema.fields.items():
        found = document["fields"][path]
        for name in ("allowed", "range", "length"):
            value = getattr(rules, name)
            assert found.get(name) == (None if value is None else list(value))
        assert (found.get("pattern"), found.get("format")) == (rules.pattern, rules.format)


def test_scalars_are_what_they_look_like() -> None:
    text = "version: 1\nfields:\n  inputs.a:\n    allowed: [no, 2026-11-25, 1:30, 010, 1e3, '1', true, off, -.5]\n"
    assert read(text).fields["inputs.a"].allowed == (
        "no",
        "2026-11-25",
        "1:30",
        10,
        1000.0,
        "1",
        True,
        "off",
        -0.5,
    )


def test_little_is_needed() -> None:
    assert read("version: 1\n") == Schema({})
    assert read("version: 1\nfields:\nrelations:\n") == Schema({})
    assert read("version: 1\nfields:\n  inputs.a:\n") == Schema({"inputs.a": FieldRules()})


FIELD = "version: 1\nfields:\n  inputs.a:\n    "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "schema.yaml: is empty: make one with `sidecar schema infer`"),
        ("- a", "schema.yaml:1: must hold `key: value` lines"),
        ("fields: {}", "schema.yaml:1: says version null, this build reads 1: use a Sidecar that knows it"),
        (
            "version: 2",
            "schema.yaml:1: version: says version 2, this build reads 1: use a Sidecar that knows it",
        ),
        (
            "version: true",
            "schema.yaml:1: version: says version true, this build reads 1: use a Sidecar that knows it",
        ),
        (
            "version: 1\nfeilds: {}",
            "schema.yaml:2: feilds: no such key (did you mean fields?): there are version, fields, relations",
        ),
        ("version: 1\nversion: 1", "schema.yaml:2: version: stands there twice: keep one"),
        ("version: 1\nfields: [a]", "schema.yaml:2: fields: must hold `key: value` lines"),
        (
            "version: 1\nfields:\n  age: {}",
            "schema.yaml:3: fields: age: is no field: write inputs.NAME, outputs.NAME or exchange.NAME",
        ),
        (
            FIELD + "typ: text",
            "schema.yaml:4: fields: inputs.a: typ: no such key (did you mean type?): there are type, range, length, "
            "allowed, format, pattern, nulls, unique, tolerate",
        ),
        (
            FIELD + "type: float",
            'schema.yaml:4: fields: inputs.a: type: is "float", must be one of integer, number, text, boolean, array',
        ),
        (FIELD + "type: [a]", "schema.yaml:4: fields: inputs.a: type: must be a single value"),
        (
            FIELD + "range: [1]",
            "schema.yaml:4: fields: inputs.a: range: has 1 values, must be [least, most], each a number or null for none",
        ),
        (FIELD + "range: [x, 1]", 'schema.yaml:4: fields: inputs.a: range: is "x", must be a number or null'),
        (
            FIELD + "range: [2, 1]",
            "schema.yaml:4: fields: inputs.a: range: begins at 2 above its end 1: turn them round",
        ),
        (
            FIELD + "range: [null, null]",
            "schema.yaml:4: fields: inputs.a: range: bounds nothing, must be [least, most], each a number or null for none",
        ),
        (
            FIELD + "length: [-1, 2]",
            "schema.yaml:4: fields: inputs.a: length: is -1, must be a count or null",
        ),
        (
            FIELD + "allowed: []",
            "schema.yaml:4: fields: inputs.a: allowed: has 0 values, must be a list of 1 to 10,000",
        ),
        (
            FIELD + "allowed: [1, null]",
            "schema.yaml:4: fields: inputs.a: allowed: is null, must be a text, number, true or false; for nulls there "
            "is `nulls`",
        ),
        (FIELD + "allowed: 3", "schema.yaml:4: fields: inputs.a: allowed: must be a list"),
        (
            FIELD + "format: zip",
            'schema.yaml:4: fields: inputs.a: format: is "zip", must be one of date, datetime, uuid, email, ipv4, url',
        ),
        (
            FIELD + "pattern: '(a+'",
            "schema.yaml:4: fields: inputs.a: pattern: '(a+' has a group without its end at character 4: add the `)` or "
            "write \\(",
        ),
        (FIELD + "nulls: 2", "schema.yaml:4: fields: inputs.a: nulls: is 2, must be a share from 0 to 1"),
        (
            FIELD + "nulls: .nan",
            'schema.yaml:4: fields: inputs.a: nulls: is ".nan", must be a share from 0 to 1',
        ),
        (
            FIELD + "unique: 1e9",
            "schema.yaml:4: fields: inputs.a: unique: is 1000000000.0, must be how many values to look back, 1 to 100,000",
        ),
        (
            "version: 1\nrelations:\n  - inputs.a <= 3 x",
            "schema.yaml:3: relations: 'inputs.a <= 3 x' goes on after its end at character 15: for example",
        ),
        (
            "version: 1\nrelations:\n  - tolerate: 1",
            "schema.yaml:3: relations: lacks its `rule`: write rule: inputs.low <= inputs.high",
        ),
        (
            "version: 1\nrelations: ['inputs.a<=3', 'inputs.a <= 3']",
            "schema.yaml:2: relations: 'inputs.a <= 3' stands there twice: keep one",
        ),
        ("version: 1\nfields: {", "schema.yaml:2: not valid YAML: "),
        ("version: 1\nfields: \x00", "schema.yaml:1: not valid YAML: "),
        ("version: 1\nfields: " + "[" * 5000, "schema.yaml:1: not valid YAML: nested too deep"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SchemaError) as caught:
        read(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_schema_has_bounds() -> None:
    with pytest.raises(SchemaError, match="at most 2,000 are checked"):
        read("version: 1\nfields:\n" + "".join(f"  inputs.a{n}: {{type: text}}\n" for n in range(2_001)))
    with pytest.raises(SchemaError, match="a schema has at most 8,388,608: split the model"):
        parse_schema(b" " * (8 << 20) + b"#", "schema.yaml")

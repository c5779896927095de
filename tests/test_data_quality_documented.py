"""docs/data-quality.md is true: its examples run, its table of rules holds, its table of expectations is the code's."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from sidecar.cli import cli
from sidecar.ledger.note import SigningKey
from sidecar.quality.automaton import MAX_POSITIONS, MAX_TEXT
from sidecar.quality.expectations import TRANSLATED
from sidecar.quality.formats import FORMATS
from sidecar.quality.rules import RULES, TYPES, names_of
from sidecar.quality.schema_file import MAX_BYTES, MAX_RULES, parse_schema
from sidecar.quality.window import MAX_WINDOW
from tests.quality.tables import Table, checked
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, START_US, LogMaker
from tests.test_schema_commands import SUITE, applicants

TEXT = (Path(__file__).parent.parent / "docs" / "data-quality.md").read_text()


def examples() -> list[tuple[str, list[Any], list[Any]]]:
    found = []
    for line in TEXT.partition("| rule | example |")[2].partition("\n\n")[0].splitlines()[2:]:
        _, _, example, kept, broken, _ = line.split("|")
        good, bad = ([json.loads(each) for each in re.findall(r"`([^`]+)`", cell)] for cell in (kept, broken))
        found.append((example.strip().strip("`"), good, bad))
    return found


@pytest.mark.parametrize(("rule", "kept", "broken"), examples())
def test_each_example_of_a_rule_does_what_it_says(rule: str, kept: list[Any], broken: list[Any]) -> None:
    schema = parse_schema(f"version: 1\nfields:\n  inputs.a:\n    {rule}\n".encode(), "x")
    assert kept
    for value in kept:
        assert not next(iter(checked(schema, {"inputs.a": [value]}).values())).violated.size, value
    for value in broken:
        assert next(iter(checked(schema, {"inputs.a": [value]}).values())).violated.size, value


def test_every_rule_type_and_format_has_an_example() -> None:
    text = "\n".join(rule for rule, _, _ in examples())
    assert set(re.findall(r"^(\w+):", text, re.MULTILINE)) == set(RULES)
    assert set(re.findall(r"^type: (\w+)", text, re.MULTILINE)) == set(TYPES)
    assert set(re.findall(r"^format: (\w+)", text, re.MULTILINE)) == set(FORMATS)


def test_the_file_that_is_shown_is_one() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    schema = parse_schema(block.encode(), "x")
    assert {name for rules in schema.fields.values() for name in names_of(rules)} == set(RULES)
    table: Table = {
        "inputs.least": [1, 2],
        "inputs.most": [1, 1],
        "inputs.rent": [700.1, 1],
        "inputs.rates": [0.2, 1],
        "inputs.housing": [700.3, 3],
        "inputs.kind": ["joint", "joint"],
        "inputs.partner": ["x", None],
    }
    found = checked(schema, table)
    assert [found[str(each.relation)].violated.tolist() for each in schema.relations] == [[1], [1], [1]]


def test_numbers_are_those_of_the_code() -> None:
    assert f"At most {MAX_RULES:,} rules and {MAX_BYTES >> 20} MiB" in TEXT
    assert (
        f"than {MAX_TEXT:,} characters matches none, and a pattern comes to at most {MAX_POSITIONS}" in TEXT
    )
    assert f"up to {MAX_WINDOW:,}." in TEXT


def test_the_expectations_with_a_counterpart_are_the_listed_ones() -> None:
    table = TEXT.partition("| expectation | becomes |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(expect_\w+)`", table, re.MULTILINE)) == sorted(TRANSLATED)


def test_every_option_is_described() -> None:
    group = cli.get_command(click.Context(cli), "schema")
    assert isinstance(group, click.Group)
    described = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", TEXT))
    options = {option for each in group.commands.values() for param in each.params for option in param.opts}
    assert {option for option in options if option.startswith("--")} <= described


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    applicants(tmp_path / "train.csv")
    applicants(tmp_path / "test.csv")
    (tmp_path / "suite.json").write_bytes(SUITE.read_bytes())
    log = LogMaker(tmp_path / "records", SigningKey("k", bytes(32)), t_us=START_US - DAY_US)
    log.exchanges(300)
    log.close()
    (block,) = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    for line in block.splitlines():
        words = shlex.split(line)
        # The store of the example is of another day than today.
        words = [word for word in words if word not in ("--since", "7d", "1d")]
        ran = sidecar(*words[1:])
        assert ran.code == 0, (line, ran.err)

"""`sidecar schema infer`, `check` and `import` over files and stores, as a person uses them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.ledger.note import SigningKey
from tests.support.commands import Ran, sidecar
from tests.support.sealed_store import LogMaker

SUITE = Path(__file__).parent / "quality" / "data" / "great_expectations" / "suite-1.x.json"


def applicants(path: Path, rows: int = 600, seed: int = 1, **changed: Any) -> Path:
    chance = random.Random(seed)
    lines = ["id,age,region,low,high,deny"]
    for number in range(rows):
        low = chance.randint(1, 500)
        row: dict[str, Any] = {
            "id": f"A-{number:05d}",
            "age": chance.randint(18, 90) if chance.random() > 0.03 else "",
            "region": chance.choice(["north", "south"]),
            "low": low,
            "high": low + chance.randint(0, 500),
            "deny": str(chance.random() < 0.4).lower(),
        }
        if number >= rows - 10:
            row |= changed
        lines.append(",".join(str(row[name]) for name in lines[0].split(",")))
    path.write_text("\n".join(lines) + "\n")
    return path


def infer(tmp_path: Path, *more: object) -> Ran:
    ran = sidecar(
        "schema",
        "infer",
        "--from",
        tmp_path / "train.csv",
        "--outputs",
        "deny",
        "-o",
        tmp_path / "s.yaml",
        *more,
    )
    assert ran.code == 0, ran.err
    return ran


def check(tmp_path: Path, *more: object) -> Ran:
    return sidecar("schema", "check", *more, "--schema", tmp_path / "s.yaml")


def test_rules_of_a_training_file_hold_in_it_and_find_what_is_wrong_in_another(tmp_path: Path) -> None:
    applicants(tmp_path / "train.csv")
    assert "rules for 6 fields, from 600 rows" in infer(tmp_path).out
    document = yaml.safe_load((tmp_path / "s.yaml").read_text())
    assert document["fields"]["inputs.id"]["pattern"] == "[A-Z]-[0-9]{5}"
    assert document["fields"]["outputs.deny"]["type"] == "boolean"
    assert document["relations"] == ["inputs.low <= inputs.high"]
    ran = check(tmp_path, tmp_path / "train.csv")
    assert (ran.code, ran.err) == (0, "")
    bad = applicants(tmp_path / "bad.csv", age="old", region="west", high=0)
    ran = check(tmp_path, bad)
    assert ran.code == 1
    assert (
        ran.err == f"sidecar: 3 rules are violated by {bad}: see the table, or mend {tmp_path / 's.yaml'}\n"
    )
    aged = sum(bool(line.split(",")[1]) for line in bad.read_text().splitlines()[1:])
    violated = [line.split()[1:5] for line in ran.out.splitlines() if line.startswith("VIOLATED")]
    assert [" ".join(words) for words in violated] == [
        f"inputs.age/type {aged} 10 1.7",
        "inputs.region/allowed 600 10 1.7",
        "inputs.low <= inputs.high 600",
    ]
    assert "row 596, row 597, row 598, row 599, row 600" in ran.out


def test_json_says_the_same(tmp_path: Path) -> None:
    applicants(tmp_path / "train.csv")
    assert json.loads(infer(tmp_path, "--json").out)["rows"] == 600
    bad = applicants(tmp_path / "bad.csv", region="west")
    ran = check(tmp_path, bad, "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["violated"], report["rows"]) == (1, True, 600)
    (broken,) = [each for each in report["rules"] if each["violated"]]
    assert broken == {
        "rule": "inputs.region/allowed",
        "checked": 600,
        "broken": 10,
        "share": 10 / 600,
        "allowed": 0.0,
        "violated": True,
        "last": [f"row {number}" for number in range(596, 601)],
    }
    assert (report["fields_without_rules"], report["fields_absent"]) == ([], [])


def test_fields_that_are_new_or_gone_are_named(tmp_path: Path) -> None:
    applicants(tmp_path / "train.csv")
    infer(tmp_path)
    lines = (tmp_path / "train.csv").read_text().replace("region", "county")
    (tmp_path / "other.csv").write_text(lines)
    ran = check(tmp_path, tmp_path / "other.csv")
    assert ran.code == 1
    assert "no rule for inputs.county" in ran.out
    assert "no row has inputs.region" in ran.out


def test_a_schema_is_not_written_over_unasked(tmp_path: Path) -> None:
    applicants(tmp_path / "train.csv")
    infer(tmp_path)
    first = (tmp_path / "s.yaml").read_bytes()
    again = ("schema", "infer", "--from", tmp_path / "train.csv", "-o", tmp_path / "s.yaml")
    ran = sidecar(*again)
    assert ran.code == 2
    assert "is there already: give --update to keep what holds of it, or --overwrite" in ran.err
    assert sidecar(*again, "--update", "--overwrite").code == 2
    infer(tmp_path, "--overwrite")
    assert (tmp_path / "s.yaml").read_bytes() == first


def test_an_update_keeps_what_a_person_wrote_as_long_as_the_rows_keep_it(tmp_path: Path) -> None:
    applicants(tmp_path / "train.csv")
    infer(tmp_path)
    document = yaml.safe_load((tmp_path / "s.yaml").read_text())
    document["fields"]["inputs.age"]["range"] = [0, 150]
    del document["fields"]["inputs.low"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    applicants(tmp_path / "train.csv", region="west")
    ran = infer(tmp_path, "--update")
    assert "changed   inputs.region/allowed" in ran.out
    assert "added     inputs.low" in ran.out
    document = yaml.safe_load((tmp_path / "s.yaml").read_text())
    assert document["fields"]["inputs.age"]["range"] == [0, 150]
    assert document["fields"]["inputs.region"]["allowed"] == ["north", "south", "west"]
    assert check(tmp_path, tmp_path / "train.csv").code == 0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    log = LogMaker(tmp_path / "records", SigningKey("k", bytes(32)))
    chance = random.Random(3)
    for number in range(400):
        inputs: dict[str, list[Any]] = {
            "age": [chance.randint(18, 90), chance.randint(18, 90)],
            "region": ["north", chance.choice(["north", "south"])],
        }
        if number == 399:
            inputs["age"][1] = -5
        log.exchange(
            inputs=json.dumps(inputs), outputs=json.dumps({"deny": [True, False]}), decoder="plain_json"
        )
    log.exchange(
        status=500, inputs=json.dumps({"age": [30], "region": ["north"]}), outputs=None, decoder="plain_json"
    )
    log.close()
    return tmp_path / "records"


def test_rules_of_a_store_find_the_records_that_break_them(store: Path, tmp_path: Path) -> None:
    ran = sidecar("schema", "infer", "--store", store, "--model", "mortgage", "-o", tmp_path / "s.yaml")
    assert (ran.code, ran.err) == (0, "")
    text = (tmp_path / "s.yaml").read_text()
    assert (
        sidecar(
            "schema", "check", "--store", store, "--model", "mortgage", "--schema", tmp_path / "s.yaml"
        ).code
        == 0
    )
    document = yaml.safe_load(text)
    # An exchange without an answer lacks no output.
    assert document["fields"]["outputs.deny"]["nulls"] < 0.01
    document["fields"]["inputs.age"]["range"] = [0, 120]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document))
    ran = check(tmp_path, "--store", store, "--model", "mortgage", "--json")
    (broken,) = [each for each in json.loads(ran.out)["rules"] if each["violated"]]
    assert (ran.code, broken["rule"], broken["broken"], broken["checked"]) == (1, "inputs.age/range", 1, 801)
    (last,) = broken["last"]
    shown = sidecar("show", last, "--store", store)
    assert (shown.code, "-5" in shown.out) == (0, True)


def test_exchanges_without_inputs_and_those_that_do_not_fit_are_no_stumbling_block(tmp_path: Path) -> None:
    log = LogMaker(tmp_path / "records", SigningKey("k", bytes(32)))
    log.exchange(inputs="{}", outputs='{"deny":[true,false]}')
    log.exchange(inputs='{"age":[1]}', outputs='{"deny":[true,false]}')
    log.exchange(inputs=None, outputs=None)
    log.close()
    told = ("--store", tmp_path / "records", "--model", "mortgage")
    ran = sidecar("schema", "infer", *told, "-o", tmp_path / "s.yaml", "--json")
    assert (ran.code, json.loads(ran.out)["rows"]) == (0, 2)


def test_a_span_without_exchanges_is_said(store: Path, tmp_path: Path) -> None:
    ran = sidecar("schema", "infer", "--store", store, "--model", "other", "-o", tmp_path / "s.yaml")
    assert ran.code == 2
    assert "no exchange of other is in that span: widen --since" in ran.err
    assert not (tmp_path / "s.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["infer"], "schema: give either a file, or --store URL with --model NAME"),
        (["infer", "--store", "x"], "schema: --store needs --model NAME: a schema is of one model"),
        (
            ["infer", "--from", "nothing.csv"],
            "nothing.csv: No such file or directory: give a CSV or Parquet file",
        ),
        (
            ["infer", "--from", "train.csv", "--outputs", "x"],
            "--outputs: the file has no column 'x': it has id, age",
        ),
        (["infer", "--from", "empty.csv"], "schema: there are no rows to infer rules from"),
        (
            ["infer", "--from", "train.csv", "--update"],
            "schema.yaml: No such file or directory: give a schema file",
        ),
        (
            ["check", "train.csv", "--schema", "bad.yaml"],
            "bad.yaml:1: versoin: no such key (did you mean version?)",
        ),
        (
            ["check", "train.csv", "--schema", "none.yaml"],
            "none.yaml: No such file or directory: give a schema file",
        ),
        (["check", "train.csv"], "Missing option '--schema'"),
        (["import", "train.csv"], "train.csv: is no JSON"),
        (["import", "none.json"], "none.json: No such file or directory: give the JSON file of a suite"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    applicants(tmp_path / "train.csv", rows=5)
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "bad.yaml").write_text("versoin: 1\n")
    ran = sidecar("schema", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "schema.yaml").exists()


def test_a_folder_that_cannot_be_written_to_is_a_failure(tmp_path: Path) -> None:
    applicants(tmp_path / "train.csv", rows=5)
    ran = sidecar("schema", "infer", "--from", tmp_path / "train.csv", "-o", tmp_path / "no" / "s.yaml")
    assert ran.code == 1
    assert "give a folder that can be written to" in ran.err


def test_a_suite_is_translated_and_the_rest_listed(tmp_path: Path) -> None:
    ran = sidecar("schema", "import", SUITE, "-o", tmp_path / "s.yaml", "--outputs", "flag,kind")
    assert (ran.code, ran.err) == (0, "")
    assert "18 expectations became 17 rules" in ran.out
    assert "left out  expect_column_mean_to_be_between(income): is about a whole batch" in ran.out
    table = SUITE.with_name("table.csv")
    checked = json.loads(check(tmp_path, table, "--json").out)
    counts = {each["rule"]: each["broken"] for each in checked["rules"]}
    assert counts["inputs.age/range"] == 55
    assert counts['if outputs.kind == "joint" then inputs.partner not null'] == 63
    ran = sidecar("schema", "import", SUITE, "-o", tmp_path / "t.yaml", "--json")
    assert len(json.loads(ran.out)["left_out"]) == 6

"""docs/privacy.md says what the code does: its rules parse, its lists are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sidecar.errors import ConfigError
from sidecar.privacy.keys import parse_key, parse_subject
from sidecar.privacy.rules import DEFAULT_HEADERS, Action, Rule, parse_mapping, parse_rule
from sidecar.settings_sources import gather
from sidecar.settings_table import BY_KEY

TEXT = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()
SOURCES = Path(__file__).parents[2] / "sidecar" / "privacy"


def section(name: str) -> str:
    found = TEXT.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    assert found
    return found


def first_cells(table: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", table.replace("\\|", "|"), re.MULTILINE)


@pytest.mark.parametrize("text", first_cells(section("rules")))
def test_every_rule_shown_parses_and_is_its_own_name(text: str) -> None:
    assert parse_rule(text).text == text


@pytest.mark.parametrize("text", first_cells(section("keys")))
def test_every_key_shown_parses(text: str) -> None:
    assert parse_key(text).text == text


def test_the_subject_shown_parses() -> None:
    (shown,) = re.findall(r"one JSONPath or header says \(`([^`]+)`\)", TEXT)
    assert parse_subject(shown).request


def test_the_yaml_shown_is_rules_in_both_forms() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    rules: list[Rule] = [
        parse_rule(item) if isinstance(item, str) else parse_mapping(item)
        for item in yaml.safe_load(block)["redact"]
    ]
    assert [rule.text for rule in rules] == [
        "request.body:$.applicant.name=mask",
        r"regex:\b\d{3}-\d{2}-\d{4}\b=mask",
    ]


def test_the_yaml_shown_is_read_by_the_settings(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    file = tmp_path / "sidecar.yaml"
    file.write_text(block)
    raws, _ = gather({"config": str(file)}, {})
    assert [parse_rule(text).action for text in raws["redact"].texts] == [Action.MASK, Action.MASK]
    for wrong in ("{where: a}", "{where: a, action: b, more: c}", "{where: [a], action: b}", "[a]"):
        file.write_text(f"redact:\n  - {wrong}\n")
        with pytest.raises(ConfigError, match=r":1: redact: must be .*mappings with where and action"):
            gather({"config": str(file)}, {})


@pytest.mark.parametrize(
    "key",
    ["redact", "redact_defaults", "count_redacted", "keys", "hash_keys", "hash_key", "master_key", "subject"]
    + ["subjects_store", "body_limit", "decode_limit"],
)
def test_the_settings_named_exist(key: str) -> None:
    assert f"`{key}`" in TEXT
    assert key in BY_KEY


def test_the_default_headers_are_listed() -> None:
    assert tuple(re.findall(r"`([a-z0-9*-]+)`", section("defaults"))) == DEFAULT_HEADERS


def test_every_reason_for_a_dropped_body_is_listed() -> None:
    said = set()
    for name in ("bodies.py", "json_values.py", "redact.py"):
        source = (SOURCES / name).read_text()
        said |= set(
            re.findall(r'Unreadable\("([^"]+)"\)|reason = "([^"]+)"|, "(it is no HTTP message)"\)', source)
        )
    reasons = {text for group in said for text in group if text}
    assert len(reasons) >= 11
    assert not [reason for reason in reasons if reason not in TEXT]

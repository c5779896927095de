"""Settings left in a journal's folder, and read by whoever ships it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.config import Settings, load
from sidecar.errors import JournalError
from sidecar.left_settings import key_ids, leave, read_left
from tests.support.running import ROOT

RULES = ["header:x-user=hash", "body:$.name=drop"]


def settings(folder: Path, **flags: Any) -> Settings:
    (folder / "journal").mkdir(exist_ok=True)
    given = {
        "upstream": "http://127.0.0.1:9",
        "listen": "127.0.0.1:0",
        "store": str(folder / "records"),
        "journal": str(folder / "journal"),
        "redact": RULES,
    }
    return load({**given, **flags}, {})


def secret(path: Path, text: str = "0f" * 32) -> str:
    path.write_text(text)
    path.chmod(0o400)
    return str(path)


def changed(journal: Path, change: dict[str, Any]) -> None:
    path = journal / "settings" / "settings.json"
    told = json.loads(path.read_text())
    told["settings"] |= change
    path.write_text(json.dumps(told))


def test_what_was_left_is_read_as_it_was_wherever_the_folder_lies_now(tmp_path: Path) -> None:
    watch, baseline = tmp_path / "w.yaml", tmp_path / "b.json"
    watch.write_text("schema: s.yaml\n")
    baseline.write_text("{}")
    (tmp_path / "s.yaml").write_text("rules: []\n")
    made = settings(
        tmp_path,
        hash_key=secret(tmp_path / "hash"),
        watch_file=str(watch),
        baseline_file=str(baseline),
    )
    leave(made)
    moved = (tmp_path / "journal").rename(tmp_path / "elsewhere")
    for gone in (watch, baseline, tmp_path / "s.yaml"):
        gone.unlink()
    left = read_left(moved)
    assert left.settings == msgspec.structs.replace(
        made,
        journal=str(moved),
        watch_file=str(moved / "settings" / "watch_file.yaml"),
        baseline_file=str(moved / "settings" / "baseline_file.json"),
        schema_file=str(moved / "settings" / "schema_file.yaml"),
    )
    assert (moved / "settings" / "watch_file.yaml").read_text() == "schema: s.yaml\n"
    assert left.key_ids == key_ids(made)


def test_no_key_and_no_part_of_one_is_left(tmp_path: Path) -> None:
    key = "0123456789abcdef" * 4
    leave(settings(tmp_path, hash_key=secret(tmp_path / "hash", key)))
    text = (tmp_path / "journal" / "settings" / "settings.json").read_text()
    assert key not in text
    assert bytes.fromhex(key).hex()[:16] not in text


def test_keys_are_told_apart(tmp_path: Path) -> None:
    one = key_ids(settings(tmp_path, hash_key=secret(tmp_path / "a")))
    other = key_ids(settings(tmp_path, hash_key=secret(tmp_path / "b", "1f" * 32)))
    assert one["hash_key"] != other["hash_key"]
    assert one["master_key"] is None


def test_the_last_boots_settings_stand(tmp_path: Path) -> None:
    leave(settings(tmp_path))
    leave(settings(tmp_path, redact=["header:x-user=drop"]))
    assert read_left(tmp_path / "journal").settings.redact == ("header:x-user=drop",)


def test_a_journal_without_settings_has_unknown_rules(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="redaction rules are unknown"):
        read_left(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"v":1,"settings":3,"files":{},"keys":{}}', "\xff"]
)
def test_damaged_settings_are_one_clear_line(tmp_path: Path, text: str) -> None:
    leave(settings(tmp_path))
    (tmp_path / "journal" / "settings" / "settings.json").write_text(text, encoding="latin-1")
    with pytest.raises(JournalError, match="redaction rules are unknown"):
        read_left(tmp_path / "journal")


def test_a_setting_that_this_build_does_not_know_may_be_a_rule(tmp_path: Path) -> None:
    leave(settings(tmp_path))
    changed(tmp_path / "journal", {"forget": ["everything"]})
    with pytest.raises(JournalError, match="settings forget: made by another sidecar"):
        read_left(tmp_path / "journal")


def test_an_older_sidecars_settings_have_todays_defaults(tmp_path: Path) -> None:
    made = settings(tmp_path)
    leave(made)
    path = tmp_path / "journal" / "settings" / "settings.json"
    told = json.loads(path.read_text())
    del told["settings"]["count_redacted"]
    path.write_text(json.dumps(told))
    assert read_left(tmp_path / "journal").settings.count_redacted == made.count_redacted


def test_a_path_that_leads_out_of_the_folder_does_not(tmp_path: Path) -> None:
    leave(settings(tmp_path))
    path = tmp_path / "journal" / "settings" / "settings.json"
    told = json.loads(path.read_text())
    told["files"] = {"watch_file": "../../../../etc/passwd"}
    path.write_text(json.dumps(told))
    assert read_left(tmp_path / "journal").settings.watch_file == str(path.with_name("passwd"))


def test_a_folder_that_takes_nothing_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = settings(tmp_path)
    (tmp_path / "journal" / "settings").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        leave(made)
    assert "only this sidecar can ship the journal" in caplog.text


def test_who_leaves_settings_without_a_watch_file_loads_no_numerics(tmp_path: Path) -> None:
    """The supervisor of every pod does it; 13 MiB of anonymous memory hang on it."""
    schema = tmp_path / "schema.yaml"
    schema.write_text("version: 1\nfields: {}\n")
    (tmp_path / "journal").mkdir()
    given = {
        "upstream": "http://127.0.0.1:9",
        "listen": "127.0.0.1:0",
        "store": str(tmp_path / "records"),
        "journal": str(tmp_path / "journal"),
        "schema_file": str(schema),
    }
    script = f"""
import sys
from sidecar.config import load
from sidecar.left_settings import leave
leave(load({given!r}, {{}}))
print(sorted({{"numpy", "aiohttp"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    left = read_left(tmp_path / "journal").settings.schema_file
    assert left is not None
    assert Path(left).read_text() == schema.read_text()

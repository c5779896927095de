"""On the base install, where neither DuckDB nor fsspec is, find and show do what they can and say what they cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stored_sample import LOG, sample

BARE = """
import sys
sys.modules['duckdb'] = sys.modules['fsspec'] = None
from sidecar.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    sample(root)
    return root


def bare(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_find_and_show_work(store: Path) -> None:
    found = bare("find", "--store", store, "--status", "500", "--limit", "0", "--json")
    assert (found.returncode, found.stderr) == (0, "")
    assert len(found.stdout.splitlines()) == 25
    shown = bare("show", f"{LOG}.150", "--store", store, "--json")
    assert json.loads(shown.stdout)["request"]["decoded"] == {"n": [150]}


def test_keys_and_decisions_are_found(store: Path) -> None:
    assert (
        len(
            bare("find", "--store", store, "--decision", "true", "--limit", "9", "--json").stdout.splitlines()
        )
        == 9
    )
    assert bare("find", "--store", store, "--key", "a=b").stderr == "no records found\n"


def test_sql_says_what_to_install(store: Path) -> None:
    ran = bare("find", "--store", store, "--where", "status = 500")
    assert ran.returncode == 2
    assert ran.stderr == "sidecar: --where needs DuckDB 1.4 or 1.5: pip install 'sidecar-recorder[audit]'\n"

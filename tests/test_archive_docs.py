"""docs/archive.md says what the commands do: every option is there, every example runs, every column is true."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest

from sidecar.archive.commands import KINDS
from sidecar.archive.footer import READERS, TAIL_BYTES
from sidecar.archive.inference_table import COLUMNS
from sidecar.audit.replay import LEFT_OUT
from sidecar.audit.replay_compare import MOST_DIFFERENCES
from sidecar.cli import cli
from sidecar.ledger.note import SigningKey
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, START_US, LogMaker

TEXT = (Path(__file__).parent.parent / "docs" / "archive.md").read_text()
COMMANDS = ("find", "show", "compact", "replay")


def section(name: str) -> str:
    return TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def examples() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described_and_every_described_one_exists(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {option for each in command.params for option in each.opts if option.startswith("--")}
    described = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", section(name)))
    assert options - {"--store"} <= described
    assert described <= options


class Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"deny": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def model() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("line", examples())
def test_every_example_runs(line: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogMaker(tmp_path / "records", SigningKey("k", bytes(32)), t_us=START_US - DAY_US)
    log.exchanges(20)
    record_id = str(log.exchange()["record_id"])
    log.close()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.replace("RECORD_ID", record_id).replace("http://127.0.0.1:8080", model))
    assert words[0] == "sidecar"
    ran = sidecar(*words[1:])
    assert (ran.code, ran.err.startswith("sidecar:")) == (0, False), ran.err


def test_kinds_and_numbers_are_those_of_the_code() -> None:
    assert all(f"`{kind}`" in section("find") for kind in KINDS)
    assert f"the last {TAIL_BYTES >> 10} KiB are read ({READERS} at once" in section("find")
    assert f"at most {MOST_DIFFERENCES}" in section("replay")


def test_the_columns_of_the_view_are_the_described_ones() -> None:
    table = section("compact").partition("As a Databricks inference table")[2]
    names = [
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert names == list(COLUMNS)


def test_headers_that_are_left_out_are_named() -> None:
    named = {each.lower() for each in re.findall(r"`([A-Za-z0-9-]+)`", section("replay"))}
    assert named >= LEFT_OUT


def test_the_list_of_spans_is_one_that_find_reads(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)))
    log.exchanges(3)
    log.close()
    assert json.loads(example)["spans"][0]["from_us"] == START_US
    folder = tmp_path / "statistics"
    folder.mkdir()
    assert sidecar("find", "--store", tmp_path, "--drifted").code == 2
    (folder / "mortgage.spans.json").write_text(example)
    ran = sidecar("find", "--store", tmp_path, "--drifted", "--json")
    assert (ran.code, len(ran.out.splitlines())) == (0, 3), ran.err

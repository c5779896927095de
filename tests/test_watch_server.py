"""`sidecar watch --listen` as the process that a Deployment runs: probes, scrapes and its end."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.objects import open_store
from tests.support.fleet import Pod, baseline, traffic
from tests.support.receiver import Receiver
from tests.support.running import ROOT, SIDECAR, fetch, until


@contextmanager
def watching(
    folder: Path, store: Path, *arguments: str
) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """The running process, its port, and its log."""
    path = folder / "watch.log"
    command = [*SIDECAR, "watch", "--store", str(store), "--listen", "127.0.0.1:0", "--log-format", "json"]
    with path.open("wb") as log:
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=log, stderr=log)
    try:
        found = until(
            lambda: re.search(r"listening on \('127\.0\.0\.1', (\d+)\)", path.read_text()), "the address"
        )
        yield process, int(found[1]), path
    finally:
        process.kill()
        process.wait()


def shifted(root: Path) -> None:
    traffic([Pod("a", baseline(), open_store(str(root)))], 30, lambda minute: 1.0 if minute >= 10 else 0.0)


def test_it_answers_while_it_looks_and_ends_on_sigterm(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    shifted(root)
    with Receiver() as receiver:
        alerts = ("--alert-url", f"webhook+{receiver.url}")
        with watching(tmp_path, root, "--since", "2026-09-01", "--interval", "1s", *alerts) as (
            process,
            port,
            log,
        ):
            until(lambda: fetch(port, "/readyz") == (200, b"ok\n"), "a look")
            assert fetch(port, "/healthz") == (200, b"ok\n")
            until(lambda: receiver.received, "an alert")
            status, body = fetch(port, "/metrics")
            assert (status, b"sidecar_watch_up 1.0\n" in body) == (200, True)
            assert re.search(rb'sidecar_watch_alarm\{.*quantity="inputs.income".*\} 1.0\n', body)
            assert fetch(port, "/elsewhere")[0] == 404
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert fetch(port, "/healthz") == (0, b"")
            assert "Traceback" not in log.read_text()
    assert len(receiver.received) == 1


def test_a_store_that_is_gone_for_a_while_is_told_and_looked_for_again(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    with watching(tmp_path, root, "--interval", "200ms") as (process, port, log):
        until(lambda: fetch(port, "/readyz") == (200, b"ok\n"), "a look")
        root.rename(tmp_path / "elsewhere")
        until(lambda: b"sidecar_watch_up 0.0\n" in fetch(port, "/metrics")[1], "that it is gone")
        assert fetch(port, "/healthz")[0] == 200
        assert str(root).encode() in fetch(port, "/readyz")[1]
        (tmp_path / "elsewhere").rename(root)
        until(lambda: b"sidecar_watch_up 1.0\n" in fetch(port, "/metrics")[1], "the store")
        assert "can be looked through again" in log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_store_that_was_never_there_is_one_line(tmp_path: Path) -> None:
    command = [*SIDECAR, "watch", "--store", str(tmp_path / "none"), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no such directory" in done.stderr


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    with watching(tmp_path, root) as (_, port, _log):
        command = [*SIDECAR, "watch", "--store", str(root), "--listen", f"127.0.0.1:{port}"]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert str(port) in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_look_can_be_ended(tmp_path: Path, number: signal.Signals) -> None:
    """A receiver that takes nothing: the look is over, and what waits need not be waited for."""
    root = tmp_path / "store"
    root.mkdir()
    shifted(root)
    url = "webhook+http://127.0.0.1:9/x"
    with watching(tmp_path, root, "--once", "--since", "2026-09-01", "--alert-url", url) as (
        process,
        _,
        log,
    ):
        until(lambda: "tried again" in log.read_text(), "a failed alert")
        process.send_signal(number)
        assert process.wait(10) != 0

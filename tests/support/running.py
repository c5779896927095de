"""The real `sidecar run` with its real children, a model server behind it, and an end for all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sidecar
from sidecar.counters import Counters, Global

SIDECAR = [sys.executable, "-m", "sidecar.cli"]
MODEL_SERVER = Path(__file__).with_name("model_server.py")
ROOT = Path(sidecar.__file__).resolve().parents[1]
PATIENCE_S = 60.0

T = TypeVar("T")


def until(
    condition: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S, every_s: float = 0.02
) -> T:
    """The first true value; fails the test when none comes."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s:g} s for {what}")
        time.sleep(every_s)


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET; (0, b"") when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def alive(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


class ModelServer:
    """A model server that can be killed and started again on its port."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(MODEL_SERVER), str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


@contextmanager
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    try:
        yield server
    finally:
        server.kill()


class Sidecar:
    """One journal and store in a folder; may be started many times, one boot after the other."""

    def __init__(
        self,
        folder: Path,
        upstream_port: int,
        arguments: Sequence[str] = (),
        *,
        environment: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        """`settings` are keys as in YAML."""
        self.folder = folder
        self.journal = Path(settings.pop("journal", str(folder / "journal")))
        store = settings.pop("store", str(folder / "records"))
        self.store = Path(store)
        """Of no use when the store is a bucket."""
        self.boot = ""
        self.ports: dict[str, int] = {}
        """By route; also `health` and `admin`. Kept over later starts."""
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "listen": "127.0.0.1:0",
            "upstream": f"http://127.0.0.1:{upstream_port}",
            "health": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "journal": str(self.journal),
            "store": store,
            "batch_age": "300ms",
            "ship_timeout": "40s",
            "log_format": "json",
            **settings,
        }
        self._arguments = list(arguments)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
        self._environment = {**inherited, "PYTHONPATH": str(ROOT), **(environment or {})}
        self._log = folder / "sidecar.log"
        self._log_from = 0

    @property
    def port(self) -> int:
        return self.ports["default"]

    def command(self) -> list[str]:
        flags = [
            text
            for key, value in self._settings.items()
            if value
            for text in (f"--{key.replace('_', '-')}", value)
        ]
        return [*SIDECAR, "run", *flags, *self._arguments]

    def refuses(self) -> tuple[int, list[str]]:
        """Exit code and lines on stderr of a start that must not succeed."""
        done = subprocess.run(
            self.command(), env=self._environment, cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stderr.splitlines()

    def start(self) -> Sidecar:
        """Returns once it splices and the analyst answers; the process group is its own."""
        self.launch()
        until(lambda: self._serves("health", "/readyz"), "the recorder to be ready")
        until(lambda: self._serves("admin", "/healthz"), "the analyst to answer")
        return self

    def _serves(self, name: str, path: str) -> bool:
        deaths = [entry for entry in self.log() if " exited with " in str(entry.get("message"))]
        if len(deaths) > 3:
            raise AssertionError(f"a child cannot live:\n{self.log_text()[-3000:]}")
        return fetch(self.ports[name], path)[0] == 200

    def launch(self) -> None:
        """Start, and wait only until the sockets are bound."""
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        announced = until(self._announced, "the sidecar's sockets")
        assert announced is not None
        self.boot = announced["boot"]
        for name in ("health", "admin"):
            self._keep_port(name, announced[name])
        for entry in self.log():
            if entry.get("message") == "listening":
                self._keep_port(entry["route"], entry["listen"])

    def _announced(self) -> dict[str, Any] | None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"sidecar ended with {self.process.returncode}:\n{self.log_text()}")
        lines = [e for e in self.log() if e.get("message") == "recording" and e["process"] == "supervisor"]
        return lines[0] if lines else None

    def _keep_port(self, name: str, address: str) -> None:
        self.ports[name] = int(address.rpartition(":")[2])
        key = name if name in self._settings else "listen"
        if self._settings.get(key):
            self._settings[key] = f"127.0.0.1:{self.ports[name]}"

    # --- what it says of itself ---

    def log_text(self) -> str:
        """What this boot has written."""
        with self._log.open("rb") as file:
            file.seek(self._log_from)
            return file.read().decode(errors="replace")

    def log(self) -> list[dict[str, Any]]:
        entries = []
        for line in self.log_text().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    entries.append(entry)
        return entries

    def says(self, text: str) -> bool:
        return any(text in str(entry.get("message")) for entry in self.log())

    def tracebacks(self) -> list[str]:
        """Lines of this boot that no handled condition may write."""
        return [line for line in self.log_text().splitlines() if "Traceback" in line]

    def status(self) -> dict[str, Any]:
        """From the analyst, waiting while it is being started again."""
        body = until(lambda: fetch(self.ports["admin"], "/api/v1/status")[1], "the status")
        status: dict[str, Any] = json.loads(body)
        return status

    def counters(self) -> Counters:
        """The live boot's; the caller closes it."""
        return Counters.open(self.journal / f"counters-{self.boot}.bin")

    def pid(self, which: Global) -> int:
        """Of RECORDER_PID or ANALYST_PID; 0 while it is down."""
        counters = self.counters()
        try:
            return counters.get(which)
        finally:
            counters.close()

    # --- its ends ---

    def kill(self, which: Global) -> int:
        """SIGKILL a child that is alive; returns its pid, 0 when none was."""
        pid = self.pid(which)
        if pid and alive(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return pid
        return 0

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor alone; returns once its children have noticed."""
        self._end(lambda pid: os.kill(pid, signal.SIGKILL))

    def kill_group(self) -> None:
        """SIGKILL all three at once."""
        self._end(lambda pid: os.killpg(pid, signal.SIGKILL))

    def stop(self, patience_s: float = 90.0) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(patience_s)
        self.process = None
        return code

    def _end(self, strike: Callable[[int], None]) -> None:
        process = self.process
        if process is None:
            return
        children = [self.pid(which) for which in (Global.RECORDER_PID, Global.ANALYST_PID)]
        strike(process.pid)
        process.wait()
        self.process = None
        until(lambda: not any(alive(pid) for pid in children if pid), "the children to notice", 30)

    def end(self) -> None:
        """Whatever state it is in, nothing of it is left."""
        if self.process is not None and self.process.poll() is None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


@contextmanager
def running_sidecar(folder: Path, upstream_port: int, *arguments: str, **settings: Any) -> Iterator[Sidecar]:
    """A started sidecar; what is still running at the end is killed."""
    running = Sidecar(folder, upstream_port, arguments, **settings)
    try:
        yield running.start()
    finally:
        running.end()

"""Child processes that never outlive the demo, and ports that nobody else has."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from docs.demo.trouble import DemoError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """In the child, between fork and exec: the kernel ends it when the demo is killed outright."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One process in a session of its own (Ctrl-C reaches only the demo), its output in a log file.

    With `piped`, its output goes to `process.stdout` instead and only errors to the log. Variables of
    the demo's own environment that begin with `hidden` do not reach it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        piped: bool = False,
        hidden: str = "\0",
    ) -> None:
        self.name = name
        self.log = log
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                env={**inherited, **(environment or {})},
                cwd=folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def last_words(self) -> str:
        """The last line of the log that says something."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1].strip()[:300] if lines else "it said nothing"

    def stop(self, timeout_s: float) -> int:
        """SIGTERM, then SIGKILL for the whole session after `timeout_s`; returns the exit code."""
        if self.alive:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that nothing listens on, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def get(port: int, path: str, timeout_s: float = 2.0) -> bytes:
    """Body of a 200 from a loopback server. Raises OSError for anything else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{path}: status {response.status}")
    return body


def wait_until_ready(child: Child, port: int, path: str, timeout_s: float) -> None:
    """Returns when `path` answers 200. Raises DemoError when the child dies or the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            get(port, path)
            return
        if not child.alive:
            raise DemoError(f"{child.name} did not start: {child.last_words()} (log: {child.log})")
        if time.monotonic() > deadline:
            raise DemoError(
                f"{child.name} is not ready after {timeout_s:.0f} s: {child.last_words()} (log: {child.log})"
            )
        time.sleep(0.1)

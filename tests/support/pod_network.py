"""A client and a pod, each in a network namespace of its own, joined by a veth pair: IPv4 and IPv6."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POD_4, POD_6 = "10.231.7.2", "fd00:231:7::2"
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class PodNetwork:
    """Both namespaces, and what was started in them."""

    def __init__(self, name: str) -> None:
        self.client, self.pod = f"{name}c", f"{name}p"
        self._started: list[subprocess.Popen[bytes]] = []

    def make(self) -> None:
        for namespace in (self.client, self.pod):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        veth = ("link", "add", "eth0", "netns", self.pod, "type", "veth", "peer", "name", "eth0")
        _ip(*veth, "netns", self.client)
        for namespace, last in ((self.client, "1"), (self.pod, "2")):
            _ip("-n", namespace, "addr", "add", f"10.231.7.{last}/24", "dev", "eth0")
            _ip("-n", namespace, "addr", "add", f"fd00:231:7::{last}/64", "dev", "eth0", "nodad")
            _ip("-n", namespace, "link", "set", "eth0", "up")

    def run(self, namespace: str, *command: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            _within(namespace, command, user),
            capture_output=True,
            text=True,
            timeout=30,
            env=_environment(),
            check=False,
        )

    def start(
        self, namespace: str, *command: str, log: Path, user: int | None = None
    ) -> subprocess.Popen[bytes]:
        """A command that goes on until `end`."""
        with log.open("ab") as file:
            child = subprocess.Popen(
                _within(namespace, command, user), stdout=file, stderr=file, env=_environment()
            )
        self._started.append(child)
        return child

    def get(self, url: str, namespace: str | None = None, user: int | None = None) -> str:
        """The body of a GET from the client, or `failed`."""
        command = ("curl", "-gsSf", "--noproxy", "*", "-m", "5", url)
        done = self.run(namespace or self.client, *command, user=user)
        return done.stdout if done.returncode == 0 else "failed"

    def end(self) -> None:
        for child in reversed(self._started):
            child.kill()
            child.wait()
        for namespace in (self.client, self.pod):
            subprocess.run(["ip", "netns", "del", namespace], env=_environment(), check=False)


@contextmanager
def pod_network(name: str) -> Iterator[PodNetwork]:
    """Skips the test, with the reason, where namespaces or nftables cannot be had."""
    missing = [tool for tool in ("ip", "nft", "curl", "setpriv") if not shutil.which(tool, path=_PATH)]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}: apt-get install iproute2 nftables curl util-linux")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    # Tests of several processes must not meet.
    network = PodNetwork(f"{name}{os.getpid()}")
    try:
        try:
            network.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
        yield network
    finally:
        network.end()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, env=_environment())


def _within(namespace: str, command: Sequence[str], user: int | None) -> list[str]:
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    return ["ip", "netns", "exec", namespace, *as_user, *command]


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _PATH, "PYTHONPATH": str(ROOT)}

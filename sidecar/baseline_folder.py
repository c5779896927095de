"""Glue: baselines in a folder, one for each model digest, named by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.shipping.knowledge import MonitorKey
from sidecar.statistics.baseline import Baseline

SUFFIX = ".json"
MOST_FILES = 200


class BaselineFolder:
    """The baselines of one folder, a mounted ConfigMap for example."""

    def __init__(self, path: Path, read: Callable[[Path], Baseline]) -> None:
        """`read` raises ConfigError for a file that is no baseline, or not one for what is watched."""
        self.path = path
        self._read = read

    def check(self) -> None:
        """Reads every file. Raises ConfigError, naming it, for the first that cannot be used."""
        try:
            there = [each for each in self.path.glob(f"*{SUFFIX}") if each.is_file()]
        except OSError as error:
            raise ConfigError(
                f"baseline_file: {self.path}: {error.strerror}: give a folder that can be read"
            ) from error
        # A ConfigMap's own folders begin with two dots.
        files = [each for each in there if not each.name.startswith(".")]
        if len(files) > MOST_FILES:
            raise ConfigError(
                f"baseline_file: {self.path}: {len(files)} baselines; at most {MOST_FILES}: remove old ones"
            )
        for file in sorted(files):
            self._read(file)

    def names(self, key: MonitorKey) -> list[str]:
        """The files that would hold it, the best first: the digest's, then the route's."""
        route, digest = key
        return [each.replace(":", "-") + SUFFIX for each in (digest, route) if each]

    def find(self, key: MonitorKey) -> Baseline | None:
        """The baseline of a route's digest; None if there is no file. Raises ConfigError as `read`."""
        for name in self.names(key):
            file = self.path / name
            if file.is_file():
                return self._read(file)
        return None

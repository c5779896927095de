"""What a cluster has told of the model's container so far: told in one thread, read in another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from sidecar.identity.kubernetes import merged, parse_digest_text
from sidecar.records import Container

log = logging.getLogger("sidecar.identity")


def _no_look() -> None:
    """News comes by itself."""


class Facts:
    """The container's runs, oldest first; news may come late, twice, in any order, or not at all."""

    def __init__(self, container: str | None = None) -> None:
        """`container`: the model's name; annotations about another one are not believed."""
        self.containers: tuple[Container, ...] = ()
        """Replaced whole."""
        self.version = 0
        """Goes up when `containers` changes."""
        self.news = 0
        """How often something was told."""
        self.unreadable = 0
        """Annotations that could not be read."""
        self.reachable = True
        """Whether what tells them could be reached at the last try."""
        self.look: Callable[[], None] = _no_look
        """Looks for news at once, where that can be done without waiting."""
        self._container = container
        self._lock = threading.Lock()

    def tell(self, containers: Iterable[Container]) -> None:
        """Take in what is known now, all of it or a part."""
        with self._lock:
            self.news += 1
            after = merged(self.containers, containers)
            if after != self.containers:
                self.containers = after
                self.version += 1

    def tell_text(self, text: str) -> None:
        """Take in the annotation; one that cannot be read is counted and changes nothing."""
        try:
            name, containers = parse_digest_text(text)
            if self._container is not None and name != self._container:
                raise ValueError(f"is about container {name[:64]!r}, not {self._container}")
        except ValueError as error:
            self.unreadable += 1
            log.warning("annotation sidecar.dev/digest %s: it is passed over", error)
            return
        self.tell(containers)

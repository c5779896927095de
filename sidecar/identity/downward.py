"""The pod's annotations as kubelet brings them into a file of a downwardAPI volume.

A line each, `KEY="VALUE"`, quoted as Go does it. Kubelet swaps the volume's
files for new ones, all at once, within about a minute of a change.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 1.0
MOST_BYTES = 1 << 20
"""Of the file; the API takes 256 KiB of annotations."""

log = logging.getLogger("sidecar.identity")

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

Annotations = Mapping[str, str]


def parse_annotations(text: str) -> dict[str, str]:
    """Annotations by key. What is no line of the format, such as the half of one, is left out."""
    found = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key and len(value) >= 2 and value[0] == value[-1] == '"':
            found[key] = _ESCAPE.sub(_unescaped, value[1:-1])
    return found


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if escape[0] in "xuU" and len(escape) > 1:
        number = int(escape[1:], 16)
        return chr(number) if number < 0x110000 else "\ufffd"
    if len(escape) == 3:
        return chr(int(escape, 8))
    return _SIMPLE.get(escape, escape)


class AnnotationsFile:
    """Follows the file; `changed` gets its annotations at the first look and whenever they are others."""

    def __init__(
        self,
        setting: str,
        path: Path,
        changed: Callable[[Annotations], None],
        without: str,
        readable: Callable[[bool], None] = lambda is_so: None,
    ) -> None:
        """A warning names the setting that names the file, and what there is `without` the file.

        `readable` is told at each look.
        """
        self._setting, self._path, self._changed, self._without = setting, path, changed, without
        self._last: bytes | None = None
        self._told = readable
        self._readable = True

    def look(self) -> None:
        """Tell of a change since the last look; a file that cannot be read changes nothing."""
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES)
        except OSError as error:
            if self._readable:
                log.warning("%s: %s: %s: %s", self._setting, self._path, error.strerror, self._without)
            self._readable = False
            self._told(False)
            return
        self._readable = True
        self._told(True)
        if data != self._last:
            self._last = data
            self._changed(parse_annotations(data.decode(errors="replace")))

    @contextmanager
    def followed(self, every_s: float = EVERY_S) -> Iterator[None]:
        """Looks once, and then again and again in a thread of its own until the context ends."""
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(every_s):
                self.look()

        self.look()
        # Reading a file can block, which no event loop here may.
        thread = threading.Thread(target=follow, name="annotations", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(every_s)

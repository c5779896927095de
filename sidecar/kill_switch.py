"""The kill switch: an annotation of the running pod switches recording off and on.

Kubelet brings the pod's annotations into a file of a downwardAPI volume, a line
each as KEY="VALUE" with line ends escaped, within about a minute of a change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.counters import Mode
from sidecar.inject.names import PREFIX

log = logging.getLogger("sidecar.kill_switch")

ANNOTATION = PREFIX + "splice-only"
EVERY_S = 1.0
MOST_BYTES = 1 << 20
"""Of the file; the API takes 256 KiB of annotations."""


def asked_for(annotations: str) -> Mode:
    """The mode that the file's text asks for."""
    return Mode.SPLICE_ONLY if f'{ANNOTATION}="true"' in annotations.split("\n") else Mode.RECORD


class KillSwitch:
    """Follows the file. Only a change of the annotation switches: what `sidecar ctl` did in between stays."""

    def __init__(self, path: Path, switch: Callable[[Mode], None]) -> None:
        self._path, self._switch = path, switch
        self._mode = Mode.RECORD
        self._readable = True

    def look(self) -> None:
        """Switch if the annotation changed since the last look; an unreadable file changes nothing."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_BYTES).decode(errors="replace")
        except OSError as error:
            if self._readable:
                log.warning("annotations_file: %s: %s: its kill switch is off", self._path, error.strerror)
            self._readable = False
            return
        self._readable = True
        mode = asked_for(text)
        if mode is not self._mode:
            self._mode = mode
            self._switch(mode)
            log.warning(
                "annotation %s switched recording %s", ANNOTATION, "on" if mode is Mode.RECORD else "off"
            )

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Looks once, and then every second in a thread of its own until the context ends."""
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(EVERY_S):
                self.look()

        self.look()
        # Reading a file can block, which the supervisor's own loop must not.
        thread = threading.Thread(target=follow, name="kill-switch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(EVERY_S)

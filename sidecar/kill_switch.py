"""The kill switch: an annotation of the running pod switches recording off and on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sidecar.counters import Mode
from sidecar.identity.downward import EVERY_S, Annotations, AnnotationsFile
from sidecar.inject.names import PREFIX

log = logging.getLogger("sidecar.kill_switch")

ANNOTATION = PREFIX + "splice-only"


def asked_for(annotations: Annotations) -> Mode:
    """The mode that the pod's annotations ask for."""
    return Mode.SPLICE_ONLY if annotations.get(ANNOTATION) == "true" else Mode.RECORD


class KillSwitch:
    """Follows the file. Only a change of the annotation switches: what `sidecar ctl` did in between stays."""

    def __init__(self, path: Path, switch: Callable[[Mode], None]) -> None:
        self._switch = switch
        self._mode = Mode.RECORD
        self._file = AnnotationsFile("annotations_file", path, self._changed, "its kill switch is off")

    def look(self) -> None:
        """Switch if the annotation changed since the last look; an unreadable file changes nothing."""
        self._file.look()

    def followed(self) -> AbstractContextManager[None]:
        """Looks once, and then every second in a thread of its own until the context ends."""
        return self._file.followed(EVERY_S)

    def _changed(self, annotations: Annotations) -> None:
        mode = asked_for(annotations)
        if mode is not self._mode:
            self._mode = mode
            self._switch(mode)
            log.warning(
                "annotation %s switched recording %s", ANNOTATION, "on" if mode is Mode.RECORD else "off"
            )

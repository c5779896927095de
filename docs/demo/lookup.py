"""`sidecar find`, `show` and `verify` on this run's store, as the user will type them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from docs.demo.scene import DENIED
from docs.demo.serving import SIDECAR

TRIES = 8
"""Records looked at in search of a denial."""
LIMIT_S = 60.0


class Example:
    """One real record to look at: the newest denial among the last few, else the newest one."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._thread: threading.Thread | None = None
        self.record_id = ""
        """Empty until something is in the store."""
        self.denied = False
        self.shown = False
        """Whether `show` printed the record whole."""

    def search_aside(self) -> None:
        """Begins a search unless one is running; returns at once."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self.search, daemon=True)
            self._thread.start()

    def search(self) -> None:
        """Leaves what it found in the attributes; finding nothing leaves them as they are."""
        for found in _json_lines(["find", "--store", str(self._store), "--limit", str(TRIES), "--json"]):
            record_id = str(found["record_id"])
            shown = _json_lines(["show", record_id, "--store", str(self._store), "--json"])
            if not shown:
                continue
            denied = DENIED in json.dumps(shown[0].get("response", {}).get("decoded"))
            if denied or not self.record_id:
                self.record_id, self.denied, self.shown = record_id, denied, True
            if denied:
                return


def count_records(store: Path) -> int:
    """How many different exchanges `find` lists in the whole store."""
    found = _json_lines(["find", "--store", str(store), "--limit", "0", "--json"])
    return len({row["record_id"] for row in found})


def verifies(store: Path) -> bool:
    """Whether `verify` says that the whole store is intact."""
    said = _json_lines(["verify", "--store", str(store), "--json"])
    return bool(said) and said[0].get("intact") is True


def _json_lines(arguments: list[str]) -> list[dict[str, Any]]:
    """What the command printed; nothing when it failed. `show` prints one object over several lines."""
    hidden = {key: value for key, value in os.environ.items() if not key.startswith("SIDECAR_")}
    try:
        done = subprocess.run(
            [str(SIDECAR), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            env=hidden,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode != 0:
        return []
    text = done.stdout.decode(errors="replace")
    try:
        return (
            [json.loads(text)] if arguments[0] == "show" else [json.loads(row) for row in text.splitlines()]
        )
    except ValueError:
        return []

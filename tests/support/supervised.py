"""Runs `sidecar.run.run` with fake children: `python supervised.py SETTINGS RECORDER ANALYST`.

SETTINGS is JSON of flags; the other two are behaviours of fake_child.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sidecar import logs
from sidecar.config import load
from sidecar.errors import SidecarError
from sidecar.run import run

FAKE = Path(__file__).with_name("fake_child.py")


def main(flags: dict[str, str], recorder: str, analyst: str) -> int:
    settings = load(flags, {})
    logs.configure("json", "info", "supervisor")
    folder = str(Path(settings.journal).parent)

    def command(role: str, behaviour: str) -> list[str]:
        return [sys.executable, str(FAKE), role, behaviour, folder]

    return run(settings, dict(os.environ), command("recorder", recorder), command("analyst", analyst))


if __name__ == "__main__":
    try:
        sys.exit(main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except SidecarError as error:
        print(f"sidecar: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

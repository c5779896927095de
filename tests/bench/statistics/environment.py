"""An environment of the peers' own: `python -m tests.bench.statistics.environment` makes it, once.

Peers are installed one by one, so that one that does not install costs only
itself; what is missing and why stands in `missing.json` beside the environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".tools" / "bench-statistics"
MISSING = FOLDER / "missing.json"
PYTHON = FOLDER / "bin" / "python"
PEERS = {
    "scipy": "scipy>=1.15",
    "river": "river>=0.22",
    "fairlearn": "fairlearn>=0.12",
    "evidently": "evidently>=0.7",
    "nannyml": "nannyml>=0.13",
    "whylogs": "whylogs>=1.6",
}
BESIDE = ("numpy>=2.1,<3", "pandas<3")
"""What all of them get: the product's numpy, and a pandas that all of them know."""
QUIET = {
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "WHYLOGS_NO_ANALYTICS": "True",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""No peer tells its maker of the run, and no library starts threads beside the bench's two processes."""


def make() -> dict[str, str]:
    """Installs what is not there yet; the peers that are missing, each with the reason."""
    if not PYTHON.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        venv.create(FOLDER, with_pip=True)
    if MISSING.exists():
        return dict(json.loads(MISSING.read_text()))
    _pip("--upgrade", "pip>=25.1")
    failed = _pip("--editable", str(ROOT), *BESIDE)
    if failed:
        sys.exit(f"the product could not be installed into {FOLDER}: {failed}")
    missing = {}
    for name, requirement in PEERS.items():
        print(f"installing {name} into {FOLDER.relative_to(ROOT)}", flush=True)
        failed = _pip(requirement, *BESIDE) or _imports(name)
        if failed:
            missing[name] = failed
    MISSING.write_text(json.dumps(missing, indent=1))
    return missing


def _pip(*arguments: str) -> str | None:
    """None, or the last line of what went wrong."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    return _run(command)


def _imports(name: str) -> str | None:
    return _run([str(PYTHON), "-c", f"import {name}"])


def _run(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **QUIET})
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1][:200] if lines else f"exit {done.returncode}"


if __name__ == "__main__":
    for peer, reason in make().items():
        print(f"missing: {peer}: {reason}")

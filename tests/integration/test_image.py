"""The container image: built, run read-only without rights, and stopped.

Needs root, podman and a local base image with Python (nothing is pulled):

    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie base
    tar -C base -c . | podman import - localhost/python-base
    SIDECAR_TEST_BASE=localhost/python-base pytest tests/integration/test_image.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import SIDECAR

pytestmark = [pytest.mark.faults, pytest.mark.root]

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/sidecar-test-image"
DIGEST = "sha256:" + "ab" * 32
CAP_SYS_RESOURCE = 24
WITHOUT_LIMITS = """#!/bin/sh
# runc in a sandbox that may not set resource limits: leave them out of what podman asks for.
for word in "$@"; do
    case $last in
        --bundle|-b) python3 - "$word/config.json" process <<'END'
import json, sys
path, key = sys.argv[1:]
config = json.load(open(path))
config[key].pop("rlimits", None)
json.dump(config, open(path, "w"))
END
        ;;
        --process|-p) python3 - "$word" <<'END'
import json, sys
config = json.load(open(sys.argv[1]))
config.pop("rlimits", None)
json.dump(config, open(sys.argv[1], "w"))
END
        ;;
    esac
    last=$word
done
exec runc "$@"
"""
PROBE = """
import sys, urllib.request
for _ in range(5):
    with urllib.request.urlopen("http://127.0.0.1:8080/index.html") as answer:
        assert answer.read() == b'{"denied": false}', answer
print(urllib.request.urlopen("http://127.0.0.1:9900/readyz").read().decode())
"""


class Podman:
    """Runs podman and remembers what to remove."""

    def __init__(self, folder: Path) -> None:
        self.made: list[str] = []
        self._command = ["podman"]
        effective = int(_status("CapEff"), 16)
        if not effective >> CAP_SYS_RESOURCE & 1:
            runtime = folder / "runc-without-limits"
            runtime.write_text(WITHOUT_LIMITS)
            runtime.chmod(0o755)
            self._command += ["--runtime", str(runtime)]

    def __call__(self, *arguments: str, stdin: str = "", check: bool = True, timeout_s: float = 600) -> str:
        done = subprocess.run(
            [*self._command, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout_s
        )
        assert not check or done.returncode == 0, f"podman {arguments[0]}: {done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if arguments[0] == "logs" else "")

    def start(self, name: str, *arguments: str) -> None:
        self.made.append(name)
        self("run", "--detach", "--name", name, "--read-only", "--cap-drop", "ALL", *arguments)


def _status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(field + ":"))


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("building the image needs root and podman")
    if not os.environ.get("SIDECAR_TEST_BASE"):
        pytest.skip("SIDECAR_TEST_BASE names no local image with Python; this file says how to make one")
    made = Podman(tmp_path)
    yield made
    for name in reversed(made.made):
        made("rm", "--force", "--time", "0", name, check=False)


def until_said(podman: Podman, name: str, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in (said := podman("logs", name)):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def build(podman: Podman, folder: Path) -> None:
    arguments = [
        "--network",
        "host",
        "--build-arg",
        f"BASE={os.environ['SIDECAR_TEST_BASE']}",
        "--tag",
        IMAGE,
    ]
    if authorities := os.environ.get("PIP_CERT"):
        config = folder / "pip.conf"
        config.write_text(f"[global]\ncert = {authorities}\n")
        arguments += ["--volume", f"{config}:/etc/pip.conf:ro", "--volume", f"{authorities}:{authorities}:ro"]
    podman("build", *arguments, str(ROOT))


def test_the_image_records_without_rights_on_a_read_only_root(tmp_path: Path, podman: Podman) -> None:
    build(podman, tmp_path)
    www = tmp_path / "www"
    www.mkdir()
    (www / "index.html").write_text('{"denied": false}')
    tmp_path.chmod(0o755)
    upstream, sidecar = f"upstream-{os.getpid()}", f"sidecar-{os.getpid()}"
    serve = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", "/www"]
    base = os.environ["SIDECAR_TEST_BASE"]
    podman.start(upstream, "--network", "none", "--volume", f"{www}:/www:ro", base, *serve)
    settings = ["--listen", "127.0.0.1:8080", "--upstream", "http://127.0.0.1:8000", "--image-digest", DIGEST]
    podman.start(
        sidecar, "--network", f"container:{upstream}", "--security-opt", "no-new-privileges", IMAGE, *settings
    )
    until_said(podman, sidecar, '"process": "recorder", "logger": "sidecar.recorder", "message": "recording"')
    assert podman("exec", "--interactive", upstream, "python3", "-", stdin=PROBE).strip() == "ready"
    assert podman("exec", sidecar, "id", "-u").strip() == "65532"
    tools = podman("exec", sidecar, "sh", "-c", "command -v pip pip3 gcc cc; touch /x; true", check=False)
    assert tools == "", "nothing to build with, and nothing to write to"
    assert podman("exec", sidecar, "sh", "-c", "command -v nft").strip(), "`sidecar intercept` needs it"
    podman("stop", "--time", "40", sidecar)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", sidecar).strip() == "0"
    until_said(podman, sidecar, "everything shipped")
    records = tmp_path / "records"
    podman("cp", f"{sidecar}:/var/lib/sidecar/records", str(records))
    found = subprocess.run(
        [*SIDECAR, "find", "--store", str(records), "--json"],
        capture_output=True,
        text=True,
    )
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [(row["seq"], row["status"], row["image_digest"]) for row in rows] == [
        (seq, 200, DIGEST) for seq in range(5, 0, -1)
    ]

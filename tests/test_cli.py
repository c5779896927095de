"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sidecar.cli import LAZY, cli
from sidecar.settings_table import TABLE


def sidecar(
    *arguments: str, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "sidecar.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, **(environment or {})},
        cwd=cwd,
        check=False,
    )


def test_help_names_every_command_without_importing_what_is_lazy() -> None:
    script = "\n".join(
        [
            "import atexit, sys",
            "from sidecar.cli import main",
            "atexit.register(lambda: print(sorted(sys.modules)))",
            "main(['--help'])",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name in ("run", "ctl", "find", "show"):
        assert f"\n  {name} " in done.stdout
    for heavy in ("sidecar.archive", "numpy", "arro3", "aiohttp", "yaml", "lmdb", "uvloop"):
        assert f"'{heavy}" not in done.stdout


def test_the_supervisor_imports_only_what_is_light() -> None:
    script = "import sys, sidecar.cli, sidecar.run, sidecar.logs; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "numpy",
        "aiohttp",
        "arro3",
        "uvloop",
        "lmdb",
        "orjson",
        "yaml",
        "asyncio",
        "msgpack",
    }


def test_run_has_a_flag_for_every_setting() -> None:
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    flags = {option for parameter in command.params for option in parameter.opts}
    assert flags == {setting.flag for setting in TABLE} | {"--config"}


@pytest.mark.parametrize("name", LAZY)
def test_lazy_commands_are_where_the_table_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "listen: not set"),
        (["run", "--liste", "x"], "No such option '--liste'"),
        (["run", "--listen", "x"], "--listen: 'x' is no address"),
        (["run", "extra"], "unexpected extra argument"),
        (["run", "--config", "/absent.yaml"], "--config: cannot read /absent.yaml"),
        (["dance"], "No such command 'dance'"),
        (["ctl", "splice-only", "maybe"], "'maybe' is not one of"),
        (["ctl", "splice-only"], "Missing argument"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_2(arguments: list[str], words: str) -> None:
    done = sidecar(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("sidecar: ")
    assert words in done.stderr


def test_a_mistake_in_the_environment_is_one_line_and_exit_2() -> None:
    done = sidecar("run", environment={"SIDECAR_LISTN": "127.0.0.1:1"})
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "sidecar: SIDECAR_LISTN: no such setting (did you mean SIDECAR_LISTEN?): unset it or correct it"
    ]


def test_ctl_without_a_running_sidecar_is_one_line_and_exit_1(tmp_path: Path) -> None:
    for arguments in (["status"], ["status", "--json"], ["splice-only", "on"]):
        done = sidecar("ctl", *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            f"sidecar: no sidecar runs on journal {tmp_path / 'journal'}: give --journal DIR of a running one"
        ]


def test_version_is_the_packages() -> None:
    from sidecar import __version__

    assert sidecar("--version").stdout == f"sidecar {__version__}\n"

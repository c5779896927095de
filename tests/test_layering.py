"""Imports go one way: a stage package knows the shared values and nothing of its neighbours."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sidecar"
STAGES = {
    "proxy", "journal", "identity", "decode", "statistics", "privacy", "ledger", "shipping", "site", "archive",
    "console", "fleet", "alerting", "interception", "quality", "cluster",
    "drain",
}  # fmt: skip
UPPER = {
    "audit": STAGES | {"objects", "site_log"},
    "inject": {"settings_table", "settings_values"},
}
"""Layers between the stages and the command line, with what they may import beyond the shared modules."""
SHARED = {
    "records", "schema", "key_filter", "errors", "clock", "counters", "logs", "backoff", "cloud_event",
    "damage", "parameters", "served",
}  # fmt: skip
"""What every stage may import; among each other they may import what stands before them in SHARED_ORDER."""
SHARED_ORDER = [
    "errors", "schema", "key_filter", "records", "clock", "counters", "logs", "backoff", "cloud_event",
    "damage", "parameters", "served",
]  # fmt: skip

GLUE = {
    "settings_values": {"alerting", "errors", "privacy", "shipping"},
    "setting": {"settings_values"},
    "settings_table": {"setting", "settings_values"},
    "settings_sources": {"errors", "settings_table"},
    "config": {"errors", "records", "settings_sources", "settings_table", "settings_values", "shipping"},
    "control": {"errors"},
    "listening": {"errors", "settings_values"},
    "supervisor": {"counters", "errors"},
    "model_pods": {"cluster", "identity", "inject"},
    "coverage_table": {"cluster"},
    "model_pod_options": {"model_pods", "parameters"},
    "resident": {
        "cluster",
        "errors",
        "inject",
        "listening",
        "parameters",
        "served",
        "settings_values",
    },
    "cli": {"config", "control", "errors", "logs", "run", "settings_table", "lookup"},
}
"""Glue modules that may import no more than this; the others may import anything but `cli` and `run`."""

EXCEPTIONS: dict[str, set[str]] = {}
"""`package/module.py` → what it may import beyond its layer, with the reason beside it. Keep it empty."""

RECORDER_ALLOWED = {"uvloop", "httptools", "msgpack", "msgspec", "lmdb", "isal"}
"""Third parties that may be loaded in the recorder's process."""
THEIRS = {"typing_extensions", "cython_runtime"}
"""What those bring along."""


def imports(path: Path) -> set[str]:
    """First names below `sidecar` that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "sidecar" else [base]
        found |= {name.split(".")[1] for name in names if name.startswith("sidecar.")}
    # `from sidecar import __version__` is no module.
    return found - {"__version__"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.stat().st_size)


def allowed(path: Path) -> set[str] | None:
    """What a module may import below `sidecar`; None when the list is open."""
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    beyond = EXCEPTIONS.get(str(path.relative_to(PACKAGE)), set())
    if layer in STAGES:
        return SHARED | {layer} | beyond
    if layer in UPPER:
        return SHARED | {layer} | UPPER[layer] | beyond
    if layer in SHARED_ORDER:
        return set(SHARED_ORDER[: SHARED_ORDER.index(layer)])
    return GLUE[layer] | beyond if layer in GLUE else None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    permitted = allowed(path)
    found = imports(path)
    if permitted is None:
        assert not found & {"cli", "run"}, "only the entry points stand above the glue"
    else:
        assert found <= permitted, f"imports {sorted(found - permitted)} beyond its layer"


def test_every_folder_is_a_known_stage() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= STAGES | UPPER.keys()


def test_exceptions_are_still_needed() -> None:
    for name, beyond in EXCEPTIONS.items():
        assert beyond <= imports(PACKAGE / name), f"{name} no longer needs its exception"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_settings_and_the_entry_points_read_the_environment(path: Path) -> None:
    readers = {"cli.py", "pipeline.py"}
    """`cli` hands the environment to `config`; `pipeline` sets thread counts before libraries load."""
    if path.name in readers and path.parent == PACKAGE:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        read = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
        assert not read, f"{path}: reads the environment; take it as an argument"


def third_parties(module: str) -> set[str]:
    """What is loaded from outside the standard library and this package with a process' module."""
    script = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tops = {name.split(".")[0] for name in done.stdout.split()}
    return {top for top in tops if not top.startswith("_")} - set(sys.stdlib_module_names) - {"sidecar"}


def test_the_recorder_loads_only_what_it_needs() -> None:
    assert third_parties("sidecar.recorder") <= RECORDER_ALLOWED | THEIRS


def test_the_analyst_loads_nothing_of_the_command_line() -> None:
    found = third_parties("sidecar.pipeline")
    assert "numpy" in found
    assert not found & {"click", "rich", "duckdb"}


def test_no_module_is_longer_than_one_concept() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert not {name: length for name, length in lengths.items() if length > LONGEST.get(name, 400)}


LONGEST: dict[str, int] = {
    "sidecar/journal/writer.py": 490,
}
"""Modules that may be longer than 400 lines, with their own limit. Keep it short."""

"""What the fault tests measured, printed at the end of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.support.running import ModelServer, model_server

_findings: list[str] = []

Report = Callable[[str], None]


@pytest.fixture
def report() -> Report:
    """Takes one line for the end of the run."""
    return _findings.append


@pytest.fixture
def kills() -> int:
    """How often a process is killed in the tests that do it at random."""
    return int(os.environ.get("SIDECAR_TEST_KILLS", "100"))


@pytest.fixture
def upstream() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _findings:
        terminalreporter.section("faults")
        for line in _findings:
            terminalreporter.write_line(line)

"""`sidecar …` inside the test's own process: what it prints and how it ends."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from sidecar.cli import main


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


def sidecar(*arguments: object) -> Ran:
    """Run the command line as its entry point does."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(each) for each in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Ran(code, out.getvalue(), err.getvalue())

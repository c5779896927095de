"""`python -m tests.bench.statistics`: detectors, their promises and their peers on the same seeded streams.

    --quick          a few minutes on two cores, figures with wide intervals
    --only A,B       these modules only
    --results DIR    folder of the JSON (bench-results)
    --here           run in this environment, with the peers that it happens to have

A module of this package takes part by being in MODULES and having
`run(quick: bool) -> list[Row]`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.statistics import environment
from tests.bench.statistics.row import Row
from tests.bench.statistics.table import tables

MODULES = ("false_alarms", "hourly", "edge", "delay", "windows", "correctness", "peeking", "cost")
ROOT = environment.ROOT


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.statistics", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--quick", action="store_true", help="shorter, with wider intervals")
    add("--only", metavar="A,B", help=f"these modules only: {', '.join(MODULES)}")
    add("--results", type=Path, default=ROOT / "bench-results", help="folder of the JSON")
    add("--here", action="store_true", help="run in this environment")
    return parser.parse_args()


def move_to_environment() -> None:
    """Starts over in the peers' environment, unless this is it."""
    for peer, reason in environment.make().items():
        print(f"missing: {peer}: {reason}; its lines are left out", flush=True)
    os.chdir(ROOT)
    command = [str(environment.PYTHON), "-m", "tests.bench.statistics", *sys.argv[1:], "--here"]
    os.execve(command[0], command, {**os.environ, **environment.QUIET, "PYTHONPATH": str(ROOT)})


def run_modules(names: Sequence[str], quick: bool) -> tuple[list[Row], dict[str, float]]:
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    for name in names:
        started = time.monotonic()
        module = importlib.import_module(f"tests.bench.statistics.{name}")
        found: list[Row] = module.run(quick)
        seconds[name] = round(time.monotonic() - started, 1)
        print(tables(found), flush=True)
        print(f"\n{name}: {seconds[name]:.0f} s", flush=True)
        rows += found
    return rows, seconds


def main() -> None:
    args = arguments()
    present = [name for name in MODULES if importlib.util.find_spec(f"tests.bench.statistics.{name}")]
    wanted = args.only.split(",") if args.only else present
    unknown = set(wanted) - set(present)
    if unknown:
        sys.exit(f"no module named {', '.join(sorted(unknown))}: {', '.join(present)}")
    if not args.here:
        move_to_environment()
    os.environ.update(environment.QUIET)
    rows, seconds = run_modules(wanted, args.quick)
    args.results.mkdir(parents=True, exist_ok=True)
    report = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "quick": args.quick,
        "seconds": seconds,
        "rows": [asdict(row) for row in rows],
    }
    path = args.results / "statistics.json"
    path.write_text(
        json.dumps(report, indent=1, ensure_ascii=False, default=lambda number: number.item()) + "\n"
    )
    missed = [row for row in rows if row.met is not None and not row.met]
    goals = sum(1 for row in rows if row.met is not None)
    print(f"\n{goals - len(missed)} of {goals} goals met in {sum(seconds.values()):.0f} s; written to {path}")
    for row in missed:
        print(f"missed: {row.table}: {row.name}: {row.goal}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

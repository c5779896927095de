"""The demo from the first line to the last: set up, serve, record, shift, look, end.

Exit codes: 0 after Ctrl-C or when everything promised happened, 1 when it did not, 2 for a wrong
argument.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from docs.demo.acceptance import Ending, promises
from docs.demo.lookup import Example, count_records, verifies
from docs.demo.performance import Performance, follow
from docs.demo.processes import Child
from docs.demo.scene import Look
from docs.demo.serving import next_folder, plan_for, record, send_traffic, serve_model, steady_rate, stop_all
from docs.demo.setup_steps import HOME, Progress, Ready, prepare
from docs.demo.trouble import DemoError

SHIFT_AT_S = 30.0
"""In the endless form; half of the duration otherwise."""
LEAST_DURATION_S = 20
BASELINE_EXCHANGES = 1000
BASELINE_RATIO = 0.8
"""Share of the time before the shift that the baseline may take."""
SIDECAR_STOP_S = 40.0


def main(arguments: Sequence[str]) -> int:
    """Runs the demo; returns the exit code."""
    duration_s = _duration(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    started: list[Child] = []
    progress = Progress(sys.stdout.isatty(), shutil.get_terminal_size().columns)
    try:
        return _play(duration_s, progress, started)
    except KeyboardInterrupt:
        progress.abandon()
        print("demo: stopped", flush=True)
        return 0
    except DemoError as error:
        progress.abandon()
        print(f"demo: {error}", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        progress.abandon()
        print(f"demo: {error}: is the disk of {HOME} full or read-only?", file=sys.stderr, flush=True)
        return 1
    finally:
        _ignore_interrupts()
        stop_all(started)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A hangup or a polite kill is a Ctrl-C."""
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    """From here on everything is being ended already; a second Ctrl-C would leave processes behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _duration(arguments: Sequence[str]) -> float | None:
    """Seconds, or None for the endless form. Exits with 2 and one line for anything else."""
    parser = argparse.ArgumentParser(prog="demo", description="A real model, recorded, watched and shipped.")
    parser.add_argument("--duration", default="", metavar="SECONDS", help="end by itself; empty: at Ctrl-C")
    text = parser.parse_args(arguments).duration.strip().removesuffix("s")
    if not text:
        return None
    try:
        seconds = int(text)
    except ValueError:
        seconds = 0
    if seconds < LEAST_DURATION_S:
        print(
            f"demo: duration {text!r}: give a whole number of seconds from {LEAST_DURATION_S} on",
            file=sys.stderr,
        )
        sys.exit(2)
    return float(seconds)


def _play(duration_s: float | None, progress: Progress, started: list[Child]) -> int:
    print("Sidecar demo: real mortgage applications, a real model, everything recorded")
    ready = prepare(progress)
    folder = next_folder(HOME)
    shift_at_s = duration_s / 2 if duration_s else SHIFT_AT_S
    performance = _raise_curtain(ready, folder, duration_s, shift_at_s, progress, started)
    stopped = follow(performance)
    if stopped:
        _ignore_interrupts()
    return _end(performance, stopped)


def _raise_curtain(
    ready: Ready,
    folder: Path,
    duration_s: float | None,
    shift_at_s: float,
    progress: Progress,
    started: list[Child],
) -> Performance:
    """Model server, sidecar and traffic, all running."""
    progress.begin("serving the model")
    server = serve_model(ready, folder, started)
    rate = steady_rate(ready, server)
    progress.end(f"{ready.server} {ready.version} at http://127.0.0.1:{server.port}")
    baseline = min(BASELINE_EXCHANGES, max(50, int(BASELINE_RATIO * rate * shift_at_s)))
    progress.begin("sidecar in front")
    recorder = record(ready, server, folder, baseline, started)
    progress.end(f"127.0.0.1:{recorder.port}, status at http://127.0.0.1:{recorder.admin_port}")
    traffic = send_traffic(plan_for(ready, server, recorder.port, rate), folder, started)
    print(f"  {rate:.0f} applications per second; Ctrl-C ends\n", flush=True)
    example = Example(recorder.store)
    return Performance(
        started=started,
        recorder=recorder,
        traffic=traffic,
        example=example,
        look=partial(look_at, recorder.store),
        server=f"{ready.server} {ready.version}",
        duration_s=duration_s,
        shift_at_s=shift_at_s,
        began_s=time.monotonic(),
    )


def look_at(store: Path, record_id: str) -> Look:
    """The commands as they can be typed where the user is."""
    here = Path.cwd()
    shown = os.path.relpath(store, here) if store.is_relative_to(here) else str(store)
    binary = Path(sys.executable).with_name("sidecar")
    sidecar = os.path.relpath(binary, here) if binary.is_relative_to(here) else str(binary)
    option = f"--store {shown}"
    show = f"{sidecar} show {record_id}" if record_id else ""
    return Look(shown, f"{sidecar} find {option} --limit 5", show, option, f"{sidecar} verify {option}")


def _end(performance: Performance, stopped: bool) -> int:
    """Stops in order, so that everything is shipped; says what happened and how to look at it."""
    performance.finish_traffic()
    reading = performance.settle()
    example = performance.example
    print("\nstopping: the sidecar ships what is left …", flush=True)
    sidecar = performance.recorder.child
    exit_code = sidecar.stop(SIDECAR_STOP_S)
    if not example.record_id or not example.denied:
        example.search()
    stored = count_records(performance.recorder.store)
    ending = Ending(
        performance.report,
        performance.before_shift,
        reading,
        exit_code,
        stored,
        example.shown,
        verifies(performance.recorder.store),
    )
    kept = True
    for promise in promises(ending, watched=not stopped):
        kept &= promise.kept
        print(f"  {'✓' if promise.kept else '✗'} {promise.text}")
    look = look_at(performance.recorder.store, example.record_id)
    one = " (the second: a denial)" if example.denied else ""
    print(f"\nThe records lie in {look.store}. To look at them{one}:\n")
    print("\n".join(f"    {line}" for line in look.lines()))
    print(f"    {look.verify}", flush=True)
    if stopped:
        return 0
    if not kept:
        print(
            f"\ndemo: not everything promised happened; logs in {performance.recorder.store.parent}",
            file=sys.stderr,
        )
    return 0 if kept else 1

"""The printed tables and the JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import bodies, events, install
from tests.bench.account import Account
from tests.bench.bodies import BodySample, Kept
from tests.bench.context import Context
from tests.bench.events import EventSample
from tests.bench.floors import Floor, account_floors, body_floors, ratio, small_floors
from tests.bench.small import CONNECTIONS, SmallResults


@dataclass
class Results:
    small: SmallResults = field(default_factory=SmallResults)
    million: Account | None = None
    bodies: list[BodySample] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    events: list[EventSample] = field(default_factory=list)

    def floors(self) -> list[Floor]:
        return [
            *small_floors(self.small),
            *account_floors(self.small.accounts, self.million),
            *body_floors(self.bodies, self.kept),
        ]


def show(value: float | None, form: str = ",.0f") -> str:
    return "–" if value is None else format(value, form)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, first column to the left."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return "| " + " | ".join([cells[0].ljust(widths[0]), *aligned[1:]]) + " |"

    ruler = "|" + "|".join([":" + "-" * (widths[0] + 1), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([f"\n{title}\n", line(heads), ruler, *(line(row) for row in rows)])


COLUMNS = (
    ("requests_s", ",.0f", 1, True),
    ("cpu_us", ".1f", 1, True),
    ("p50_us", ".2f", 1000, False),
    ("p99_us", ".2f", 1000, True),
    ("anonymous_mib", ".1f", 1, False),
)
"""Field of a sample, how to print it, what to divide it by, and whether its ratio to HAProxy follows."""


def small_tables(small: SmallResults, peers: Sequence[str]) -> list[str]:
    """One table for each number of connections, with ratios to HAProxy."""
    base = "× HAProxy"
    heads = ("proxy", "requests/s", base, "CPU µs", base, "p50 ms", "p99 ms", base, "RssAnon MiB")
    tables = []
    for connections in CONNECTIONS:
        rows = []
        for peer in peers:
            if not small.of(peer, connections):
                continue
            cells = [peer]
            for name, form, scale, compared in COLUMNS:
                own, other = (small.middle(p, connections, name) for p in (peer, "haproxy"))
                if peer == "direct" and name in ("cpu_us", "anonymous_mib"):
                    own = None
                cells.append(show(ratio(own, scale), form))
                if compared:
                    cells.append(show(ratio(own, other), ".2f"))
            rows.append(cells)
        if rows:
            title = f"POST of 300 bytes, {connections} connection{'s' if connections > 1 else ''} (medians)"
            tables.append(table(title, heads, rows))
    return tables


AGAINST = ("haproxy", "nginx", "nginx+mirror", "envoy", "envoy+tap", "aiohttp")


def against_table(small: SmallResults) -> list[str]:
    """The recorder's ratios to every other proxy at 32 connections."""
    others = [peer for peer in AGAINST if small.of(peer, 32)]
    rows = []
    for peer in ("sidecar", "sidecar-apart"):
        for name, what in (("requests_s", "requests/s"), ("cpu_us", "CPU per request"), ("p99_us", "p99")):
            own = small.middle(peer, 32, name)
            if own is not None:
                ratios = [show(ratio(own, small.middle(other, 32, name)), ".2f") for other in others]
                rows.append([f"{peer}: {what}", *ratios])
    heads = ("32 connections", *(f"× {other}" for other in others))
    return [table("The recorder against each", heads, rows)] if rows and others else []


def body_table(samples: Sequence[BodySample], peers: Sequence[str]) -> list[str]:
    if not samples:
        return []
    rows = []
    for peer in peers:
        cells = [peer]
        for direction in ("up", "down"):
            own, base = (bodies.middle(samples, p, direction) for p in (peer, "haproxy"))
            cost = bodies.middle(samples, peer, direction, "cpu_ms")
            cells += [show(own), show(ratio(own, base), ".2f"), show(cost or None, ".2f")]
        journaled = [bodies.middle(samples, peer, d, "journaled_mib_s") for d in ("up", "down")]
        cells.append(" / ".join(show(value) for value in journaled) if any(journaled) else "–")
        if any(s.peer == peer for s in samples):
            rows.append(cells)
    each = ("× HAProxy", "CPU ms")
    heads = ("proxy", "up MiB/s", *each, "down MiB/s", *each, "to journal MiB/s")
    return [table("16 MiB bodies, 4 connections (medians; CPU of the proxy per body)", heads, rows)]


def event_table(samples: list[EventSample], peers: Sequence[str]) -> list[str]:
    names = ("first_p50_us", "first_p99_us", "delay_p50_us", "delay_p99_us")
    rows = [
        [peer, *(show(events.middle(samples, peer, name)) for name in names)]
        for peer in peers
        if any(s.peer == peer for s in samples)
    ]
    heads = ("proxy", "first event p50 µs", "p99 µs", "each on its way p50 µs", "p99 µs")
    return [table("Server-sent events, one stream at a time (medians)", heads, rows)] if rows else []


def account_lines(results: Results) -> list[str]:
    """The books of every run in which Sidecar took part."""
    lines = []
    for label, accounts in (("runs", results.small.accounts), ("a million", [results.million])):
        for account in accounts:
            if account is not None:
                lines.append(f"  {account.peer} ({label}): {account.line()}")
                for moment, sizes in (("load's end", account.loaded_mib), ("caught up", account.settled_mib)):
                    each = ", ".join(
                        f"{'recorder' if r == 'proxy' else r} {size:.1f}" for r, size in sizes.items()
                    )
                    lines.append(f"      RssAnon at {moment}: {each}, together {sum(sizes.values()):.1f} MiB")
    return ["\nThe books\n", *lines] if lines else []


def printed(context: Context, results: Results) -> str:
    peers = [peer.name for peer in context.peers]
    lines = [
        *small_tables(results.small, peers),
        *against_table(results.small),
        *body_table(results.bodies, [*peers, "sidecar 32MiB"]),
        *event_table(results.events, peers),
        *account_lines(results),
        "\nFloors, for `sidecar`\n",
        *(floor.line() for floor in results.floors()),
    ]
    noise = max((s.foreign_ratio + s.stolen_ratio for s in results.small.samples), default=0.0)
    if noise > 0.05:
        lines.append(f"\nNot a quiet machine: up to {noise:.0%} of the two cores went to others.")
    for name, reason in context.skipped.items():
        lines.append(f"\nLeft out: {name}: {reason}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    described = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    envoy = install.envoy_binary()
    return {
        "cpu": described[0].partition(":")[2].strip() if described else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            "nginx": _first_line("nginx", "-v"),
            "haproxy": _first_line("haproxy", "-v"),
            "wrk": _first_line("wrk", "-v"),
            "envoy": _first_line(str(envoy), "--version") if envoy else None,
        },
    }


def _first_line(name: str, flag: str) -> str | None:
    program = name if name.startswith("/") else install.program(name)
    if program is None:
        return None
    done = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None


def write(context: Context, results: Results, folder: Path) -> Path:
    """The whole outcome as JSON under `folder`, named by time; `latest.json` beside it is the same."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    content = {
        "finished": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {
            "rounds": context.rounds,
            "seconds": context.seconds,
            "quick": context.quick,
            "sidecar_options": context.sidecar_options,
            "disk_mib_s": context.disk_mib_s,
            "load_core": context.cores.load,
            "proxy_core": context.cores.proxy,
        },
        "peers": {peer.name: peer.about for peer in context.peers},
        "left_out": context.skipped,
        "small": [asdict(sample) for sample in results.small.samples],
        "accounts": [asdict(account) for account in results.small.accounts],
        "million": asdict(results.million) if results.million else None,
        "bodies": [asdict(sample) for sample in results.bodies],
        "bodies_kept": [asdict(kept) for kept in results.kept],
        "events": [asdict(sample) for sample in results.events],
        "floors": [{**asdict(floor), "verdict": floor.verdict} for floor in results.floors()],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(text)
    (folder / "latest.json").write_text(text)
    return path

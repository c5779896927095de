"""The scene as panels, for a terminal of any width from about 70 columns on. Needs rich."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from docs.demo.readings import Move, Share
from docs.demo.scene import (
    DENIED,
    MOVED_PSI,
    MOVING_PSI,
    Scene,
    learning,
    minutes,
    outside,
    percent,
)

WIDE = 116
"""From this many columns on, decisions and features stand side by side."""
FEATURES = 4
DECISIONS = 2
BLOCKS = " ▏▎▍▌▋▊▉█"


def bar(share: float, cells: int) -> str:
    """A bar of exactly `cells` columns, filled to `share` in eighths of a column."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BLOCKS[rest] if rest else "")).ljust(cells)


class Screen:
    """Renders one scene at the width it is given."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE
        upper = _side_by_side(_traffic(self._scene), _latency(self._scene))
        decisions, features = _decisions(self._scene), _features(self._scene)
        if wide:
            lower: RenderableType = _side_by_side(_taller(decisions), features)
        else:
            lower = Group(_panel(decisions[0], decisions[1]), _panel(features[0], features[1]))
        yield Group(_title(self._scene), upper, lower, _footer(self._scene))


Titled = tuple[str, RenderableType]


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=f"[bold]{title}", title_align="left", box=box.ROUNDED, border_style="dim")


def _side_by_side(left: Titled, right: Titled) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(_panel(*left), _panel(*right))
    return grid


def _taller(titled: Titled) -> Titled:
    """As many lines as the features have, so that both panels end together."""
    return titled[0], Group(titled[1], *[Text("")] * (FEATURES - DECISIONS))


def _title(scene: Scene) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    line.add_column(justify="right", no_wrap=True)
    end = f" / {minutes(scene.duration_s)}" if scene.duration_s is not None else "  Ctrl-C ends"
    head = Text.assemble(("Sidecar", "bold cyan"), (" recording ", ""), (scene.server, "bold"))
    line.add_row(head, Text.assemble((minutes(scene.elapsed_s), "bold"), (end, "dim")))
    style = "yellow" if scene.shifted_at_s is not None else "dim"
    return Group(line, Text(scene.population, style=style, no_wrap=True, overflow="ellipsis"))


def _numbers() -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    return table


def _traffic(scene: Scene) -> Titled:
    reading = scene.reading
    table = _numbers()
    table.add_column(justify="right", no_wrap=True)
    table.add_row("exchanges per second", Text(f"{scene.speed:.1f}", style="bold"))
    table.add_row("exchanges", f"{reading.exchanges:,}")
    table.add_row("records journaled", Text(f"{reading.journaled:,}", style="green"))
    table.add_row("records shipped", Text(f"{reading.shipped:,}", style="green"))
    if scene.trouble or reading.shed or reading.store_error:
        trouble = scene.trouble or reading.store_error or f"{reading.shed:,} shed"
        table.add_row(Text(trouble, style="bold red", overflow="ellipsis"), "")
    else:
        table.add_row("waiting for the store", Text(f"{reading.waiting:,}", style="dim"))
    return "traffic", table


def _latency(scene: Scene) -> Titled:
    table = _numbers()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text("milliseconds", style="dim"), Text("p50", style="dim"), Text("p99", style="dim"))
    latency = scene.latency
    if latency is None:
        for name in ("direct to the model", "through the sidecar", "added"):
            table.add_row(name, "–", "–")
        table.add_row("", "", "")
        return "latency", table
    rows = (
        ("direct to the model", latency.direct_p50_ms, latency.direct_p99_ms),
        ("through the sidecar", latency.sidecar_p50_ms, latency.sidecar_p99_ms),
    )
    for name, p50, p99 in rows:
        table.add_row(name, f"{p50:.2f}", f"{p99:.2f}")
    added = [Text(f"{value:+.2f}", style="bold") for value in (latency.added_p50_ms, latency.added_p99_ms)]
    table.add_row(Text("added", style="bold"), *added)
    table.add_row(Text(f"over {latency.pairs:,} pairs", style="dim"), "", "")
    return "latency, measured by turns", table


def _decisions(scene: Scene) -> Titled:
    title = "decisions: baseline → now"
    shares = scene.reading.shares[:DECISIONS]
    waiting = learning(scene.reading)
    if waiting or not shares:
        return title, Group(Text(waiting, style="dim"), Text(""))
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, ratio=1)
    for share in shares:
        table.add_row(*_decision(share))
    return title, table


def _decision(share: Share) -> list[RenderableType]:
    remarkable = share.decision == DENIED and outside(share.now)
    style = "bold red" if remarkable else ("green" if share.decision != DENIED else "yellow")
    remark = "outside 10–20 %" if remarkable else ("within 10–20 %" if share.decision == DENIED else "")
    return [
        Text(share.decision, style=style),
        Text(percent(share.baseline), style="dim"),
        Text(bar(share.now or 0.0, 20), style=style),
        Text(percent(share.now), style=style),
        Text(remark, style="bold red" if remarkable else "dim", overflow="ellipsis"),
    ]


def _features(scene: Scene) -> Titled:
    title = "features that moved most (PSI against the baseline)"
    waiting = learning(scene.reading)
    moves = () if waiting else scene.reading.moves[:FEATURES]
    table = Table.grid(expand=True, padding=(0, 1))
    for _ in range(3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, width=10)
    for move in moves:
        table.add_row(*_move(move))
    if not moves:
        table.add_row(Text(waiting, style="dim"), "", "", "", "")
    for _ in range(FEATURES - max(1, len(moves))):
        table.add_row("", "", "", "", "")
    return title, table


def _move(move: Move) -> list[RenderableType]:
    psi = move.psi or 0.0
    style = "bold red" if psi >= MOVED_PSI else ("yellow" if psi >= MOVING_PSI else "")
    shown = "too few" if move.psi is None else f"{psi:.2f}"
    return [
        Text(move.feature, style=style),
        Text(move.meaning, style="dim"),
        Text(move.change),
        Text(shown, style=style or "dim"),
        Text(bar(psi, 10), style=style),
    ]


def _footer(scene: Scene) -> RenderableType:
    """No borders: these lines are there to be copied."""
    return Group(
        Text(f"records in {scene.look.store}", style="dim", overflow="fold"),
        *(Text(line, overflow="fold") for line in scene.look.lines()),
    )

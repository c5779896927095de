"""What the demo promises, held against what happened. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from docs.demo.performance import Report
from docs.demo.readings import Reading
from docs.demo.scene import BAND, DENIED, MOVED_PSI, outside, percent, telling

PUSHED = ("lvr", "ccs", "mcs", "pbcr")
"""The features that the shift is made of."""
SHOWN_ALARMS = 4


@dataclass(frozen=True, slots=True)
class Ending:
    """Everything known when all has stopped."""

    report: Report
    before_shift: Reading | None
    at_end: Reading | None
    exit_code: int
    """Of `sidecar run`."""
    stored: int
    """Exchanges that `find` lists."""
    shown: bool
    """Whether `show` printed one."""
    verified: bool
    """Whether `verify` found every log of the store intact."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One sentence, and whether it is true."""

    kept: bool
    text: str


def promises(ending: Ending, watched: bool) -> list[Promise]:
    """All of them; without `watched` (stopped early) only those on recording."""
    report, at_end = ending.report, ending.at_end
    errors = f"; {report.errors} failed, the last with: {report.last_error}" if report.errors else ""
    made = [
        Promise(report.sent > 0 and not report.errors, f"{report.sent:,} applications answered{errors}"),
        Promise(
            ending.stored == report.sent > 0,
            f"{ending.stored:,} records in the store for {report.sent:,} applications",
        ),
        Promise(ending.shown, "`sidecar show` prints one whole"),
        Promise(
            ending.verified, "`sidecar verify` recomputes every hash and signature, and finds the log intact"
        ),
        Promise(ending.exit_code == 0, f"the sidecar ended with exit code {ending.exit_code}"),
    ]
    if not watched:
        return made
    latency = report.latency
    measured = "not measured"
    if latency is not None:
        measured = f"p50 {latency.added_p50_ms:+.2f} ms, p99 {latency.added_p99_ms:+.2f} ms"
    made.append(Promise(latency is not None, f"added latency against going direct: {measured}"))
    return made + _watching(ending.before_shift, at_end)


def _watching(before: Reading | None, after: Reading | None) -> list[Promise]:
    calm = before.share(DENIED).baseline if before else None
    now = after.share(DENIED).now if after and telling(after) else None
    pushed = [(move.feature, move.psi) for move in after.moves if move.feature in PUSHED] if after else []
    drifted = [(feature, psi) for feature, psi in pushed if psi is not None and psi >= MOVED_PSI]
    named = ", ".join(f"{feature} {psi:.2f}" for feature, psi in drifted) or "none"
    low, high = (f"{bound:.0%}" for bound in BAND)
    return [
        Promise(
            calm is not None and not outside(calm),
            f"before the shift {percent(calm)} were denied, inside {low} to {high}",
        ),
        Promise(outside(now), f"after it {percent(now)}, outside"),
        Promise(bool(drifted), f"features that drifted (PSI): {named}"),
        *_alarms(before, after),
    ]


def _alarms(before: Reading | None, after: Reading | None) -> list[Promise]:
    """None while nothing had changed; afterwards the decisions' and at least one of those pushed."""
    early = [alarm for alarm in before.alarms if alarm.of_data] if before else []
    late = [alarm for alarm in after.alarms if alarm.of_data] if after else []
    names = {alarm.quantity.partition("#")[0].partition(".")[2] for alarm in late}
    decided = any(alarm.quantity.startswith("outputs.") for alarm in late)
    told = "; ".join(alarm.sentence for alarm in early) or "none"
    single = [alarm for alarm in late if not alarm.quantity.startswith("joint/")]
    first = sorted(single, key=lambda alarm: (not alarm.quantity.startswith("outputs."), alarm.quantity))
    return [
        Promise(before is not None and not early, f"alarms before the shift: {told}"),
        Promise(
            decided and bool(names & set(PUSHED)),
            f"alarms after it: {len(late)}, of the decisions and of what the population was chosen by",
        ),
        *(Promise(True, f"alarm: {alarm.sentence}") for alarm in first[:SHOWN_ALARMS]),
    ]

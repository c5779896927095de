"""A change of counts in words and figures, for each kind of quantity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from sidecar.statistics.alarm import Contribution, Effect, Level
from sidecar.statistics.alternatives import smoothed
from sidecar.statistics.coding import STEPS
from sidecar.statistics.effect_size import jensen_shannon, kolmogorov_smirnov, wasserstein_sigma
from sidecar.statistics.psi import psi
from sidecar.statistics.quantity import Band, Distribution, Mean, Quantity, TwoSample

Vector = npt.NDArray[np.int64]

MOST_CONTRIBUTIONS = 3
MOST_SAID_US = 1e12 * 3.15576e13
OUTERMOST = 3.0
"""Bins that the centre of the outermost one may lie away from the next."""
_LARGE = ((1e12, 1e12, "trillion"), (1e9, 1e9, "billion"), (1e6, 1e6, "million"))


@dataclass(frozen=True, slots=True)
class Change:
    """What moved, from what to what, and by how much."""

    headline: str
    """For example `moved up: mean 0.74 → 0.86 (+0.7 σ)`."""
    before: Level
    after: Level
    effect: Effect
    contributions: tuple[Contribution, ...]
    slots: tuple[int, ...] = ()
    """Slots that have more rows than before and contribute most, for looking up records."""
    tail: str = ""
    """For example `mostly from the range 0.9..1.1`."""


def describe(quantity: Quantity, counts: Vector) -> Change:
    """The change behind counts since it began."""
    if isinstance(quantity, Distribution):
        return _distribution(quantity, counts)
    if isinstance(quantity, Band):
        return _band(quantity, counts)
    if isinstance(quantity, Mean):
        return _mean(quantity, counts)
    return _two_sample(quantity, counts)


def title(quantity: Quantity) -> str:
    """What people call it."""
    return quantity.title or quantity.name


def _distribution(quantity: Distribution, counts: Vector) -> Change:
    reference = np.array(quantity.reference, dtype=np.int64)
    now, before = counts / max(1, counts.sum()), reference / max(1, reference.sum())
    p, q = smoothed(counts), smoothed(reference)
    # Slots that are empty on both sides differ by the smoothing alone.
    terms = np.where(counts + reference > 0, (p - q) * np.log(p / q), 0.0)
    parts = terms / max(float(terms.sum()), 1e-300)
    largest = [int(slot) for slot in np.argsort(-terms)[:MOST_CONTRIBUTIONS] if terms[slot] > 0]
    contributions = tuple(
        Contribution(
            what=quantity.labels[slot],
            before=float(before[slot]),
            after=float(now[slot]),
            part=float(parts[slot]),
        )
        for slot in largest
    )
    ordered = slice(0, quantity.ordered)
    has_order = quantity.ordered >= 2 and counts[ordered].sum() > 0 and reference[ordered].sum() > 0
    effect = Effect(
        psi=psi(counts, reference),
        js=jensen_shannon(counts, reference),
        w1_sigma=wasserstein_sigma(*_on_axis(quantity, counts, reference)) if quantity.centres else None,
        ks=kolmogorov_smirnov(counts[ordered], reference[ordered]) if has_order else None,
    )
    grown = tuple(slot for slot in largest if now[slot] > before[slot])
    top = largest[0] if largest else int(np.argmax(reference))
    apart = top >= quantity.ordered and top not in (quantity.under, quantity.over)
    if has_order and quantity.centres and not apart:
        return _moved(quantity, counts, reference, effect, contributions, grown)
    verb = "more" if now[top] > before[top] else "less"
    figures = f"{percent(float(before[top]))} → {percent(float(now[top]))}"
    return Change(
        f"has {verb} {_quoted(quantity.labels[top])}: {figures}",
        Level(words=f"{percent(float(before[top]))} {quantity.labels[top]}", rows=int(reference.sum())),
        Level(words=f"{percent(float(now[top]))} {quantity.labels[top]}", rows=int(counts.sum())),
        effect,
        contributions,
        grown,
        _others(contributions[1:]),
    )


def _moved(
    quantity: Distribution,
    counts: Vector,
    reference: Vector,
    effect: Effect,
    contributions: tuple[Contribution, ...],
    grown: tuple[int, ...],
) -> Change:
    """An ordered quantity: its mean moved, or else its spread, or else its shape."""
    sides = []
    for side in (reference, counts):
        axis, _, centres = _on_axis(quantity, side, side)
        share = axis / axis.sum()
        mean = float(share @ np.array(centres))
        sides.append((mean, float(np.sqrt(share @ (np.array(centres) - mean) ** 2))))
    (mean_0, sd_0), (mean_1, sd_1) = sides
    shift, widening = mean_1 - mean_0, sd_1 / sd_0 if sd_0 > 0 else 1.0
    words = []
    for mean, sd in sides:
        if quantity.mean is None:
            words.append((f"mean {mean:+.2g} σ", f"standard deviation {sd:.2g} σ"))
        else:
            # The baseline's own mean is exact; the slots' centres only say how far it has moved.
            value = quantity.mean + (mean - mean_0) * quantity.unit
            digits = max(abs(quantity.mean), quantity.unit, abs(value))
            words.append(
                (
                    f"mean {_figure(value, digits)}",
                    f"standard deviation {_figure(sd * quantity.unit, digits)}",
                )
            )
    if abs(shift) >= abs(widening - 1.0) / 2.0:
        direction = "up" if shift > 0 else "down"
        arrow = f"{words[0][0]} → {words[1][0].removeprefix('mean ')}"
        headline, which = f"moved {direction}: {arrow} ({shift:+.2g} σ)", 0
    elif abs(widening - 1.0) >= 0.05:
        direction = "wider" if widening > 1 else "narrower"
        arrow = f"{words[0][1]} → {words[1][1].removeprefix('standard deviation ')}"
        headline, which = f"became {direction}: {arrow} (× {widening:.2g})", 1
    else:
        headline, which = f"changed its shape (PSI {effect.psi:.2g})", 0
    levels = [
        Level(words=text[which], rows=int(side.sum()), numbers={"mean_sigma": mean, "sd_sigma": sd})
        for text, side, (mean, sd) in zip(words, (reference, counts), sides, strict=True)
    ]
    first = contributions[0] if contributions else None
    up = next((c for c in contributions if c.after > c.before), first)
    tail = f"mostly {'into' if up and up.after > up.before else 'out of'} the range {up.what}" if up else ""
    return Change(headline, levels[0], levels[1], effect, contributions, grown, tail)


def _on_axis(quantity: Distribution, now: Vector, before: Vector) -> tuple[Vector, Vector, list[float]]:
    """Counts of both along the order, those out of range at its ends, with the places of the slots."""
    slots, centres = list(range(quantity.ordered)), list(quantity.centres)
    if len(centres) > 3:
        # The outermost bins reach to the extremes; their rows do not lie in their middles.
        centres[0] = max(centres[0], centres[1] - OUTERMOST * (centres[2] - centres[1]))
        centres[-1] = min(centres[-1], centres[-2] + OUTERMOST * (centres[-2] - centres[-3]))
    gap = max(1e-9, (centres[-1] - centres[0]) / max(1, len(centres) - 1)) if centres else 1.0
    if quantity.under is not None:
        slots, centres = [quantity.under, *slots], [centres[0] - gap, *centres]
    if quantity.over is not None:
        slots, centres = [*slots, quantity.over], [*centres, centres[-1] + gap]
    return now[slots], before[slots], centres


def _band(quantity: Band, counts: Vector) -> Change:
    won, trials = int(counts[0]), int(counts[1])
    share = won / max(1, trials)
    beyond = share - quantity.high if share > quantity.high else min(0.0, share - quantity.low)
    side = "above" if beyond > 0 else "below"
    bounds = f"{percent(quantity.low)} to {percent(quantity.high)}"
    return Change(
        f"is {side} its band: {percent(share)} where {bounds} is expected",
        Level(words=bounds, rows=0, numbers={"low": quantity.low, "high": quantity.high}),
        Level(words=percent(share), rows=trials, numbers={"share": share}),
        Effect(difference=beyond),
        (),
        (0,) if beyond > 0 else (),
    )


def _mean(quantity: Mean, counts: Vector) -> Change:
    rows = int(counts[0])
    off = int(counts[1]) / STEPS / max(1, rows)
    value = quantity.expected + off * quantity.scale
    digits = max(abs(quantity.expected), quantity.scale, abs(value))
    expected, tolerated = _figure(quantity.expected, digits), _figure(quantity.tolerance, digits)
    return Change(
        f"has a mean of {_figure(value, digits)} where {expected} ± {tolerated} is expected",
        Level(words=f"{expected} ± {tolerated}", rows=0, numbers={"mean": quantity.expected}),
        Level(words=f"mean {_figure(value, digits)}", rows=rows, numbers={"mean": value}),
        Effect(difference=value - quantity.expected, w1_sigma=abs(off)),
        (),
    )


def _two_sample(quantity: TwoSample, counts: Vector) -> Change:
    table = counts.reshape(-1, 4)
    s_a, n_a, s_b, n_b = (int(x) for x in table.sum(axis=0))
    rate_a, rate_b = s_a / max(1, n_a), s_b / max(1, n_b)
    ratio = rate_b / rate_a if rate_a else None
    words = (
        "" if ratio is None else f", {ratio:.2f} times as often where at least {quantity.ratio:g} is allowed"
    )
    return Change(
        f"has the favourable outcome in {percent(rate_b)} of cases against {percent(rate_a)}{words}",
        Level(words=f"{percent(rate_a)} of the reference group", rows=n_a, numbers={"rate": rate_a}),
        Level(words=f"{percent(rate_b)} of the group", rows=n_b, numbers={"rate": rate_b}),
        Effect(difference=rate_b - rate_a, ratio=ratio),
        _strata(table, quantity.ratio),
    )


def _strata(table: Vector, ratio: float) -> tuple[Contribution, ...]:
    if len(table) < 2:
        return ()
    a, b = table[:, 0] / np.maximum(1, table[:, 1]), table[:, 2] / np.maximum(1, table[:, 3])
    missing = np.maximum(0.0, (ratio * a - b) * table[:, 3])
    whole = max(float(missing.sum()), 1e-300)
    order = [int(i) for i in np.argsort(-missing)[:MOST_CONTRIBUTIONS] if missing[i] > 0]
    return tuple(
        Contribution(
            what=f"stratum {i + 1}", before=float(a[i]), after=float(b[i]), part=float(missing[i]) / whole
        )
        for i in order
    )


def _others(contributions: tuple[Contribution, ...]) -> str:
    found = [
        f"{_quoted(c.what)} {percent(c.before)} → {percent(c.after)}" for c in contributions if c.part >= 0.1
    ]
    return f"also {', '.join(found)}" if found else ""


def _quoted(label: str) -> str:
    return f"“{label}”"


def percent(share: float) -> str:
    """`12 %`, `2.1 %`, `0.03 %`."""
    value = 100.0 * share
    if value == 0 or value >= 99.95:
        return f"{value:.0f} %"
    if value >= 10:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.95 else f"{value:.1g} %"


def _figure(value: float, size: float) -> str:
    """To three figures of what is around it: means of 0.74 and of 74,000 both read well."""
    if not size or not np.isfinite(size):
        return f"{value:g}"
    digits = 2 - int(np.floor(np.log10(size)))
    return f"{value:,.{digits}f}" if digits > 0 else f"{round(value, digits):,.0f}"


def span(duration_us: float) -> str:
    """`8 years`, `3 hours`: a time rounded down to its largest unit."""
    if duration_us >= MOST_SAID_US:
        return "a trillion years"
    units = (("year", 3.15576e13), ("day", 8.64e10), ("hour", 3.6e9), ("minute", 6e7), ("second", 1e6))
    for noun, size in units:
        amount = duration_us / size
        if amount >= 1:
            return f"{large(int(amount))} {noun}{'' if int(amount) == 1 else 's'}"
    return "a second"


def large(number: float) -> str:
    """`3 million`, `4.3 million`, `12,000`: two digits."""
    for least, unit, word in _LARGE:
        if number >= least:
            return f"{number / unit:.2g} {word}" if number / unit < 100 else f"{number / unit:,.0f} {word}"
    return f"{number:,.0f}" if number < 100 else f"{_rounded(number):,.0f}"


def _rounded(number: float) -> float:
    """To two digits: more would pretend."""
    return float(f"{number:.2g}")


def clock(at_us: int, now_us: int) -> str:
    """`14:05 UTC`, with the date when it is of another day than `now_us`."""
    then, now = (datetime.fromtimestamp(us / 1_000_000, UTC) for us in (at_us, now_us))
    return (
        f"{then:%H:%M} UTC" if then.date() == now.date() else f"{then:%H:%M} UTC on {then.day} {then:%b %Y}"
    )

"""What a distribution might change into: a finite, fixed set of alternatives, each with a weight.

Fixed and not estimated, because estimating the shares of B slots costs about
(B − 1)/2·ln n nats, which for 26 slots is more than the whole threshold. A
direction is a function on the slots; an alternative is the baseline tilted
along it, q ∝ p̂·exp(η u), at a size that is given as KL(p̂ ‖ q).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sidecar.statistics.projection import divergence
from sidecar.statistics.quantity import Distribution

Floats = npt.NDArray[np.float64]

SMOOTHING = 0.5
LARGEST = 8
"""Categories that are watched each by itself."""
MAX_DIRECTIONS = 24
MOST_EXPONENT = 40.0
"""A tilt changes no odds by more than e to this."""
LEAST_SHARE = 1e-12
SIGMAS = (0.02, 1.6)
"""The smallest and the largest size beyond the tolerance's edge, as a mean's shift in σ."""
GROUPS = {"location": 4.0, "scale": 2.0, "slot": 3.0, "learnt": 1.0}
"""How the prior weight is divided over the groups of alternatives that a quantity has."""


@dataclass(frozen=True, slots=True)
class Direction:
    """A way to change."""

    name: str
    group: str
    score: Floats
    """Per slot, mean 0 and variance 1 under the smoothed baseline, shape (slots,)."""


@dataclass(frozen=True, slots=True)
class Alternatives:
    """K distributions over the slots."""

    names: tuple[str, ...]
    shares: Floats
    """Shape (K, slots), above 0 everywhere."""
    direction: npt.NDArray[np.int64]
    """Index of each one's direction, shape (K,)."""
    weights: Floats
    """Prior weights, shape (K,); together 1 − the share kept for learnt alternatives."""
    directions: tuple[Direction, ...]
    exponents: Floats
    """Shape (K,): each is the baseline times exp(exponent · score), above 0 upward."""


def smoothed(counts: npt.ArrayLike) -> Floats:
    """(n + 0.5) / (N + 0.5 B) over the last axis."""
    n = np.asarray(counts, dtype=np.float64)
    shares: Floats = (n + SMOOTHING) / (n.sum(axis=-1, keepdims=True) + SMOOTHING * n.shape[-1])
    return shares


def directions_of(quantity: Distribution) -> tuple[Direction, ...]:
    """Location and scale of ordered slots (by normal scores of their ranks), then slots one by one.

    One by one: all slots that are not ordered, the largest eight of categories
    in use and those that the baseline has not seen first.
    """
    counts = np.array(quantity.reference, dtype=np.float64)
    p = smoothed(counts)
    found: list[Direction] = []
    axis = _axis(quantity)
    if np.count_nonzero(counts[axis]) >= 3:
        location = _normal_scores(p, axis)
        found.append(_direction("location", "location", location, p))
        found.append(_direction("scale", "scale", location**2, p))
    on_axis = set(axis) if found else set()
    single = [slot for slot in range(len(counts)) if slot not in on_axis]
    single += [slot for slot in (quantity.under, quantity.over) if slot is not None and slot in on_axis]
    if quantity.ordered and not found:
        single = list(range(len(counts)))
    used = sorted((slot for slot in single if counts[slot] > 0), key=lambda slot: -counts[slot])
    unused = [slot for slot in single if counts[slot] == 0]
    room = MAX_DIRECTIONS - len(found)
    chosen = [*unused[: room // 2], *used[:LARGEST]][:room]
    for slot in sorted(chosen):
        indicator = np.zeros(len(counts))
        indicator[slot] = 1.0
        found.append(_direction(quantity.labels[slot], "slot", indicator, p))
    return tuple(found)


def _axis(quantity: Distribution) -> list[int]:
    """The ordered slots in ascending order, with those below and above their range at the ends."""
    middle = list(range(quantity.ordered))
    before = [] if quantity.under is None else [quantity.under]
    after = [] if quantity.over is None else [quantity.over]
    return [*before, *middle, *after]


def _normal_scores(p: Floats, axis: list[int]) -> Floats:
    """Van der Waerden scores: what a normal variable of that rank would be; 0 off the axis.

    Ranks and not values: the largest bin of a heavy-tailed field reaches so far
    that a tilt by value would look at nothing else.
    """
    on = p[axis] / p[axis].sum()
    middle = np.cumsum(on) - on / 2.0
    scores = np.zeros(len(p))
    scores[axis] = [NormalDist().inv_cdf(float(rank)) for rank in middle]
    return scores


def _direction(name: str, group: str, values: Floats, p: Floats) -> Direction:
    centred = values - p @ values
    return Direction(name, group, centred / np.sqrt(p @ centred**2))


def tilts(quantity: Distribution, directions: tuple[Direction, ...], radius: float) -> Alternatives:
    """Each direction both ways at sizes that begin just outside the tolerance of this radius."""
    counts = np.array(quantity.reference, dtype=np.float64)
    p, centre = smoothed(counts), counts / counts.sum()
    wanted = [
        (place, sign, size)
        for place, direction in enumerate(directions)
        for sign in (1.0, -1.0)
        for size in _sizes(direction, sign, centre, radius)
    ]
    scores = np.array([directions[place].score * sign for place, sign, _ in wanted]).reshape(-1, len(counts))
    shares, exponents, reached = _tilted(p, centre, scores, np.array([size for _, _, size in wanted]))
    kept = [choice for choice, there in zip(wanted, reached, strict=True) if there]
    return Alternatives(
        tuple(f"{directions[place].name} {'up' if sign > 0 else 'down'}" for place, sign, _ in kept),
        shares[reached],
        np.array([place for place, _, _ in kept], dtype=np.int64),
        _prior([directions[place].group for place, _, _ in kept]),
        directions,
        (exponents * np.array([sign for _, sign, _ in wanted]))[reached],
    )


def _prior(groups: list[str]) -> Floats:
    present = {group: groups.count(group) for group in dict.fromkeys(groups)}
    whole = GROUPS["learnt"] + sum(GROUPS[group] for group in present)
    return np.array([GROUPS[group] / whole / present[group] for group in groups])


def learnt_weight(alternatives: Alternatives) -> float:
    """What the fixed alternatives leave of the prior."""
    return 1.0 - float(alternatives.weights.sum())


def _sizes(direction: Direction, sign: float, centre: Floats, radius: float) -> list[float]:
    """KL(p̂ ‖ q) of the alternatives one way: geometric in what lies beyond the edge."""
    edge = sqrt(2.0 * radius)
    if direction.group == "slot" and sign > 0 and not centre[int(np.argmax(direction.score))]:
        # A slot that was empty: KL(p̂ ‖ q) is about its new share.
        sizes, share = [], 3.0 * radius
        while share < 0.7:
            sizes.append(share)
            share *= 4.0
        return sizes
    factor = 2.0 if direction.group == "location" else 3.0
    beyond, sizes = max(SIGMAS[0], edge / 2.0), []
    while beyond <= SIGMAS[1]:
        sizes.append(0.5 * (edge + beyond) ** 2)
        beyond *= factor
    return sizes


def _tilted(
    p: Floats, centre: Floats, scores: Floats, sizes: Floats
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """q ∝ p·exp(η score) with KL(centre ‖ q) = size, one per row, its η, and which rows have one."""
    most = MOST_EXPONENT / np.maximum(np.abs(scores).max(axis=1, initial=0.0), 1e-9)
    low, high = np.zeros(len(sizes)), most
    for _ in range(48):
        middle = (low + high) / 2.0
        short = divergence(centre, tilted(p, scores, middle)) < sizes
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    found = tilted(p, scores, high)
    # Down to nothing a slot goes only so far: no tilt is as far away as was asked for.
    reached = (high < most) & (divergence(centre, found) < sizes * 1.01)
    return found, high, reached


def tilted(p: Floats, scores: Floats, eta: Floats) -> Floats:
    """q ∝ p·exp(η score), one per row of `scores`."""
    exponent = eta[:, None] * scores
    raw = p * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    raw = np.maximum(raw, LEAST_SHARE)
    tilted: Floats = raw / raw.sum(axis=1, keepdims=True)
    return tilted

"""The reverse information projection of an alternative on the tolerance set.

The tolerance set is C = {p : KL(p̂ ‖ p) ≤ r}, convex. Of all p in C the one with
the least KL(q ‖ p) is p* = (1 − t) q + t p̂ with the one t in [0, 1) that makes
KL(p̂ ‖ p*) = r; inside C it is q itself. Every p in C then has E_p[q / p*] ≤ 1
(Grünwald, de Heide, Koolen, Safe testing, 2024, theorem 1), so q / p* is an
e-value against the whole of C, and the one that grows fastest under q.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROUNDS = 10
"""Newton steps; from the left of the root each comes closer and none goes past it."""


def divergence(p: Floats, q: Floats) -> Floats:
    """KL(p ‖ q) in nats over the last axis; slots that p does not use count nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    total: Floats = np.maximum(terms.sum(axis=-1), 0.0)
    return total


def project(alternatives: Floats, centre: Floats, radius: float | Floats) -> Floats:
    """p* of each alternative, shape (..., slots).

    `alternatives` (..., slots) must be above 0 everywhere; `centre` and
    `radius` broadcast against it. The result's divergence from the centre is
    never less than the radius because of rounding, only ever more: the e-value
    stays one.
    """
    q, p, r = np.broadcast_arrays(alternatives, centre, np.asarray(radius)[..., None])
    r = r[..., 0]
    whole = divergence(p, q)
    outside = whole > r
    # Near the root the divergence grows with (1 − t)², which gives the first guess.
    guess = 1.0 - np.sqrt(np.divide(r, whole, out=np.ones_like(whole), where=outside))
    t = np.where(outside, guess, 0.0)
    ratio = q / np.where(p > 0, p, 1.0)
    for _ in range(ROUNDS):
        mixed = np.where(p > 0, t[..., None] + (1.0 - t[..., None]) * ratio, 1.0)
        value = -(p * np.log(mixed)).sum(axis=-1) - r
        slope = -(p * np.where(p > 0, (1.0 - ratio) / mixed, 0.0)).sum(axis=-1)
        move = np.divide(value, slope, out=np.zeros_like(value), where=outside & (slope < 0))
        t = np.clip(t - move, 0.0, 1.0)
    # One part in 10⁹ back, to the side where rounding can only leave the projection too far out.
    t = np.where(outside, t - 1e-9 * (1.0 - t), 0.0)[..., None]
    projected: Floats = (1.0 - t) * q + t * p
    return projected

"""Tails of the chi-square distribution, without a statistics library in the pod."""

from __future__ import annotations

from math import erfc, exp, inf, lgamma, log, sqrt

_STEPS = 10_000
_PRECISE = 1e-15


def upper_tail(statistic: float, freedom: int) -> float:
    """P(X ≥ statistic) for `freedom` degrees of freedom; 1 when there are none.

    Regularised upper incomplete gamma function, by its series below the mean and
    Lentz's continued fraction above (Abramowitz and Stegun 6.5.29, 6.5.31).
    """
    if freedom <= 0 or statistic <= 0:
        return 1.0
    if statistic == inf:
        return 0.0
    if freedom == 1:
        return erfc(sqrt(statistic / 2))
    shape, x = freedom / 2, statistic / 2
    front = exp(shape * log(x) - x - lgamma(shape))
    if x < shape + 1:
        return max(0.0, 1.0 - front * _series(shape, x))
    return front * _fraction(shape, x)


def _series(shape: float, x: float) -> float:
    term = total = 1 / shape
    for step in range(1, _STEPS):
        term *= x / (shape + step)
        total += term
        if term < total * _PRECISE:
            break
    return total


def _fraction(shape: float, x: float) -> float:
    tiny = 1e-300
    bottom = x + 1 - shape
    ratio, inverse = 1 / tiny, 1 / bottom
    value = inverse
    for step in range(1, _STEPS):
        numerator = -step * (step - shape)
        bottom += 2
        inverse = 1 / (numerator * inverse + bottom or tiny)
        ratio = bottom + numerator / ratio or tiny
        change = ratio * inverse
        value *= change
        if abs(change - 1) < _PRECISE:
            break
    return value

"""What changed, in words that a person can use."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.statistics.quantity import Distribution
from sidecar.statistics.wording import describe, span

YEAR_US = 3.15576e13
RESULTS = Distribution("exchange.result", 0, (0, 2_000, 0), ("undecoded", "answered", "failed"))


def test_of_what_stayed_as_it_was_the_largest_slot_is_shown() -> None:
    change = describe(RESULTS, np.array([0, 700, 0]))
    assert (change.before.words, change.after.words) == ("100 % answered", "100 % answered")


def test_a_slot_that_was_never_used_and_fills_is_what_moved() -> None:
    change = describe(RESULTS, np.array([0, 630, 70]))
    assert change.headline == "has more “failed”: 0 % → 10 %"
    assert [each.what for each in change.contributions] == ["failed", "answered"]


@pytest.mark.parametrize(
    ("duration_us", "words"),
    [
        (1e6, "1 second"),
        (8.7 * YEAR_US, "8 years"),
        (4.31e6 * YEAR_US, "4.3 million years"),
        (9.3e11 * YEAR_US, "930 billion years"),
        (3e24 * YEAR_US, "a trillion years"),
    ],
)
def test_a_time_is_said_in_units_that_can_be_pictured(duration_us: float, words: str) -> None:
    assert span(duration_us) == words

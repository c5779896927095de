from __future__ import annotations

from sidecar.backoff import Backoff


def test_waits_double_up_to_the_cap_and_begin_again_after_success() -> None:
    backoff = Backoff(1.0, 10.0, uniform=lambda low, high: high)
    assert [backoff.failed() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.succeeded()
    assert backoff.failed() == 1


def test_waits_are_drawn_between_half_and_the_whole() -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    backoff = Backoff(1.0, 4.0, uniform)
    for _ in range(5_000):
        backoff.failed()
    assert drawn[:3] == [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0)]
    assert drawn[-1] == (2.0, 4.0)

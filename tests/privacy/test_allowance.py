"""Regular expressions are stopped, whatever text they are given, and ordinary ones are not."""

from __future__ import annotations

import json
import time

import pytest

from sidecar.privacy.allowance import LEAST_S, LONGEST_S, MOST_S, Allowance, Pattern, TooLong
from sidecar.privacy.rules import parse_rule
from tests.privacy.exchanges import redactor, request, response, stored_bytes

HOSTILE = {
    r"(a|aa)+$": "a" * 60 + "!",
    r"(.*)(.*)(.*)(.*)(.*)[^a]$": "a" * 3000,
    r"[a-z]+\d[a-z]+\d": "a" * 400_000,
    r"[\w.+-]+@[\w-]+\.[\w.]+": "a" * 400_000 + "@",
}
"""The last two are what people write, and quadratic."""


def pattern(text: str) -> Pattern:
    found = parse_rule(f"regex:{text}=mask").where.pattern
    assert found is not None
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_a_pattern_is_stopped_within_seconds(text: str) -> None:
    overran: list[int] = []
    allowance = Allowance(lambda: overran.append(1))
    allowance.begin(len(HOSTILE[text]), 1)
    began = time.thread_time()
    with pytest.raises(TooLong):
        allowance.spans(pattern(text), HOSTILE[text])
    # Unstopped each of them takes minutes at least.
    assert time.thread_time() - began < 2 * LONGEST_S
    assert overran == [1]
    with pytest.raises(TooLong):
        allowance.found(pattern("x"), "x")


class Clock:
    """A thread's computing time, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A pattern that takes as long as it is told, or runs out of the library's time before its own."""

    flags = 0

    def __init__(self, clock: Clock, takes_s: float, own_s: float = 1.0) -> None:
        self._clock, self._takes_s, self._own_s = clock, takes_s, own_s
        self.given: list[float] = []

    def search(self, string: str, *, timeout: float | None = None) -> None:
        assert timeout is not None
        self.given.append(timeout)
        self._clock.now += min(self._takes_s, timeout * self._own_s)
        if self._takes_s > timeout * self._own_s:
            raise TimeoutError

    def finditer(self, string: str, *, timeout: float | None = None) -> object:
        raise NotImplementedError


def test_time_that_other_threads_computed_is_not_counted() -> None:
    clock = Clock()
    allowance = Allowance(clock=clock)
    allowance.begin(0, 1)
    # The library gives up when this thread has computed for half of the time.
    slow = Slow(clock, MOST_S * 0.6, own_s=0.5)
    slow._takes_s = MOST_S * 0.4
    assert allowance.found(slow, "") is False  # type: ignore[arg-type]
    slow._takes_s = MOST_S
    with pytest.raises(TooLong):
        allowance.found(slow, "")  # type: ignore[arg-type]
    assert len(slow.given) > 2


def test_a_stream_of_hostile_texts_is_given_less_and_less_and_recovers() -> None:
    clock = Clock()
    allowance = Allowance(clock=clock)
    for _ in range(40):
        allowance.begin(100, 1)
        with pytest.raises(TooLong):
            allowance.found(Slow(clock, 60.0), "")  # type: ignore[arg-type]
    began = clock.now
    allowance.begin(100, 1)
    with pytest.raises(TooLong):
        allowance.found(Slow(clock, 60.0), "")  # type: ignore[arg-type]
    assert LEAST_S <= clock.now - began < 2 * LEAST_S
    for _ in range(60):
        allowance.begin(100, 1)
    assert allowance.found(Slow(clock, MOST_S * 0.9), "") is False  # type: ignore[arg-type]


def test_a_large_ordinary_body_is_redacted_whole() -> None:
    people = [{"name": f"Jane {n}", "mail": f"jane.{n}@example.org", "score": n / 7} for n in range(60_000)]
    body = json.dumps(people).encode()
    tool = redactor(r"regex:[\w.+-]+@[\w-]+\.[\w.]+=mask", r"regex:\b(?:\d[ -]?){13,19}\b=mask")
    # The opener of these tests takes off content codings up to a limit; this body has none.
    result = tool.redact(
        request(body[:1_000_000] + b'"}]', length=1_000_003), response(), None, lambda *_: None
    )
    assert result.redacted is not None
    assert "computed" not in result.redacted
    assert b"@example.org" not in stored_bytes(result)


def test_a_body_over_which_a_pattern_is_stopped_is_dropped_whole() -> None:
    tool = redactor(r"regex:(a|aa)+$=mask", "header:x-who=mask")
    asked = request(b"a" * 60 + b"!", headers=b"X-Who: me\r\n")
    result = tool.redact(asked, response(), None, lambda *_: None)
    assert result.request.body == b""
    assert result.request.head == asked.head.replace(b": me", b": ***")
    assert result.response.body == response().body
    assert json.loads(result.redacted or "")["dropped"] == {
        "request_body": "a regular expression computed for too long"
    }


def test_a_head_over_which_a_pattern_is_stopped_is_the_callers_to_do_without() -> None:
    tool = redactor(r"regex:(a|aa)+$=mask")
    with pytest.raises(TooLong):
        tool.redact(request(headers=b"X: " + b"a" * 60 + b"!\r\n"), response(), None, lambda *_: None)

"""Each state once, bounded, paced, again after failures; and the messages that receivers get."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sidecar.alerting.notice import NOTICE_ID, REPEAT_S, SIGNATURE, TIMESTAMP, Notice, message, signature
from sidecar.alerting.outbox import Outbox, Rate
from sidecar.alerting.post import judged
from sidecar.alerting.target import Kind, parse_target
from sidecar.backoff import Backoff

NOW_US = 1_790_000_000_000_000
NOTICE = Notice("ab12", "mortgage", "sha256:aa", "open", "warning", "inputs.income", "Income moved.", NOW_US - 60_000_000, NOW_US, NOW_US, document={"promise": "at most 1", "record_ids": ["b.d.1"]})  # fmt: skip


def outbox(kind: Kind = Kind.WEBHOOK, notices: int = 100, most: int = 10) -> Outbox:
    return Outbox(kind, Rate(notices, 60.0), Backoff(1.0, 8.0, lambda low, high: high), most)


def test_a_state_is_told_once() -> None:
    box = outbox()
    assert box.offer(NOTICE, 0)
    assert not box.offer(NOTICE, 0)
    assert box.next(0) == NOTICE
    box.sent(NOTICE, 0)
    assert not box.offer(NOTICE, 1)
    assert box.next(1) is None
    assert box.offer(replace(NOTICE, state="resolved"), 2)
    assert (box.counts.sent, box.counts.repeated) == (1, 2)


def test_alertmanager_is_told_again_while_the_alarm_stands() -> None:
    box = outbox(Kind.ALERTMANAGER)
    box.offer(NOTICE, 0)
    box.sent(NOTICE, 0)
    assert not box.offer(NOTICE, REPEAT_S - 1)
    assert box.offer(NOTICE, REPEAT_S)
    resolved = replace(NOTICE, state="resolved", resolved_us=NOW_US + 5)
    box.offer(resolved, REPEAT_S + 1)
    box.sent(resolved, REPEAT_S + 1)
    assert not box.offer(resolved, 10 * REPEAT_S)


def test_a_full_outbox_drops_and_counts() -> None:
    box = outbox(most=3)
    for number in range(5):
        box.offer(replace(NOTICE, alarm_id=str(number)), 0)
    assert (len(box.waiting), box.counts.dropped) == (3, 2)


def test_no_stretch_has_more_than_the_rate() -> None:
    box = outbox(notices=2, most=100)
    for number in range(6):
        box.offer(replace(NOTICE, alarm_id=str(number)), 0)
    sent: list[float] = []
    for tick in range(2000):
        now = tick / 10
        if (due := box.next(now)) is not None:
            box.sent(due, now)
            sent.append(now)
    assert len(sent) == 6
    assert all(later - earlier >= 59.999 for earlier, later in zip(sent, sent[2:], strict=False))


def test_failures_wait_longer_and_retry_after_counts() -> None:
    box = outbox()
    box.offer(NOTICE, 0)
    assert [box.failed(0, "x") for _ in range(5)] == [1, 2, 4, 8, 8]
    assert box.next(7.9) is None
    assert box.next(8.0) == NOTICE
    assert box.failed(8.0, "x", 120.0) == 120.0
    assert box.failed(8.0, "x", 10**9) == 3600.0
    box.sent(NOTICE, 4000)
    assert (box.error, box.backoff.failures) == ("", 0)


def test_a_webhook_is_signed_over_time_and_body() -> None:
    headers, body = message(Kind.WEBHOOK, NOTICE, NOW_US, b"secret")
    assert headers[TIMESTAMP] == "1790000000"
    assert headers[SIGNATURE] == "v1=" + signature(b"secret", "1790000000", body)
    assert headers[NOTICE_ID] == "ab12-open"
    assert json.loads(body)["sentence"] == "Income moved."
    assert SIGNATURE not in message(Kind.WEBHOOK, NOTICE, NOW_US, None)[0]


def test_the_signature_is_what_openssl_computes() -> None:
    import hashlib
    import hmac

    expected = hmac.new(b"k", b"17.{}", hashlib.sha256).hexdigest()
    assert signature(b"k", "17", b"{}") == expected


def test_cloudevents_are_structured_and_read_by_the_sdk() -> None:
    from cloudevents.v1.http import from_http

    headers, body = message(Kind.CLOUDEVENTS, NOTICE, NOW_US, None)
    event = from_http(headers, body)
    assert (event["id"], event["type"]) == ("ab12-open", "dev.sidecar.alarm.open")
    assert event.data["quantity"] == "inputs.income"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("alertmanager+http://am:9093", "http://am:9093/api/v2/alerts"),
        ("alertmanager+https://am/prefix/", "https://am/prefix/api/v2/alerts"),
        ("webhook+https://h/a?b=c", "https://h/a?b=c"),
        ("cloudevents+http://h/e", "http://h/e"),
    ],
)
def test_an_address_says_kind_and_url(text: str, url: str) -> None:
    target = parse_target(text)
    assert target.url == url
    assert "?" not in target.shown


@pytest.mark.parametrize(
    "text", ["", "https://h", "slack+https://h", "webhook+ftp://h", "webhook+http://", "webhook+http://a:b@h",
             "webhook+http://h#x", "alertmanager+http://h?x=1", "webhook+http://h:99999/"],
)  # fmt: skip
def test_what_is_no_receiver_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        parse_target(text)


@pytest.mark.parametrize(
    ("status", "taken", "again"),
    [(200, True, False), (202, True, False), (301, False, False), (400, False, False), (404, False, False),
     (408, False, True), (429, False, True), (500, False, True), (503, False, True)],
)  # fmt: skip
def test_answers_are_judged(status: int, taken: bool, again: bool) -> None:
    answer = judged(status, "no\nway\x1b", "7", NOW_US)
    assert (answer.taken, answer.again) == (taken, again)
    assert "\n" not in answer.words
    assert "\x1b" not in answer.words


def test_retry_after_may_be_a_date() -> None:
    answer = judged(429, "", "Mon, 21 Sep 2026 14:13:50 GMT", NOW_US)
    assert answer.retry_after_s == pytest.approx(30.0, abs=1)
    assert judged(429, "", "soon", NOW_US).retry_after_s is None

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import time
import zlib
from dataclasses import replace
from typing import Any, cast

import pytest

from sidecar.errors import ConfigError
from sidecar.privacy.allowance import Pattern
from sidecar.privacy.redact import Redactor
from sidecar.privacy.rules import DEFAULT_HEADERS, parse_rule
from sidecar.records import Message
from tests.privacy.exchanges import (
    JSON,
    KEY,
    observe,
    open_body,
    redact,
    redactor,
    request,
    response,
    stored_bytes,
)

FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
SSN = r"regex:\b\d{3}-\d{2}-\d{4}\b=mask"


def digest(value: bytes) -> str:
    return hmac.new(KEY, value, hashlib.sha256).hexdigest()


def said(text: str | None) -> dict[str, object]:
    assert text is not None
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


def test_without_a_hit_the_very_same_objects_come_back() -> None:
    asked, answered = request(b'{"age": 41}'), response()
    seen = observe(asked, answered)
    for rules in ([], ["body:$.name=mask", SSN, "query:email=drop", "header:x-a=drop"]):
        tool = redactor(*rules)
        for _ in range(2):
            result = tool.redact(asked, answered, seen, observe)
            assert result.request is asked
            assert result.response is answered
            assert result.observation is seen
            assert result.redacted is None
            assert not result.observed_again


@pytest.mark.parametrize("name", DEFAULT_HEADERS)
def test_credentials_are_dropped_by_default_and_kept_when_switched_off(name: str) -> None:
    line = name.replace("*", "x-acme-").title().encode() + b": s3cret\r\n"
    asked = request(b'{"a":1}', JSON + line)
    result = redact([], asked)
    assert result.request.head == asked.head.replace(b"s3cret", b"")
    assert said(result.redacted) == {"rules": [f"header:{name}=drop"]}
    assert redact([], asked, defaults=False).request is asked


@pytest.mark.parametrize(
    "name",
    [
        "X-Api-Key",
        "Api-Key",
        "apikey",
        "X-Auth-Token",
        "X-Goog-Api-Key",
        "X-Amz-Security-Token",
        "Private-Token",
    ]
    + [
        "Ocp-Apim-Subscription-Key",
        "X-Forwarded-Access-Token",
        "X-Amzn-Oidc-Data",
        "CF-Access-Client-Secret",
    ],
)
def test_well_known_credentials_are_among_the_defaults(name: str) -> None:
    result = redact([], request(b"{}", name.encode() + b": s3cret\r\nX-Request-Id: 7\r\n"))
    assert name.encode() + b": \r\nX-Request-Id: 7\r\n" in result.request.head


def test_a_star_stands_for_any_letters_and_the_first_rule_counts() -> None:
    asked = request(b"{}", b"X-User-Id: a\r\nX-User-Name: b\r\nUser: c\r\n")
    head = redact(["header:x-user-id=hash", "header:x-user-*=mask"], asked).request.head
    assert b"X-User-Id: " + digest(b"a").encode() + b"\r\nX-User-Name: ***\r\nUser: c\r\n" in head


def test_a_redirect_repeats_no_query() -> None:
    answered = Message(b"HTTP/1.1 303 See Other\r\nLocation: /r?email=s3cret&x=1\r\n\r\n", b"")
    assert b"Location: /r?email=&x=1\r\n" in redact(["query:email=drop"], request(), answered).response.head


def test_large_integers_have_hashes_of_their_own() -> None:
    rule = "request.body:$.n=hash"
    for digits in (b"123456789012345678901", b"123456789012345678902"):
        body = redact([rule], request(b'{"n":' + digits + b"}")).request.body
        assert body == b'{"n":"' + digest(digits).encode() + b'"}'


def test_a_users_rule_wins_over_the_default() -> None:
    result = redact(["header:Authorization=hash"], request(b"{}", b"Authorization: Bearer x\r\n"))
    assert b"Authorization: " + digest(b"Bearer x").encode() + b"\r\n" in result.request.head
    assert said(result.redacted) == {"rules": ["header:authorization=hash"]}


def test_a_side_limits_a_header_rule() -> None:
    asked, answered = request(b"{}", b"X-A: s3cret\r\n"), response(headers=b"X-A: s3cret\r\n")
    result = redact(["response.header:x-a=mask"], asked, answered)
    assert result.request is asked
    assert b"X-A: ***\r\n" in result.response.head


@pytest.mark.parametrize(
    "line",
    [
        b"cookie:s3cret\r\n",
        b"COOKIE \t:\t s3cret \r\n",
        b" Cookie: s3cret\r\n",
        b"Cookie: a;\r\n s3cret\r\n\ts3cret\r\n",
        b"X: 1\nCookie: s3cret\n",
        b"X: 1\rCookie: s3cret\r\n",
        b"Cookie: one\r\nCookie: s3cret\r\n",
    ],
)
def test_a_header_is_found_however_it_is_written(line: bytes) -> None:
    result = redact([], Message(b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n", b""))
    assert b"s3cret" not in result.request.head
    assert result.request.head.startswith(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert result.request.head.endswith(b"\n\r\n")


def test_interim_heads_and_trailers_are_covered() -> None:
    asked = request(b"{}", trailers=b"X-Api-Key: s3cret\r\nX-Sum: 1\r\n\r\n")
    answered = response(interim=b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: s3cret\r\n\r\n")
    result = redact([], asked, answered)
    assert result.request.trailers == b"X-Api-Key: \r\nX-Sum: 1\r\n\r\n"
    assert result.response.interim == b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: \r\n\r\n"


def test_the_beginning_of_a_head_is_under_the_header_rules() -> None:
    cut = Message(b"", b"POST / HTTP/1.1\r\nAuthorization: Bearer s3c", length=40, complete=False)
    result = redact([], cut, Message(b"", b""))
    assert result.request.body == b"POST / HTTP/1.1\r\nAuthorization: "
    assert said(result.redacted)["rules"] == ["header:authorization=drop"]


def test_unframed_http2_is_dropped_whole_because_its_headers_are_compressed() -> None:
    asked = Message(b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", length=26, complete=False)
    answered = Message(b"", b"\0\0\6\4", length=4, complete=False)
    result = redact([], asked, answered)
    assert (result.request.body, result.response.body) == (b"", b"")
    assert set(said(result.redacted)["dropped"]) == {"request_body", "response_body"}  # type: ignore[call-overload]
    assert redact([], asked, answered, defaults=False).request is asked


def test_opaque_bytes_are_dropped_whole_when_a_body_rule_exists() -> None:
    asked = Message(b"", b"\x16\x03\x01 s3cret", length=11, sha256=b"h" * 32, complete=False)
    for rule in ("response.body:$.a=mask", SSN):
        result = redact([rule], asked, Message(b"", b"s3cret"))
        assert b"s3cret" not in stored_bytes(result)
        assert result.request.sha256 is None
    assert redact([], asked, Message(b"", b"s3cret")).request is asked


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("query:email=drop", b"/p?email=a%40b&z=1", b"/p?email=&z=1"),
        ("query:email=mask", b"/p?z=1&email=a&email=b", b"/p?z=1&email=***&email=***"),
        ("query:Email=mask", b"/p?%65mail=a;EMAIL=b", b"/p?%65mail=***;EMAIL=***"),
        ("query:email=hash", b"/p?email=a%40b+c", b"/p?email=" + digest(b"a@b c").encode()),
        ("query:user[name]=mask", b"/p?user%5Bname%5D=x", b"/p?user%5Bname%5D=***"),
        ("query:email=mask", b"http://h/p?email=x y", b"http://h/p?email=***"),
    ],
)
def test_a_query_rule_changes_the_value_alone(rule: str, before: bytes, after: bytes) -> None:
    asked = request(target=before)
    result = redact([rule], asked)
    assert result.request.head == asked.head.replace(before, after)


def test_headers_that_repeat_the_target_are_under_the_query_rules() -> None:
    asked = request(headers=b"Referer: https://a/b?email=s3cret&x=1\r\nX-Original-URL: /p?email=s3cret\r\n")
    head = redact(["query:email=drop"], asked).request.head
    assert b"Referer: https://a/b?email=&x=1\r\nX-Original-URL: /p?email=\r\n" in head


def test_json_values_are_masked_hashed_and_removed_and_everything_else_stays() -> None:
    body = (
        b'{"id": 12345678901234567890123, "applicant": {"name": "Ann", "ssn": 123456789, "age": 41},'
        b' "rows": [[1.10, -0, 1e400], [NaN, 0.12345678901234567890]], "note": "\xc3\xbc"}'
    )
    rules = [
        "request.body:$.applicant.name=hash",
        "request.body:$.applicant.ssn=mask",
        "request.body:$.applicant.age=drop",
        "request.body:$.rows[0][0]=drop",
    ]
    result = redact(rules, request(body))
    assert result.request.body == (
        b'{"id":12345678901234567890123,"applicant":{"name":"' + digest(b"Ann").encode() + b'","ssn":"***"},'
        b'"rows":[[null,-0,1e400],[NaN,0.12345678901234567890]],"note":"\xc3\xbc"}'
    )
    assert said(result.redacted)["rules"] == rules
    assert result.request.length == len(body)


def test_the_decoded_columns_are_those_of_the_redacted_body() -> None:
    body = b'{"name": "Ann", "age": 41}'
    result = redact(["request.body:$.name=mask", "response.body:$.score=drop"], request(body))
    assert result.observed_again
    assert result.observation is not None
    assert result.observation.inputs == {"name": ["***"], "age": [41]}
    assert result.observation.outputs == {}


def test_nested_matches_take_the_outer_rule_and_hash_the_original() -> None:
    body = b'{"a": {"a": {"b": "s3cret"}}}'
    result = redact(["body:$..b=mask", "body:$.a=hash"], request(body))
    assert json.loads(result.request.body) == {"a": digest(b'{"a":{"b":"s3cret"}}')}


def test_one_value_has_one_hash_wherever_it_stands() -> None:
    asked = request(b'{"customer":"c 17"}', JSON + b"X-Customer: c 17\r\n", b"/p?customer=c+17")
    result = redact(["body:$.customer=hash", "header:x-customer=hash", "query:customer=hash"], asked)
    assert stored_bytes(result).count(digest(b"c 17").encode()) == 4  # the fourth: the decoded column


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        (b"<html>s3cret</html>", {}, "it is not JSON"),
        (b'{"name": "s3cret', {}, "it is not JSON"),
        (b'{"a": {"name": "s3cret"}, "a": {}}', {}, "it names a member twice"),
        (b'{"a": {"name": "s3cret"}, "a": {"\\u003a": 1}}', {}, "it names a member twice"),
        (b'{"name": "s3cret", "x": "\\ud800"}', {}, "it is not JSON"),
        (b"[" * 3000 + b"s3cret", {}, "it is not JSON"),
        (b'{"name": "s3cret"}', {"length": 99, "sha256": b"h" * 32}, "it was cut when it was recorded"),
        (b'{"name": "s3cret"}', {"length": 99}, "it was cut when it was recorded"),
        (b'{"name": "s3cret"}', {"complete": False}, "it did not arrive whole"),
    ],
)
def test_a_body_that_cannot_be_looked_into_is_dropped_whole(
    body: bytes, more: dict[str, Any], reason: str
) -> None:
    rules = ["request.body:$.name=mask"]
    result = redact(rules, request(body, **more))
    assert result.request.body == b""
    assert result.request.sha256 is None
    assert said(result.redacted) == {"rules": rules, "dropped": {"request_body": reason}}


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"br", b"s3cret"),
        (b"gzip", b"s3cret"),
        (b"gzip", gzip.compress(b'{"name":"s3cret"}', mtime=0)[:-3]),
        (b"s3cret", b"s3cret"),
        (b"gzip", gzip.compress(b" " * (2 << 20) + b'{"name":"s3cret"}', mtime=0)),
    ],
)
def test_an_unreadable_content_coding_drops_the_body(coding: bytes, body: bytes) -> None:
    for rule in ("request.body:$.name=mask", "regex:nothing here=mask"):
        result = redact([rule], request(body, b"Content-Encoding: " + coding + b"\r\n"))
        assert result.request.body == b""
        assert "s3cret" not in (result.redacted or "")


def test_a_coded_body_is_stored_uncoded_only_if_a_rule_hit() -> None:
    coded = gzip.compress(b'{"name": "Ann", "age": 41}')
    asked = request(coded, JSON + b"Content-Encoding: gzip\r\n")
    assert redact(["body:$.other=mask", SSN], asked).request is asked
    result = redact(["body:$.name=mask"], asked)
    assert result.request.body == b'{"name":"***","age":41}'
    assert b"ncoding" not in result.request.head
    assert said(result.redacted)["uncoded"] == ["request_body"]
    assert result.observation is not None
    assert result.observation.inputs["age"] == [41]


@pytest.mark.parametrize(
    ("headers", "body", "after"),
    [
        (JSON, b'{"a": "x 123-45-6789 y"}', b'{"a": "x *** y"}'),
        (JSON, b'{"123-45-6789": "1\\u00323-45-6789"}', b'{"***": "***"}'),
        (JSON, b'{"url": "/p?s=123%2D45%2d6789"}', b'{"url": "***"}'),
        (JSON, b'\xef\xbb\xbf"123-45-6789"', b'"***"'),
        (b"", b"ssn 123-45-6789, 987-65-4321", b"ssn ***, ***"),
        (b"Content-Type: text/plain; charset=latin-1\r\n", b"\xfc 123-45-6789", b"\xfc ***"),
        (FORM, b"name=x&ssn=%31%32%33-45-6789&b=a+b", b"name=x&ssn=***&b=a+b"),
        (b"Content-Type: application/x-ndjson\r\n", b'{"a":"123-45-6789"}\n{"a":1}', b'{"a":"***"}\n{"a":1}'),
    ],
)
def test_a_regular_expression_is_replaced_in_place(headers: bytes, body: bytes, after: bytes) -> None:
    assert redact([SSN], request(body, headers)).request.body == after


def test_a_number_that_matches_becomes_a_string_or_null() -> None:
    asked = request(b'{"a": [1, 123456789, true], "b": "x 123456789"}')
    masked = redact([r"regex:\d{9}=mask"], asked).request.body
    assert masked == b'{"a": [1, "***", true], "b": "x ***"}'
    dropped = redact([r"regex:\d{9}=drop"], asked).request.body
    assert dropped == b'{"a": [1, null, true], "b": "x "}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b'{"ssn": "s3cret", "a": 1}'),
        (b"", b'data: {"x": "\\u00733cret"}\n\n'),
        (b"", b"ssn=%733cret"),
        (b"Content-Type: text/plain; charset=utf-16\r\n", "s3cret".encode("utf-16")),
        (b"", "s3cret".encode("utf-16-le")),
        (b"Content-Type: image/png\r\n", b"\x89PNG s3cret"),
    ],
)
def test_text_that_a_regular_expression_cannot_rewrite_is_dropped_whole(headers: bytes, body: bytes) -> None:
    rule = 'regex:"ssn": "[^"]*"|s3cret=mask'
    result = redact([rule], request(body, headers))
    assert result.request.body == b""
    assert "request_body" in said(result.redacted)["dropped"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"GET /people/123-45-6789 HTTP/1.1\r\n\r\n", b"GET /people/*** HTTP/1.1\r\n\r\n"),
        (b"GET /p/%31%32%33-45-6789?a=1 HTTP/1.1\r\n\r\n", b"GET /p/***?a=1 HTTP/1.1\r\n\r\n"),
        (b"GET /p?s=123%252D45%252D6789&b=2 HTTP/1.1\r\n\r\n", b"GET /p?s=***&b=2 HTTP/1.1\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nX-A: b 123-45-6789\r\nX-B: c\r\n\r\n", b"GET / HTTP/1.1\r\nX-A: b ***\r\nX-B: c\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nX-A: 123-45%2D6789\r\n\r\n", b"GET / HTTP/1.1\r\nX-A: ***\r\n\r\n"),
    ],
)  # fmt: skip
def test_a_regular_expression_holds_in_heads_and_targets(before: bytes, after: bytes) -> None:
    assert redact([SSN], Message(before, b"")).request.head == after


def test_a_status_line_keeps_its_code() -> None:
    answered = Message(b"HTTP/1.1 200 id 200\r\n\r\n", b"")
    assert (
        redact([r"regex:\b200\b=mask"], request(), answered).response.head == b"HTTP/1.1 200 id ***\r\n\r\n"
    )


def test_a_pattern_of_digits_leaves_fresh_digests_alone() -> None:
    rules = ["body:$.id=hash", "query:id=hash", r"regex:\d=mask"]
    result = redact(rules, request(b'{"id": "x"}', target=b"/p?id=x"))
    assert digest(b"x").encode() in result.request.body
    assert digest(b"x").encode() in result.request.head
    assert result.observation is not None
    assert result.observation.inputs == {"id": [digest(b"x")]}


def test_a_number_that_only_the_decoder_spells_out_is_not_stored_decoded() -> None:
    result = redact([r"regex:123456789=mask"], request(b'{"ssn": 1.23456789e8}'))
    assert result.observation is None
    assert said(result.redacted)["dropped"] == {"decoded": "a regular expression matches a decoded value"}


def test_hash_needs_a_key() -> None:
    with pytest.raises(ConfigError, match=r"header:x-a=hash: there is no hash key"):
        Redactor([parse_rule("header:x-a=hash")], open_body)
    with pytest.raises(ConfigError, match="at least 16"):
        Redactor([], open_body, b"short")


def test_a_fault_in_an_opener_drops_the_body_and_logs_no_value(caplog: pytest.LogCaptureFixture) -> None:
    def broken(message: Message) -> bytes:
        raise zlib.error(f"s3cret {message.body!r}")

    tool = Redactor([parse_rule("body:$.a=mask")], broken, KEY)
    result = tool.redact(request(b'{"a":"s3cret"}'), response(b""), None, observe)
    assert result.request.body == b""
    assert "s3cret" not in caplog.text
    assert "error" in caplog.text
    assert "s3cret" not in (result.redacted or "")


def test_the_root_can_be_dropped_or_masked() -> None:
    assert redact(["response.body:$=drop"], request(b"{}")).response.body == b""
    assert redact(["response.body:$=mask"], request(b"{}")).response.body == b'"***"'


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="257 rules"):
        redactor(*(f"header:x-{number}=drop" for number in range(257)))


def test_a_fault_in_a_rule_empties_the_exchange_and_logs_no_value(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        def finditer(self, text: str, timeout: float) -> None:
            raise RuntimeError(text)

    sound = parse_rule("regex:x=mask")
    rule = replace(sound, where=replace(sound.where, pattern=cast(Pattern, Faulty())))
    tool = Redactor([rule], open_body, KEY)
    result = tool.redact(request(b"{}", target=b"/s3cret"), response(), None, observe)
    assert b"s3cret" not in stored_bytes(result)
    assert said(result.redacted)["dropped"] == {"exchange": "a rule failed on it"}
    assert "RuntimeError" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_lone_surrogate_beside_a_match_is_no_fault() -> None:
    body = b'{"a": "\\ud83d s3cret\\u002d1"}'
    assert b"s3cret" not in redact([r"regex:s3cret-\d=hash"], request(body)).request.body


def test_a_query_that_finds_the_same_places_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.privacy.jsonpath.LONGEST_S", 0.2)
    body = b'{"n": ' + b"[" * 60 + b"]" * 60 + b"}"
    began = time.thread_time()
    result = redact(["request.body:$..*..*..*..*..*=mask"], request(body))
    assert time.thread_time() - began < 5.0
    assert result.request.body == b""
    assert said(result.redacted)["dropped"] == {"request_body": "a JSONPath could not be run over it"}

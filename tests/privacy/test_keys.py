from __future__ import annotations

import gzip
import hashlib
import hmac

import pytest

from sidecar.privacy.keys import SUBJECT_SEPARATOR, KeyReader, parse_key, parse_subject
from sidecar.records import Message
from tests.privacy.exchanges import JSON, KEY, open_body, redact, request, response


def reader(*rules: str, subject: str | None = None, hash_key: bytes | None = None) -> KeyReader:
    where = parse_subject(subject) if subject else None
    return KeyReader([parse_key(rule) for rule in rules], open_body, hash_key, where)


@pytest.mark.parametrize(
    ("rule", "body", "expected"),
    [
        ("id=request.body:$.applicant.id", b'{"applicant": {"id": "A-17"}}', {"id": "A-17"}),
        ("id=body:$.n", b'{"n": 42}', {"id": "42"}),
        ("id=body:$.n", b'{"n": 12345678901234567}', {"id": "12345678901234567"}),
        ("id=body:$.n", b'{"n": 123456789012345678901234}', {"id": "123456789012345678901234"}),
        ("id=body:$.n", b'{"n": true}', {"id": "true"}),
        ("id=body:$.n", b'{"n": null}', None),
        ("id=body:$.n", b'{"n": ["a"]}', None),
        ("id=body:$.n", b'{"n": ""}', None),
        ("id=body:$.n", b'{"n": "' + b"x" * 257 + b'"}', None),
        ("id=body:$.n", b"not JSON", None),
        ("id=body:$.n", b'{"n": "a", "x": NaN}', {"id": "a"}),
        ("id=body:$..id", b'[{"id": 1}, {"id": 2}, {"id": 1}]', {"id": "1", "id.2": "2"}),
        ("id=header:X-Order", b"{}", {"id": "o 9"}),
        ("id=response.body:$.score", b"{}", {"id": "0.5"}),
        ("id=response.header:x-order", b"{}", None),
    ],
)
def test_a_key_is_read_as_text(rule: str, body: bytes, expected: dict[str, str] | None) -> None:
    asked = request(body, JSON + b"X-Order: o 9\r\n")
    assert reader(rule).keys(asked, response()) == expected


def test_two_rules_of_one_name_and_a_coded_body() -> None:
    asked = request(gzip.compress(b'{"a": "1"}'), JSON + b"Content-Encoding: gzip\r\nX-A: 2\r\n")
    assert reader("k=body:$.a", "k=header:x-a", "o=body:$.a").keys(asked, response()) == {
        "k": "1",
        "k.2": "2",
        "o": "1",
    }


def test_hashed_keys_are_the_hmac_of_the_text() -> None:
    tool = reader("id=body:$.n", hash_key=KEY)
    assert tool.from_original
    assert tool.keys(request(b'{"n": 42}'), response()) == {
        "id": hmac.new(KEY, b"42", hashlib.sha256).hexdigest()
    }


def test_a_redacted_value_does_not_come_back_as_a_key() -> None:
    body = b'{"name": "Ann", "id": "A-17"}'
    result = redact(["body:$.name=mask", "body:$.id=hash"], request(body))
    tool = reader("name=body:$.name", "id=body:$.id")
    assert not tool.from_original
    keys = tool.keys(result.request, result.response)
    assert keys == {"id": hmac.new(KEY, b"A-17", hashlib.sha256).hexdigest()}


@pytest.mark.parametrize(
    ("where", "body", "expected"),
    [
        ("request.body:$.id", b'{"id": 7}', "7"),
        ("request.body:$[*].id", b'[{"id": "b"}, {"id": "a"}, {"id": "b"}]', "a" + SUBJECT_SEPARATOR + "b"),
        ("header:x-who", b"{}", "ann"),
        ("request.body:$.id", b"{}", None),
        ("request.body:$.id", b'{"id": "a\\u0000b"}', "ab"),
    ],
)
def test_the_subject_is_read_from_body_or_header(where: str, body: bytes, expected: str | None) -> None:
    assert reader(subject=where).subject(request(body, JSON + b"X-Who: ann\r\n"), response()) == expected


@pytest.mark.parametrize("name", ["zoë".encode(), "zoë".encode("latin-1")])
def test_a_name_in_a_header_is_the_same_key_as_in_a_body(name: bytes) -> None:
    asked = request(b"{}", JSON + b"X-Who: " + name + b"\r\n")
    assert reader("who=header:x-who").keys(asked, response()) == {"who": "zoë"}


def test_nothing_configured_reads_nothing() -> None:
    silent = reader()
    cut = Message(b"POST / HTTP/1.1\r\n\r\n", b"{", length=9, sha256=b"h" * 32)
    assert silent.keys(cut, response()) is None
    assert silent.subject(cut, response()) is None
    assert reader("id=body:$.n", subject="body:$.n").keys(cut, cut) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id",
        "=body:$.a",
        "i d=body:$.a",
        "id=$.a",
        "id=query:a",
        "id=regex:a",
        "id=body:a",
        "id=header:x-*",
    ],
)
def test_a_wrong_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|does|has|names) "):
        parse_key(text)

"""A secret planted anywhere that a rule covers is in no output, in none of its usual encodings."""

from __future__ import annotations

import base64
import gzip
import json
import sys
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.privacy.redact import Redaction
from sidecar.records import Message
from tests.privacy.exchanges import JSON, open_body, redact, request, response, stored_bytes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SECRET = "Zoë Q-4711-Qx"
"""With a space, letters that percent-encoding changes, and what JSON may escape."""
PATTERN = r"Zo(ë|Ã«) Q-\d{4}-Qx"
actions = st.sampled_from(["drop", "mask", "hash"])
Writer = Callable[[str], str]


def fully_escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


def half_escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04X}" if index % 2 else letter for index, letter in enumerate(text))


def fully_percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


JSON_SPELLINGS: list[Writer] = [str, fully_escaped, half_escaped, lambda text: json.dumps(text)[1:-1]]
URL_SPELLINGS: list[Writer] = [quote, quote_plus, fully_percent, lambda text: quote(quote(text))]
CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"": bytes,
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"zstd": zstd.compress,
    b"gzip, zstd": lambda body: zstd.compress(gzip.compress(body)),
}

plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def assert_gone(result: Redaction, secret: str = SECRET) -> None:
    """No piece of the outputs holds the secret, also when bodies are opened and escapes undone."""
    everything = stored_bytes(result)
    for message in (result.request, result.response):
        if message.body and b"\r\ncontent-encoding:" in message.head.lower():
            everything += open_body(message)
    spellings = [spell(secret) for spell in (*JSON_SPELLINGS, *URL_SPELLINGS)]
    for spelling in {*spellings, secret.replace(" ", "+"), base64.b64encode(secret.encode()).decode()}:
        for encoding in ("utf-8", "latin-1", "utf-16-le"):
            needle = spelling.encode(encoding)
            assert needle not in everything, (spelling, encoding)
            assert needle.lower() not in everything.lower()


@st.composite
def bodies_with_secret(draw: st.DrawFn) -> tuple[str, bytes]:
    """A JSON body with the secret somewhere below `who`, as its writers spell it, and the rule's path."""
    filler = draw(
        st.dictionaries(st.text(max_size=6).filter(lambda name: name != "who"), plain_json, max_size=3)
    )
    shape = draw(st.sampled_from(["scalar", "list", "object", "deep"]))
    marker = "@@SECRET@@"
    shapes: dict[str, tuple[object, str]] = {
        "scalar": (marker, "$.who"),
        "list": ([1, marker, {"x": marker}], "$.who[1, 2]"),
        "object": ({"name": marker, "age": 4}, "$.who.name"),
        "deep": ({"a": [{"name": marker}, {"b": {"name": marker}}]}, "$..name"),
    }
    value, path = shapes[shape]
    members: list[tuple[str, object]] = [*filler.items()]
    members.insert(draw(st.integers(0, len(members))), ("who", value))
    text = json.dumps(
        dict(members),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([None, (",", ":")])),
        indent=draw(st.sampled_from([None, 1])),
    )
    text = text.replace(marker, draw(st.sampled_from(JSON_SPELLINGS))(SECRET))
    return path, text.encode("utf-8", "replace")


@settings(max_examples=150, deadline=None)
@given(
    bodies_with_secret(), actions, st.sampled_from(sorted(CODINGS)), st.sampled_from(["request", "response"])
)
def test_in_a_json_body(made: tuple[str, bytes], action: str, coding: bytes, side: str) -> None:
    path, body = made
    headers = JSON + (b"Content-Encoding: " + coding + b"\r\n" if coding else b"")
    coded = CODINGS[coding](body)
    asked, answered = (
        (request(coded, headers), response())
        if side == "request"
        else (request(b"{}"), response(coded, headers))
    )
    assert_gone(redact([f"{side}.body:{path}={action}"], asked, answered))
    assert_gone(redact([f"regex:{PATTERN}={action}"], asked, answered))


@settings(max_examples=150, deadline=None)
@given(bodies_with_secret(), actions, st.sampled_from(sorted(CODINGS)), st.data())
def test_in_a_body_cut_anywhere(
    made: tuple[str, bytes], action: str, coding: bytes, data: st.DataObject
) -> None:
    path, body = made
    headers = JSON + (b"Content-Encoding: " + coding + b"\r\n" if coding else b"")
    coded = CODINGS[coding](body)
    kept = coded[: data.draw(st.integers(0, len(coded) - 1))]
    rules = data.draw(st.sampled_from([[f"body:{path}={action}"], [f"regex:{PATTERN}={action}"]]))
    for message in (
        request(kept, headers, length=len(coded), sha256=b"h" * 32),
        request(kept, headers, complete=False),
    ):
        result = redact(rules, message)
        assert result.request.body == b""
        assert result.request.sha256 is None
        assert_gone(result)
    # As if it were whole: the framing was satisfied, the content is not.
    if kept != b"" and (coding or rules[0].startswith("body")):
        result = redact(rules, request(kept, headers))
        assert result.request.body == b""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([b"a=1", b"b", b"=", b"email", b"x=%zz", b""]), max_size=4),
    st.sampled_from(URL_SPELLINGS),
    st.sampled_from(["email", "%65mail", "EMAIL", "+email"]),
    st.sampled_from([b"&", b";"]),
    actions,
    st.data(),
)
def test_in_a_query(
    others: list[bytes], spell: Writer, key: str, separator: bytes, action: str, data: st.DataObject
) -> None:
    pairs = [*others]
    pairs.insert(data.draw(st.integers(0, len(pairs))), f"{key}={spell(SECRET)}".encode())
    target = b"/p?" + separator.join(pairs)
    asked = request(b'{"a":1}', JSON + b"Referer: http://h" + target + b"\r\n", target)
    result = redact([f"query:email={action}"], asked)
    assert_gone(result)
    assert result.request.body is asked.body
    assert_gone(redact([f"regex:{PATTERN}={action}"], asked))


names = st.text(st.sampled_from("abcXYZ-09"), min_size=1, max_size=8).map(lambda name: "X" + name)
values = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(names, values), max_size=4),
    st.sampled_from(["X-Who", "x-who", "X-WHO "]),
    st.sampled_from([": ", ":", ":\t", ":\r\n "]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from(["utf-8", "latin-1"]),
    st.sampled_from(["head", "interim", "trailers", "unframed"]),
    actions,
    st.data(),
)
def test_in_a_header(
    others: list[tuple[str, str]],
    name: str,
    colon: str,
    end: str,
    encoding: str,
    place: str,
    action: str,
    data: st.DataObject,
) -> None:
    lines = [f"{other}: {value}" for other, value in others]
    lines.insert(data.draw(st.integers(0, len(lines))), name + colon + SECRET)
    fields = "".join(line + end for line in lines).encode(encoding) + b"\r\n"
    answered = {
        "head": lambda: Message(b"HTTP/1.1 200 OK\r\n" + fields, b"{}", length=2),
        "interim": lambda: response(interim=b"HTTP/1.1 103 E\r\n" + fields),
        "trailers": lambda: response(trailers=fields),
        "unframed": lambda: Message(b"", b"HTTP/1.1 200 OK\r\n" + fields[:-3], length=9, complete=False),
    }[place]()
    assert_gone(redact([f"header:x-who={action}"], request(), answered))
    if place != "unframed":
        assert_gone(redact([f"regex:{PATTERN}={action}"], request(), answered))


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=30),
    st.text(max_size=30),
    st.sampled_from([str, *JSON_SPELLINGS, *URL_SPELLINGS]),
    actions,
)
def test_a_regular_expression_in_free_text(before: str, after: str, spell: Writer, action: str) -> None:
    body = (before + " " + spell(SECRET) + " " + after).encode("utf-8", "replace")
    asked = request(body, b"Content-Type: text/plain\r\n")
    assert_gone(redact([f"regex:{PATTERN}={action}"], asked))


@settings(max_examples=100, deadline=None)
@given(plain_json, st.sampled_from(["body:$..none_of_them=mask", "regex:Zoë Q=mask", "query:none=drop"]))
@example("[", "body:$..none_of_them=mask")
@example('{"none_of_them": 1}', "body:$..none_of_them=mask")
def test_whatever_no_rule_names_comes_back_identical(value: object, rule: str) -> None:
    body = json.dumps(value).encode()
    asked = request(body)
    result = redact([rule], asked)
    assert result.request is asked
    assert result.redacted is None


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=5), plain_json, max_size=4), st.booleans())
def test_the_rest_of_a_rewritten_body_means_the_same(filler: dict[str, object], compact: bool) -> None:
    filler.pop("who", None)
    before = {**filler, "who": SECRET, "z": 1}
    body = json.dumps(before, separators=(",", ":") if compact else None).encode()
    result = redact(["body:$.who=mask"], request(body))
    # As text: NaN equals itself, 1 and 1.0 differ.
    assert json.dumps(json.loads(result.request.body)) == json.dumps({**before, "who": "***"})

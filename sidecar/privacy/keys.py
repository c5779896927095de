"""Business keys of an exchange (`keys` setting) and the person it is about (`subject`).

A key is `NAME=WHERE`, for example `applicant=request.body:$.applicant.id` or
`order=header:x-order-id`; a subject is a WHERE alone. Both read from the
messages they are given: without a hash key hand in the redacted ones, so that
a redacted value cannot come back as a key (see `KeyReader.from_original`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.errors import DecodeError
from sidecar.privacy.bodies import OpenBody
from sidecar.privacy.jsonpath import Unresolved, value_at
from sidecar.privacy.replacement import MASK, keyed_hash, value_bytes
from sidecar.privacy.rules import Target, Where, parse_where
from sidecar.records import Message

MAX_KEYS: Final = 32
MAX_VALUES: Final = 16
"""Values of one key in one exchange; more are left out."""
MAX_VALUE_CHARACTERS: Final = 256
"""A longer value is no key and is left out."""
SUBJECT_SEPARATOR: Final = "\0"
"""Stands between the subjects of an exchange that is about several people."""

_BEYOND_64_BITS: Final = 2.0**63
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,47}")
_READABLE = (Target.BODY, Target.HEADER)


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One business key; `text` is its one-line form."""

    text: str
    name: str
    where: Where


def parse_key(text: str) -> KeyRule:
    """The key in one line of text. Raises ValueError, phrased to follow the offending text."""
    name, equals, place = text.partition("=")
    if not equals or not _NAME.fullmatch(name.strip()):
        raise ValueError(
            "is no key: write NAME=WHERE, for example applicant=request.body:$.applicant.id, "
            "with 1 to 48 letters, digits, _ and - as the name"
        )
    return KeyRule(text, name.strip(), _one_place(place))


def parse_subject(text: str) -> Where:
    """Where the subject stands. Raises ValueError, phrased to follow the offending text."""
    return _one_place(text)


def _one_place(text: str) -> Where:
    where = parse_where(text.strip(), _READABLE)
    if where.target is Target.HEADER and "*" in where.selector:
        raise ValueError("names many headers with its *: write the name of one")
    return where


class KeyReader:
    """Reads keys and subjects out of exchanges."""

    def __init__(
        self,
        rules: Sequence[KeyRule],
        open_body: OpenBody,
        hash_key: bytes | None = None,
        subject: Where | None = None,
    ) -> None:
        """`hash_key`: keys are stored as HMAC-SHA256 in hex instead of as they are."""
        self._rules = tuple(rules)
        self._open = open_body
        self._hash_key = hash_key
        self._subject = subject
        self.from_original = hash_key is not None
        """Whether `keys` wants the messages before redaction: digests give nothing away."""

    def keys(self, request: Message, response: Message) -> dict[str, str] | None:
        """Key name → value as text, further values as `NAME.2`, `NAME.3`; None if there is none."""
        if not self._rules:
            return None
        bodies = _Bodies(request, response, self._open)
        found: dict[str, str] = {}
        for rule in self._rules:
            texts = list(dict.fromkeys(_usable(bodies.values(rule.where))))[:MAX_VALUES]
            for text in texts:
                number = 1
                while (name := rule.name if number == 1 else f"{rule.name}.{number}") in found:
                    number += 1
                found[name] = text if self._hash_key is None else keyed_hash(self._hash_key, text.encode())
        return found or None

    def subject(self, request: Message, response: Message) -> str | None:
        """Whom the exchange is about, from the messages before redaction; None if it does not say.

        Several people are joined by SUBJECT_SEPARATOR: erasing any one of them erases the record.
        """
        if self._subject is None:
            return None
        bodies = _Bodies(request, response, self._open)
        texts = sorted(set(_texts(bodies.values(self._subject))))
        return SUBJECT_SEPARATOR.join(texts) or None


def _usable(values: Iterator[Any]) -> Iterator[str]:
    for text in _texts(values):
        if len(text) <= MAX_VALUE_CHARACTERS and text != MASK:
            yield text


def _texts(values: Iterator[Any]) -> Iterator[str]:
    """Scalars as text that can be stored; an empty one, null, lists and objects are no values."""
    for value in values:
        if isinstance(value, (str, int, float)):
            text = value_bytes(value).decode("utf-8", "replace").replace(SUBJECT_SEPARATOR, "")
            if text:
                yield text


def _header_text(latin: str) -> str:
    """A header's value as UTF-8 if it is, so that a name is the same key in a header and in a body."""
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return latin


class _Bodies:
    """The JSON bodies of one exchange, parsed at most once."""

    def __init__(self, request: Message, response: Message, open_body: OpenBody) -> None:
        self._messages = {"request": request, "response": response}
        self._open = open_body
        self._parsed: dict[str, Any] = {}

    def values(self, where: Where) -> Iterator[Any]:
        for side, message in self._messages.items():
            if not getattr(where, side):
                continue
            if where.target is Target.HEADER:
                for name, value in message.headers():
                    if name.strip().lower() == where.selector:
                        yield _header_text(value)
            elif where.path is not None:
                value = self._value(side)
                try:
                    locations = where.path.locations(value)
                except Unresolved:
                    continue
                for location in locations:
                    found = value_at(value, location)
                    if isinstance(found, float) and abs(found) >= _BEYOND_64_BITS:
                        # orjson rounds integers of that size, and numbers of customers can be as long.
                        try:
                            found = value_at(self._exact(message), location)
                        except (ValueError, RecursionError, MemoryError):
                            continue
                    yield found

    def _value(self, side: str) -> Any:
        """The side's JSON value; None, in which no key is found, if there is none."""
        if side not in self._parsed:
            self._parsed[side] = self._parse(self._messages[side])
        return self._parsed[side]

    def _parse(self, message: Message) -> Any:
        if not message.body:
            return None
        try:
            try:
                return orjson.loads(self._open(message))
            except orjson.JSONDecodeError:
                # NaN and the like, which Python's clients write.
                return self._exact(message)
        except (DecodeError, ValueError, RecursionError, MemoryError):
            return None

    def _exact(self, message: Message) -> Any:
        """The body's value with integers of any size."""
        return json.loads(self._open(message))

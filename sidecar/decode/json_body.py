"""Bytes → JSON value, strictly first, with the leniency that Python clients need second."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from sidecar.errors import DecodeError

_BOM = b"\xef\xbb\xbf"


def parse_json(body: bytes, what: str) -> Any:
    """The JSON value in `body`; `what` names the body in errors.

    A UTF-8 byte order mark is skipped. NaN and the infinities, which no JSON
    has but Python's `json.dumps` writes for missing values, are read as such.
    Of repeated keys the last one counts. Integers beyond 64 bits become floats.
    A charset parameter changes nothing: JSON is UTF-8 (RFC 8259 sections 8.1, 11).
    Raises DecodeError for anything else.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if body.startswith(_BOM):
            return parse_json(body[3:], what)
        if b"NaN" in body or b"Infinity" in body:
            return _parse_leniently(body, what)
        _refuse(what, body, error)


def _parse_leniently(body: bytes, what: str) -> Any:
    try:
        value = json.loads(body.decode("utf-8"), parse_int=_integer)
        # What orjson cannot write (lone surrogates, extreme nesting) no later stage could store.
        orjson.dumps(value)
    except (ValueError, RecursionError, TypeError) as error:
        _refuse(what, body, error)
    return value


def _integer(digits: str) -> int | float:
    # 20 characters hold every 64-bit integer, its sign included.
    value = int(digits) if len(digits) <= 20 else float(digits)
    return value if isinstance(value, float) or -(1 << 63) <= value < 1 << 64 else float(value)


def _refuse(what: str, body: bytes, error: Exception) -> NoReturn:
    if not body.strip():
        raise DecodeError(f"the {what} body is empty") from error
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as not_text:
            raise DecodeError(f"the {what} body is neither JSON nor UTF-8 text: {not_text.reason}") from error
    raise DecodeError(f"the {what} body is not JSON: {str(error)[:120]}") from error

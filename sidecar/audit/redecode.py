"""Whether a record's bodies still say what was decoded from them when they were sealed."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import orjson

from sidecar.decode.registry import NAMES, Decoding
from sidecar.errors import DecodeError
from sidecar.records import Message

LIMIT_BYTES = 8 << 20


def disagreement(values: dict[str, Any]) -> str | None:
    """The body column that no longer decodes to the record's inputs or outputs; None when it cannot be told.

    A hint and no proof: another version of a decoder may read the same bytes otherwise.
    """
    decoder, redacted = values["decoder"], values["redacted"]
    if decoder not in NAMES or redacted is not None or values["inputs"] is None:
        return None
    if not (values["request_complete"] and values["response_complete"]):
        return None
    request = Message(values["request_head"] or b"", values["request_body"] or b"")
    response = Message(values["response_head"] or b"", values["response_body"] or b"")
    try:
        found = _decoding(str(decoder)).observe(str(values["path"] or "/"), request, response)
    except DecodeError as error:
        return "response_body" if "response" in str(error) else "request_body"
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return None
    if not _same(values["inputs"], found.inputs):
        return "request_body"
    return None if _same(values["outputs"], found.outputs) else "response_body"


@lru_cache(8)
def _decoding(name: str) -> Decoding:
    return Decoding(name, LIMIT_BYTES)


def _same(stored: str | None, found: dict[str, list[Any]]) -> bool:
    try:
        again = orjson.loads(orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS))
        return bool(orjson.loads(stored or "{}") == again)
    except (TypeError, ValueError):
        # Numbers that orjson refuses are not worth a doubt.
        try:
            return bool(json.loads(stored or "{}") == found)
        except ValueError:
            return True

"""What stands in the record in place of a redacted value."""

from __future__ import annotations

import hmac
import json
from typing import Any, Final

import orjson

from sidecar.errors import ConfigError
from sidecar.privacy.rules import Action

MASK: Final = "***"
LEAST_KEY_BYTES: Final = 16


def keyed_hash(key: bytes, value: bytes) -> str:
    """HMAC-SHA256 in hex: equal values stay equal, and only who has the key can try guesses."""
    return hmac.digest(key, value, "sha256").hex()


def value_bytes(value: Any) -> bytes:
    """What of a JSON value is hashed: a text as it is, anything else as compact JSON with sorted keys.

    So a customer number has one hash, whether it came in a header, a query or a body.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Integers beyond 64 bits.
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


class Replacer:
    """Gives the replacement for a value under an action."""

    def __init__(self, key: bytes | None) -> None:
        """`key` is needed for `hash` only. Raises ConfigError if it is too short."""
        if key is not None and len(key) < LEAST_KEY_BYTES:
            raise ConfigError(
                f"hash key: {len(key)} bytes, at least {LEAST_KEY_BYTES} are needed: make a longer one"
            )
        self._key = key

    def text(self, action: Action, value: bytes) -> str:
        """Text to put where a text stood; empty for `drop`."""
        if action is Action.HASH:
            return self.hash(value)
        return MASK if action is Action.MASK else ""

    def hash(self, value: bytes) -> str:
        """The keyed hash. Raises ConfigError without a key."""
        if self._key is None:
            raise ConfigError("redaction: a rule hashes, but there is no hash key: set one")
        return keyed_hash(self._key, value)

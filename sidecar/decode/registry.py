"""Which decoder reads an exchange: the configured one, else by path, else by the looks of the request."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sidecar.decode.content import decoded_body
from sidecar.decode.json_body import parse_json
from sidecar.decode.mlflow import Mlflow
from sidecar.decode.open_inference import OpenInference
from sidecar.decode.payload import ABSENT, Decoder, Target
from sidecar.decode.plain_json import PlainJson
from sidecar.decode.tf_serving import TfServing
from sidecar.errors import ConfigError, DecodeError
from sidecar.records import Message, Observation

AUTO = "auto"
DECODERS: tuple[Decoder, ...] = (OpenInference(), TfServing(), Mlflow(), PlainJson())
"""In sniffing order."""
NAMES = (AUTO, *(decoder.name for decoder in DECODERS))

_NO_TARGET = Target()
_BY_NAME = {decoder.name: decoder for decoder in DECODERS}


class Decoding:
    """Reads observations out of exchanges; one for the analyst's life."""

    def __init__(self, name: str = AUTO, limit_bytes: int = 32 << 20) -> None:
        """Raises ConfigError if `name` is neither `auto` nor a decoder's."""
        if name not in NAMES:
            raise ConfigError(f"decoder: {name!r} is unknown; use one of {', '.join(NAMES)}")
        self._limit = limit_bytes
        self._forced = _BY_NAME.get(name)
        self._route = lru_cache(maxsize=1024)(self._find_route)

    def observe(self, path: str, request: Message, response: Message) -> Observation:
        """The observation in one exchange; `path` is the request's target, with or without a query.

        An answer with an error status, or none at all, leaves `outputs` empty.
        Raises DecodeError, with the reason, for whatever no decoder can read.
        """
        try:
            decoder, target = self._route(path) if len(path) < 2048 else self._find_route(path)
            body = decoded_body(request, self._limit)
            if not body:
                raise DecodeError("the request has no body")
            payload = parse_json(body, "request")
            if decoder is None:
                decoder = _by_looks(payload)
            return decoder.observe(target, payload, self._answer(response))
        except (MemoryError, RecursionError) as error:
            raise DecodeError(
                f"the exchange is too large or too deep to decode ({type(error).__name__})"
            ) from error

    def _find_route(self, path: str) -> tuple[Decoder | None, Target]:
        bare = path.partition("?")[0]
        for decoder in DECODERS:
            target = decoder.target(bare)
            if target is not None:
                return self._forced or decoder, target
        return self._forced, _NO_TARGET

    def _answer(self, response: Message) -> Any:
        # Only 2xx is the model speaking; "HTTP/1.1 200" has its first digit at 9.
        if response.head[9:10] != b"2":
            return ABSENT
        body = decoded_body(response, self._limit)
        return parse_json(body, "response") if body else ABSENT


def _by_looks(payload: Any) -> Decoder:
    for decoder in DECODERS:
        if decoder.fits(payload):
            return decoder
    raise DecodeError("the request is JSON, but neither an object nor a list of objects: no decoder fits")

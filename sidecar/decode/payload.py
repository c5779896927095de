"""What every decoder is handed and what it must offer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import unquote

from sidecar.records import Observation


class Absent:
    """The answer of an exchange that has none: an error status, an abort, an empty 204."""


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Target:
    """What a request's path says about who is to answer."""

    model: str | None = None
    version: str | None = None

    @classmethod
    def matched(cls, pattern: re.Pattern[str], path: str) -> Target | None:
        """From the pattern's groups `model` and `version`, unquoted; None for a path that is not of it."""
        match = pattern.fullmatch(path)
        if match is None:
            return None
        version = match["version"]
        return cls(unquote(match["model"]), unquote(version) if version else None)


class Decoder(Protocol):
    """One wire format. Stateless: the same payloads always give the same observation."""

    @property
    def name(self) -> str:
        """As the setting `decoder` and the records spell it."""
        ...

    def target(self, path: str) -> Target | None:
        """What `path` (no query) names, if it belongs to this format alone."""
        ...

    def fits(self, request: Any) -> bool:
        """Whether the request's JSON value looks like this format, whatever the path."""
        ...

    def observe(self, target: Target, request: Any, answer: Any) -> Observation:
        """The observation in two JSON values; `answer` is `ABSENT` if there was none.

        Every list in it has as many values as there are instances. Without an
        answer `outputs` is empty. Raises DecodeError and nothing else.
        """
        ...

"""Where alerts go: the address of a receiver, whose scheme tells what it understands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit


class Kind(Enum):
    """What a receiver understands."""

    ALERTMANAGER = "alertmanager"
    """Alertmanager's API v2."""
    WEBHOOK = "webhook"
    """Signed JSON."""
    CLOUDEVENTS = "cloudevents"
    """CloudEvents 1.0, structured."""


REMEDY = "write alertmanager+https://HOST:PORT, webhook+https://HOST/PATH or cloudevents+https://HOST/PATH"
_ALERTS = "/api/v2/alerts"


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver."""

    kind: Kind
    url: str
    """What is posted to."""

    @property
    def shown(self) -> str:
        """Kind and host: the path of a webhook may be a secret."""
        parts = urlsplit(self.url)
        return f"{self.kind.value}+{parts.scheme}://{parts.netloc}"


def parse_target(text: str) -> Target:
    """`KIND+http(s)://HOST[:PORT][/PATH]`. Raises ValueError with words that follow the offending text."""
    scheme, mark, rest = text.partition("://")
    kind, plus, transport = scheme.lower().partition("+")
    if not mark or not plus or kind not in {each.value for each in Kind}:
        raise ValueError(f"says no kind of receiver: {REMEDY}")
    if transport not in ("http", "https"):
        raise ValueError(f"has the transport {transport[:20]!r}: {REMEDY}")
    try:
        parts = urlsplit(f"{transport}://{rest}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no address: {REMEDY}") from error
    if not host or not rest.isprintable() or " " in rest:
        raise ValueError(f"has no host: {REMEDY}")
    if "@" in parts.netloc:
        raise ValueError(
            "carries a user name or password, which would be shown: put a proxy in front that adds them"
        )
    if parts.fragment:
        raise ValueError(f"carries a fragment: {REMEDY}")
    known = Kind(kind)
    url = parts.geturl()
    if known is Kind.ALERTMANAGER:
        if parts.query:
            raise ValueError(f"carries a query: {REMEDY}")
        url = url.rstrip("/").removesuffix(_ALERTS) + _ALERTS
    return Target(known, url)

"""How the text of a setting becomes a value: addresses, durations, sizes, digests, names.

Each parser takes the text as written and raises ValueError with words that
follow the offending text in a message: what is wrong with it, and the remedy.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import msgspec

_HOST_NAME = re.compile(
    r"^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?$"
)
_RATE = re.compile(r"\s*([0-9]{1,6})\s+per\s+(\S+)\s*")
_DURATION = re.compile(r"^([0-9]+(?:\.[0-9]+)?)\s?(us|ms|s|m|h|d)$")
_SIZE = re.compile(r"^([0-9]{1,30}(?:\.[0-9]{1,30})?)\s?([A-Za-z]*)$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_ROUTE_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,47}$")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


EVERY_ADDRESS = "*"
"""Host of an address to listen on: IPv4 and IPv6, as far as the machine has them."""


class Address(msgspec.Struct, frozen=True):
    """A TCP address: IP literal (no brackets) or host name, and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, allow_zero: bool = True) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT`; port 0 lets the kernel choose. Raises ValueError with the remedy."""
    host, colon, port_text = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host:
        raise ValueError("is no address: write HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080")
    if ":" in host and not bracketed:
        raise ValueError("is no address: write an IPv6 address in brackets, for example [::1]:8080")
    if (
        not re.fullmatch(r"[0-9]{1,5}", port_text)
        or int(port_text) > 65535
        or (int(port_text) == 0 and not allow_zero)
    ):
        raise ValueError(
            f"has no port from {0 if allow_zero else 1} to 65535 after its last colon: write HOST:PORT"
        )
    if bracketed:
        host = host[1:-1]
        # A template that fills in a pod's address cannot know its family: IPv4 may stand in brackets too.
        bracketed = re.fullmatch(r"[0-9.]+", host) is None
    if not _is_host(host, bracketed):
        raise ValueError("has no valid host: write an IP address or a host name before the port")
    return Address(host, int(port_text))


def parse_listen(text: str) -> Address:
    """An address to listen on: as `parse_address`, or `*:PORT` for every address of both families."""
    host, _, port = text.rpartition(":")
    if host != EVERY_ADDRESS:
        return parse_address(text)
    return Address(EVERY_ADDRESS, parse_address(f"localhost:{port}").port)


def _is_host(host: str, bracketed: bool) -> bool:
    # The ipaddress module would be one more to keep in the supervisor's memory; the C library knows as much.
    try:
        socket.inet_pton(
            socket.AF_INET6 if bracketed else socket.AF_INET, host.partition("%")[0] if bracketed else host
        )
    except OSError:
        return not bracketed and not re.fullmatch(r"[0-9.]+", host) and _HOST_NAME.match(host) is not None
    return True


def parse_upstream(text: str) -> Address:
    """`http://HOST[:PORT]` and nothing else, since bytes are forwarded as they are."""
    remedy = "write http://HOST:PORT"
    scheme, mark, rest = text.partition("://")
    if not mark:
        raise ValueError(f"has no scheme: {remedy}")
    if scheme.lower() == "https":
        raise ValueError(
            "is https: the sidecar sits on the same host as the model server and speaks plain HTTP to it; "
            + remedy
        )
    if scheme.lower() != "http":
        raise ValueError(f"has the scheme {scheme!r}, only http is known: {remedy}")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise ValueError(f"carries a user name or password, which would never be sent: {remedy}")
    if rest[len(authority) :] not in ("", "/"):
        raise ValueError(f"carries a path or query, but requests are forwarded unchanged: {remedy}")
    has_port = re.search(r":[0-9]*$", authority) if authority.endswith("]") is False else None
    return parse_address(authority if has_port else authority + ":80", allow_zero=False)


def parse_duration(text: str) -> float:
    """Seconds from `20ms`, `5s`, `1.5m`, `1h`, `2d`, `50us` or `0`."""
    if text == "0":
        return 0.0
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(
            "is no duration: write a number and a unit (us, ms, s, m, h, d), for example 200ms, or 0"
        )
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes from `64MiB` (2**20), `1GB` (10**9) or a plain number of bytes."""
    match = _SIZE.match(text)
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError(
            "is no size: write bytes or a number and a unit (kB, MB, GB, KiB, MiB, GiB), for example 64MiB"
        )
    return (
        int(float(match[1]) * _BYTES[match[2].lower()])
        if "." in match[1]
        else int(match[1]) * _BYTES[match[2].lower()]
    )


def parse_count(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError("is no whole number")
    return int(text)


def parse_digest(text: str) -> str:
    """`sha256:` and 64 lower-case hex digits."""
    if not _DIGEST.match(text):
        hint = (
            "write only what follows the @" if "@" in text else "write sha256: and 64 lower-case hex digits"
        )
        raise ValueError(f"is no digest: {hint}")
    return text


def parse_name(text: str, most: int = 128) -> str:
    """Text that can be shown and stored: 1 to `most` printable characters."""
    if not 1 <= len(text) <= most or not text.isprintable() or text != text.strip():
        raise ValueError(f"is no name: write 1 to {most} printable characters, without space at the ends")
    return text


def parse_line(text: str) -> str:
    """Any text of one line. Raises ValueError, phrased to follow it."""
    line = text.strip()
    if not line or "\n" in line or len(line) > 4096:
        raise ValueError("must be one line of text, at most 4096 characters")
    return line


def parse_label(text: str) -> str:
    """Text that names a place, as long as names may be in Kubernetes."""
    return parse_name(text, most=253)


def parse_route_name(text: str) -> str:
    """A name that can stand inside a record id and a file name."""
    if not _ROUTE_NAME.match(text):
        raise ValueError("is no route name: write 1 to 48 of a-z, 0-9 and -, not beginning with -")
    return text


def parse_path(text: str) -> str:
    """A path, not looked at."""
    if not text or "\0" in text:
        raise ValueError("is no path")
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser that takes one of these words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return text

    return parse


def parse_store(text: str) -> str:
    """A directory's path (also from `file:///PATH`), or the URL of a bucket or event receiver."""
    # Imported here, where a store is read: the other users of this module need none of it.
    from sidecar.shipping.location import Kind, locate

    location = locate(text)
    return location.path if location.kind is Kind.DIRECTORY else text


def parse_redaction(text: str) -> str:
    """A redaction rule, as written."""
    from sidecar.privacy.rules import parse_rule

    parse_rule(text)
    return text


def parse_alert_url(text: str) -> str:
    """The address of a receiver of alerts, as written."""
    from sidecar.alerting.target import parse_target

    parse_target(text)
    return text


def shown_alert_url(text: str) -> str:
    """A wrong one for a message: the path of a webhook may be a secret."""
    scheme, mark, rest = text.partition("://")
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return f"{scheme}{mark}{host}{'/…' if rest != host else ''}"[:80]


def parse_alert_rate(text: str) -> str:
    """`30 per 1m`, as written."""
    rate_of(text)
    return text


def rate_of(text: str) -> tuple[int, float]:
    """A number and seconds from `30 per 1m`. Raises ValueError, phrased to follow the text."""
    found = _RATE.fullmatch(text)
    try:
        seconds = parse_duration(found[2]) if found else 0.0
    except ValueError:
        seconds = 0.0
    if found is None or not int(found[1]) or not seconds:
        raise ValueError("is no rate: write a number and a time, for example 30 per 1m")
    return int(found[1]), seconds


def parse_business_key(text: str) -> str:
    """`NAME=WHERE`, as written."""
    from sidecar.privacy.keys import parse_key

    parse_key(text)
    return text


def parse_person(text: str) -> str:
    """Where an exchange says whom it is about, as written."""
    from sidecar.privacy.keys import parse_subject

    parse_subject(text)
    return text

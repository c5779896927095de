"""The name of a log: where it was written, on which route, in which boot; safe as a file name.

    <cluster>.<namespace>.<workload>.<pod uid>.<route>.<boot>[.<dead boot>]

The seventh part is there when the log seals what another boot left behind. An
empty part is `_`; a character outside A-Z a-z 0-9 _ - is written as `~HH` for
each of its UTF-8 bytes; a part longer than its limit keeps its beginning and
ends in `~` and the first 8 hex digits of its SHA-256.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sidecar.errors import LedgerError

LIMITS: Final[dict[str, int]] = {
    "cluster": 14,
    "namespace": 20,
    "workload": 26,
    "pod_uid": 36,
    "route": 16,
    "boot": 26,
    "dead_boot": 26,
}
"""Longest parts. All seven with their dots are 170: with the 79 characters that follow in a batch's
name, and 6 for a name while it is written, that is the 255 bytes that file systems allow."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_PART = re.compile(r"(?:[A-Za-z0-9_-]|~[0-9A-F]{2})+(?:~[0-9a-f]{8})?|~[0-9a-f]{8}")
_SHORTENED = re.compile(r"~[0-9a-f]{8}\Z")
_ESCAPED = re.compile(r"(?:~[0-9A-F]{2})+")
_HALF_ESCAPE = re.compile(r"~[0-9A-F]?\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sidecar runs; what is not known is empty."""

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    pod_uid: str = ""

    @property
    def prefix(self) -> str:
        """The first four parts of the origins of every log of this place; what an enrolment names."""
        parts = (("cluster", self.cluster), ("namespace", self.namespace), ("workload", self.workload))
        return ".".join(_part(name, text) for name, text in (*parts, ("pod_uid", self.pod_uid)))


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin taken apart. Parts that were too long are as shortened; see `shortened`."""

    text: str
    place: Place
    route: str
    boot: str
    """The boot whose key signs the log."""
    dead_boot: str | None
    """The boot whose exchanges it holds, where that is another."""
    shortened: frozenset[str]
    """Names of the parts that hold a beginning and a hash only."""

    @property
    def prefix(self) -> str:
        """As Place.prefix."""
        return self.text.rsplit(".", 2 if self.dead_boot is None else 3)[0]

    @property
    def boot_part(self) -> str:
        """The boot as it stands in the origin; what an enrolment names."""
        return self.text.split(".")[5]


def origin(place: Place, route: str, boot: str, dead_boot: str | None = None) -> str:
    """The origin of a log, at most 170 characters of A-Z a-z 0-9 . _ - ~"""
    parts = [place.prefix, _part("route", route), _part("boot", boot)]
    if dead_boot is not None:
        parts.append(_part("dead_boot", dead_boot))
    return ".".join(parts)


def parse(text: str) -> Origin:
    """Take an origin apart. Raises LedgerError for a text that `origin` never gives."""
    parts = text.split(".")
    if len(parts) not in (6, 7):
        raise LedgerError(f"origin {text[:200]!r}: {len(parts)} parts, not 6 or 7")
    values: list[str] = []
    shortened = set()
    for (name, limit), part in zip(LIMITS.items(), parts, strict=False):
        if len(part) > limit or not _PART.fullmatch(part):
            raise LedgerError(f"origin {text[:200]!r}: its {name} is not as origins are written")
        if _SHORTENED.search(part):
            shortened.add(name)
            values.append(part)
            continue
        value = _unescape(text, name, part)
        if _part(name, value) != part:
            raise LedgerError(f"origin {text[:200]!r}: its {name} is not as origins are written")
        values.append(value)
    cluster, namespace, workload, pod_uid, route, boot = values[:6]
    return Origin(
        text=text,
        place=Place(cluster, namespace, workload, pod_uid),
        route=route,
        boot=boot,
        dead_boot=values[6] if len(values) == 7 else None,
        shortened=frozenset(shortened),
    )


def _part(name: str, text: str) -> str:
    if not text:
        return "_"
    if text == "_":
        return "~5F"
    escaped = _UNSAFE.sub(_escape, text)
    limit = LIMITS[name]
    # A part that only looks like a shortened one is shortened too, so that the look means one thing.
    if len(escaped) <= limit and not _SHORTENED.search(escaped):
        return escaped
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{_HALF_ESCAPE.sub('', escaped[: limit - 9])}~{digest}"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"~{byte:02X}" for byte in match[0].encode(errors="surrogatepass"))


def _unescape(origin_text: str, name: str, part: str) -> str:
    if part == "_":
        return ""
    try:
        return _ESCAPED.sub(lambda match: bytes.fromhex(match[0].replace("~", "")).decode(), part)
    except UnicodeDecodeError as error:
        raise LedgerError(f"origin {origin_text[:200]!r}: its {name} is not UTF-8") from error

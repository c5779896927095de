"""Formats that texts often have, by name.

Each pattern is deterministic: the next character always tells which part of it
comes next, so that matching never backtracks.
"""

from __future__ import annotations

import re
from typing import Final

_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_ZONE = r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

FORMATS: Final[dict[str, re.Pattern[str]]] = {
    "date": re.compile(_DATE),
    "datetime": re.compile(f"{_DATE}[T ]{_TIME}{_ZONE}"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "email": re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+"),
    "ipv4": re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}"),
    "url": re.compile(r"https?://[^\s/?#]+[^\s]*"),
}
EXAMPLES: Final = {
    "date": "2026-11-25",
    "datetime": "2026-11-25T05:30:00Z",
    "uuid": "2b1c7a52-8f4e-4c1d-9a57-0d6f6c1e7f11",
    "email": "ada@example.org",
    "ipv4": "192.0.2.7",
    "url": "https://example.org/a?b=c",
}

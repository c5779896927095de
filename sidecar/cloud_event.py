"""A CloudEvents 1.0 event and its HTTP message (HTTP binding 1.0.2, sections 3.1 and 3.2)."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

STRUCTURED_TYPE = "application/cloudevents+json; charset=UTF-8"
_JSON = re.compile(r"^[^/;]+/(?:[^;]+\+)?json\s*(?:;.*)?$", re.IGNORECASE)
_HEADER_SAFE = "!#$&'()*+,-./:;<=>?@[]^_`{|}~\\"
"""Printable ASCII but space, double quote and percent (HTTP binding, section 3.1.3.2)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its attributes (without `datacontenttype`) and its data."""

    attributes: dict[str, str | int | bool]
    content_type: str | None
    data: bytes | None

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return f"{self.attributes['type']} {self.attributes['id']}"

    def message(self, mode: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of the HTTP request, in `structured` or `binary` mode."""
        return _binary(self) if mode == "binary" else _structured(self)


def _structured(event: Event) -> tuple[dict[str, str], bytes]:
    envelope: dict[str, Any] = dict(event.attributes)
    if event.data is not None:
        if event.content_type:
            envelope["datacontenttype"] = event.content_type
        if _is_json(event):
            # As it stands: read and written anew, long numbers and repeated names would change.
            envelope["data"] = orjson.Fragment(event.data)
        else:
            envelope["data_base64"] = b64encode(event.data).decode()
    return {"Content-Type": STRUCTURED_TYPE}, orjson.dumps(envelope)


def _is_json(event: Event) -> bool:
    """Whether the data is whole JSON text and said to be."""
    if event.data is None or not event.content_type or not _JSON.match(event.content_type):
        return False
    try:
        orjson.loads(event.data)
    except ValueError:
        return False
    return True


def _binary(event: Event) -> tuple[dict[str, str], bytes]:
    headers = {f"ce-{name}": _header_value(value) for name, value in event.attributes.items()}
    if event.content_type:
        headers["Content-Type"] = event.content_type.encode("ascii", "replace").decode()
    return headers, event.data or b""


def _header_value(value: str | int | bool) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return quote(text, safe=_HEADER_SAFE)


def timestamp(time_us: int | None) -> str | None:
    """RFC 3339 in UTC, as attributes of time are written."""
    if time_us is None:
        return None
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
    return moment.isoformat().replace("+00:00", "Z")

"""Stored exchanges as CloudEvents 1.0, with the types and extensions of KServe's inference logger.

One exchange gives an event of its request and, when it was answered with 200,
one of its response; both carry the record's id, as both of KServe's events
carry one id, so `type`, `source` and `id` together name an event for good.
KServe sends the binary content mode; structured is what this writes unless
told otherwise (CloudEvents HTTP binding 1.0.2, sections 3.1 and 3.2).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
STRUCTURED_TYPE = "application/cloudevents+json; charset=UTF-8"
_JSON = re.compile(r"^[^/;]+/(?:[^;]+\+)?json\s*(?:;.*)?$", re.IGNORECASE)
_HEADER_SAFE = "!#$&'()*+,-./:;<=>?@[]^_`{|}~\\"
"""Printable ASCII but space, double quote and percent (HTTP binding, section 3.1.3.2)."""

COLUMNS = (
    "record_id", "kind", "log", "route", "model", "image_digest", "artifact_digest",
    "t_request_us", "t_first_byte_us", "t_end_us", "method", "path", "status", "outcome",
    "request_head", "request_body", "request_body_length",
    "response_head", "response_body", "response_body_length", "wrapped_key",
)  # fmt: skip
"""What `of_row` reads; a column that is not there counts as null."""


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


def of_row(row: Mapping[str, Any], namespace: str = "") -> Iterator[Event]:
    """The events of one stored row; none for rows that are no exchanges."""
    if row["kind"] != "exchange":
        return
    yield _event(row, REQUEST, "request", row["t_request_us"], namespace)
    if row["status"] == 200:
        ended = row["t_end_us"] or row["t_first_byte_us"] or row["t_request_us"]
        yield _event(row, RESPONSE, "response", ended, namespace)


def _event(row: Mapping[str, Any], kind: str, side: str, time_us: int | None, namespace: str) -> Event:
    head: bytes = row[f"{side}_head"] or b""
    body: bytes | None = row[f"{side}_body"]
    length: int | None = row[f"{side}_body_length"]
    sealed = row["wrapped_key"] is not None
    coding = header(head, b"content-encoding") or ""
    attributes: dict[str, str | int | bool | None] = {
        "specversion": "1.0",
        "id": row["record_id"],
        "source": f"/sidecar/{row['log']}",
        "type": kind,
        "time": _time(time_us),
        "inferenceservicename": row["model"],
        "namespace": namespace,
        "component": "predictor",
        "endpoint": row["route"],
        "metadata": "{}",
        # Beyond KServe's: what a consumer of evidence needs to know.
        "modeldigest": row["image_digest"] or row["artifact_digest"],
        "httpmethod": row["method"],
        "httppath": row["path"],
        "httpstatus": row["status"],
        "outcome": row["outcome"],
        "contentencoding": "" if coding.lower() == "identity" else coding,
        "truncated": True if body is not None and length is not None and length > len(body) else None,
        "encrypted": True if sealed else None,
    }
    content_type = "application/octet-stream" if sealed else header(head, b"content-type")
    # An attribute with an empty value is not allowed; one that is not there is.
    given = {name: value for name, value in attributes.items() if value not in (None, "")}
    return Event({name: value for name, value in given.items() if value is not None}, content_type, body)


def header(head: bytes, name: bytes) -> str | None:
    """Value of the first header of that lower-case name in a message head; None if there is none."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip().decode("latin-1") or None


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


def _time(time_us: int | None) -> str | None:
    if time_us is None:
        return None
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
    return moment.isoformat().replace("+00:00", "Z")

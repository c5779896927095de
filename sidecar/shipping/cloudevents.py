"""Stored exchanges as CloudEvents 1.0, with the types and extensions of KServe's inference logger.

One exchange gives an event of its request and, when it was answered with 200,
one of its response; both carry the record's id, as both of KServe's events
carry one id, so `type`, `source` and `id` together name an event for good.
KServe sends the binary content mode; structured is what this writes unless
told otherwise (CloudEvents HTTP binding 1.0.2, sections 3.1 and 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.cloud_event import Event, timestamp

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"

COLUMNS = (
    "record_id", "kind", "log", "route", "model", "image_digest", "artifact_digest",
    "t_request_us", "t_first_byte_us", "t_end_us", "method", "path", "status", "outcome",
    "request_head", "request_body", "request_body_length",
    "response_head", "response_body", "response_body_length", "wrapped_key",
)  # fmt: skip
"""What `of_row` reads; a column that is not there counts as null."""


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
        "time": timestamp(time_us),
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

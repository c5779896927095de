"""What the API server demands of an Event of events.k8s.io/v1 (pkg/apis/core/validation/events.go)."""

from __future__ import annotations

import re
from typing import Any

_MOST = {"reportingInstance": 128, "action": 128, "reason": 128}
_MOST_NOTE_BYTES = 1024
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_CONTROLLER = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FIXED = (
    "regarding",
    "reason",
    "note",
    "type",
    "eventTime",
    "action",
    "reportingController",
    "reportingInstance",
)


def problem_of(event: dict[str, Any], before: dict[str, Any] | None = None) -> str | None:
    """Why it would be refused; None for what is no such Event or is in order."""
    if event.get("apiVersion") != "events.k8s.io/v1":
        return None
    if not _NAME.fullmatch(event["metadata"]["name"]):
        return "metadata.name: must be a DNS subdomain"
    if not _TIME.fullmatch(str(event.get("eventTime"))):
        return "eventTime: required, with microseconds"
    if event.get("type") not in ("Normal", "Warning"):
        return "type: has invalid value"
    for key, most in _MOST.items():
        if not 0 < len(event.get(key) or "") <= most:
            return f"{key}: required, of at most {most} characters"
    if len((event.get("note") or "").encode()) > _MOST_NOTE_BYTES:
        return f"message: can have at most {_MOST_NOTE_BYTES} characters"
    if not _CONTROLLER.fullmatch(event.get("reportingController") or ""):
        return "reportingController: must be a qualified name"
    if event["regarding"].get("namespace") != event["metadata"].get("namespace"):
        return "involvedObject.namespace: does not match event.namespace"
    return _series_problem(event, before)


def _series_problem(event: dict[str, Any], before: dict[str, Any] | None) -> str | None:
    series = event.get("series")
    if series is not None and (series.get("count", 0) < 2 or not _TIME.fullmatch(series["lastObservedTime"])):
        return "series.count: should be at least 2"
    if before is not None:
        changed = [key for key in _FIXED if event.get(key) != before.get(key)]
        if changed:
            return f"{changed[0]}: field is immutable"
    return None

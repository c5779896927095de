"""What is told of an alarm, as every kind of receiver gets it. Pure: values in, an HTTP message out."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any

import orjson

from sidecar.alerting.target import Kind
from sidecar.cloud_event import Event, timestamp

ALERT_NAME = "SidecarAlarm"
EVENT_TYPE = "dev.sidecar.alarm"
SIGNATURE = "Sidecar-Signature"
TIMESTAMP = "Sidecar-Timestamp"
NOTICE_ID = "Sidecar-Notice"
FORMAT = 1
SECOND_US = 1_000_000
STANDS_S = 15 * 60
"""How long Alertmanager keeps an alarm that is not told again: three times `REPEAT_S`."""
REPEAT_S = 5 * 60
"""How often an active alarm is told to Alertmanager, which forgets what it is not told again."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One state of one alarm."""

    alarm_id: str
    model: str
    digest: str
    state: str
    """`open`, `escalated`, `acknowledged`, `resolved`, or `test`."""
    severity: str
    quantity: str
    sentence: str
    since_us: int
    opened_us: int
    updated_us: int
    resolved_us: int | None = None
    document: dict[str, Any] = field(default_factory=dict)
    """The whole alarm."""
    advisory_of: str = ""
    """The one sidecar that says it of its own traffic; empty where it is said of the whole model."""

    @property
    def key(self) -> str:
        """The same whoever tells it: receivers may drop what they have seen."""
        return f"{self.alarm_id}-{self.state}"

    @property
    def quiet(self) -> bool:
        """Whether nobody needs to act any more."""
        return self.state in ("acknowledged", "resolved")


def message(kind: Kind, notice: Notice, now_us: int, secret: bytes | None) -> tuple[dict[str, str], bytes]:
    """Headers and body to post; `secret` signs what a webhook gets."""
    if kind is Kind.ALERTMANAGER:
        return {"Content-Type": "application/json"}, orjson.dumps(alertmanager(notice, now_us))
    if kind is Kind.CLOUDEVENTS:
        return _event(notice).message("structured")
    return webhook(notice, now_us, secret)


def alertmanager(notice: Notice, now_us: int) -> list[dict[str, Any]]:
    """The body of a POST to `/api/v2/alerts`.

    Severity is a label, since routes go by it; so an alarm that has become
    critical ends the alert that it was before.
    """
    labels = {
        "alertname": ALERT_NAME,
        "model": notice.model,
        "digest": notice.digest or "unknown",
        "quantity": notice.quantity,
        "alarm": notice.alarm_id,
        "severity": notice.severity,
    }
    if notice.advisory_of:
        labels |= {"advisory": "true", "sidecar": notice.advisory_of}
    annotations = {
        "summary": notice.sentence,
        "state": notice.state,
        "since": _moment(notice.since_us),
        "promise": str(notice.document.get("promise", "")),
        "records": " ".join(map(str, notice.document.get("record_ids", ()))),
    }
    end_us = notice.resolved_us if notice.state == "resolved" else None
    end_us = end_us or (now_us if notice.quiet else now_us + STANDS_S * SECOND_US)
    alert = {
        "labels": labels,
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _moment(notice.opened_us),
        "endsAt": _moment(end_us),
    }
    found = [alert]
    if notice.severity == "critical":
        before = {**labels, "severity": "warning"}
        found.append({**alert, "labels": before, "endsAt": _moment(notice.updated_us)})
    return found


def webhook(notice: Notice, now_us: int, secret: bytes | None) -> tuple[dict[str, str], bytes]:
    """JSON, and with a secret the HMAC-SHA256 of `TIMESTAMP.BODY` in hex."""
    body = orjson.dumps({"format": FORMAT, "notice": notice.key, **_data(notice)})
    sent_s = str(now_us // SECOND_US)
    headers = {"Content-Type": "application/json", NOTICE_ID: notice.key, TIMESTAMP: sent_s}
    if secret is not None:
        headers[SIGNATURE] = "v1=" + signature(secret, sent_s, body)
    return headers, body


def signature(secret: bytes, sent_s: str, body: bytes) -> str:
    """What a receiver computes to know that the message is from who has the secret, and when it was sent."""
    return hmac.digest(secret, sent_s.encode() + b"." + body, "sha256").hex()


def _event(notice: Notice) -> Event:
    attributes: dict[str, str | int | bool] = {
        "specversion": "1.0",
        "id": notice.key,
        "source": f"/sidecar/watch/{notice.model}",
        "type": f"{EVENT_TYPE}.{notice.state}",
        "subject": notice.quantity,
        "time": _moment(notice.updated_us),
    }
    return Event(attributes, "application/json", orjson.dumps(_data(notice)))


def _data(notice: Notice) -> dict[str, Any]:
    return {
        "alarm_id": notice.alarm_id,
        "model": notice.model,
        "digest": notice.digest or None,
        "state": notice.state,
        "severity": notice.severity,
        "quantity": notice.quantity,
        "advisory": bool(notice.advisory_of),
        "sidecar": notice.advisory_of or None,
        "sentence": notice.sentence,
        "since": _moment(notice.since_us),
        "opened": _moment(notice.opened_us),
        "updated": _moment(notice.updated_us),
        "resolved": None if notice.resolved_us is None else _moment(notice.resolved_us),
        "alarm": notice.document,
    }


def _moment(time_us: int) -> str:
    return timestamp(time_us) or ""

"""Ground truth as it arrives: what turned out to be true of a record, days or months later.

One event is a JSON object:

    {"record_id": "BOOT.ROUTE.NUMBER", "label": 1}
    {"key": {"name": "applicant", "value": "4711"}, "label": "repaid", "t": "2026-11-25T10:00:00Z",
     "attributes": {"sex": "f"}}

`label` is what was true: a number, a text or a boolean, or a list of one per
instance of the request; it may be null where only `attributes` (protected
attributes that are not in the request, say) are told. A later event of one
record replaces the earlier one, by `t` where both have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

MAX_EVENTS = 10_000
"""In one request."""
MAX_TEXT = 1024
MAX_INSTANCES = 10_000
MAX_ATTRIBUTES = 50
FORM = '{"record_id": "BOOT.ROUTE.NUMBER", "label": 1} or {"key": {"name": N, "value": V}, "label": 1}'

Scalar = str | int | float | bool | None


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A business key."""

    name: str
    value: str


class LabelEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One record's ground truth."""

    record_id: str | None = None
    key: Key | None = None
    label: Scalar | tuple[Scalar, ...] = None
    t: str | None = None
    """When it was known (RFC 3339)."""
    attributes: dict[str, Scalar] = {}

    @property
    def t_us(self) -> int:
        """`t` as wall-clock microseconds; 0 when it is not given."""
        return 0 if self.t is None else _microseconds(self.t)

    @property
    def target(self) -> tuple[str, str]:
        """What it is about: ("", record id), or key name and value."""
        return (self.key.name, self.key.value) if self.key else ("", self.record_id or "")

    def encode(self) -> bytes:
        """Canonical bytes: equal events have equal ones."""
        return msgspec.json.encode(self, order="deterministic")

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for the event."""
        return sha256(self.encode()).digest()

    def labels(self, instances: int) -> list[Scalar] | None:
        """One label per instance of a record; None if the event has another number of them."""
        if not isinstance(self.label, tuple):
            return [self.label] * instances
        return list(self.label) if len(self.label) == instances else None


def parse_events(body: bytes, most: int = MAX_EVENTS) -> list[LabelEvent]:
    """The events of a body: one object, an array of objects, or an object per line.

    Raises ValueError: one line that says which event is wrong and how.
    """
    found: list[LabelEvent] = []
    for number, value in enumerate(_values(body), 1):
        if number > most:
            raise ValueError(f"more than {most:,} labels at once: send them in several requests")
        found.append(event_of(value, f"label {number}"))
    if not found:
        raise ValueError(f"no labels: send {FORM}, an array of such, or one per line")
    return found


def event_of(value: Any, where: str) -> LabelEvent:
    """One event. Raises ValueError beginning with `where`."""
    try:
        event = msgspec.convert(value, type=LabelEvent)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {_words(str(error))}; it should be like {FORM}") from error
    if (event.record_id is None) == (event.key is None):
        raise ValueError(f"{where}: names no record, or both a record_id and a key; it should be like {FORM}")
    if event.label is None and not event.attributes:
        raise ValueError(f"{where}: has neither label nor attributes; it should be like {FORM}")
    if isinstance(event.label, tuple) and len(event.label) > MAX_INSTANCES:
        raise ValueError(f"{where}: {len(event.label):,} labels for one record; at most {MAX_INSTANCES:,}")
    if len(event.attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"{where}: {len(event.attributes)} attributes; at most {MAX_ATTRIBUTES}")
    if any(len(text) > MAX_TEXT for text in _texts(event)):
        raise ValueError(f"{where}: a text of more than {MAX_TEXT} characters")
    if any("\x00" in text for text in event.target) or not event.target[1]:
        raise ValueError(f"{where}: its record id or key is empty or has a NUL in it")
    if event.t is not None:
        try:
            _microseconds(event.t)
        except ValueError as error:
            raise ValueError(f"{where}: t {event.t[:40]!r} is no RFC 3339 time with its offset") from error
    return event


def _values(body: bytes) -> Iterator[Any]:
    text = body.strip()
    if text.startswith(b"["):
        yield from _json(text, "the body")
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield _json(line, f"line {number}")
            except ValueError:
                if number > 1 or not text.startswith(b"{"):
                    raise
                # One object over several lines.
                yield _json(text, "the body")
                return


def _json(text: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {error}") from error


def _words(message: str) -> str:
    message = message.replace("Object contains unknown field", "unknown key").replace(" - at `$", " at `")
    return message[:1].lower() + message[1:]


def _texts(event: LabelEvent) -> Iterator[str]:
    labels = event.label if isinstance(event.label, tuple) else (event.label,)
    values = (*event.target, *labels, *event.attributes, *event.attributes.values())
    return (value for value in values if isinstance(value, str))


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return round((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)

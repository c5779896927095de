"""The values that cross borders between stages.

Stage packages never import each other; they meet in these types. Times are
wall-clock microseconds (`_us`) at the first request byte, and monotonic
nanosecond offsets (`_ns`) from there, so that a wall clock that steps cannot
turn a duration negative. An offset of `NEVER` means that it did not happen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

NEVER = -1
TOKEN = "redacted:"
"""What stands in front of every text that is counted in place of a redacted value."""


class Outcome(IntEnum):
    """How an exchange ended. The numbers are stored; never reuse one."""

    COMPLETE = 0
    CLIENT_ABORT = 1
    UPSTREAM_ERROR = 2
    TIMEOUT = 3
    UPGRADED = 4
    OPAQUE = 5
    REFUSED = 6
    """The recorder answered 503 itself because policy `closed` forbade forwarding."""
    SHUTDOWN = 7
    """Still running when the recorder's grace ended."""

    @property
    def label(self) -> str:
        """The name used in the store, on the command line and in metrics."""
        return self.name.lower()


class EntryKind(IntEnum):
    """First element of every journal entry. The numbers are stored; never reuse one."""

    EXCHANGE = 0
    GAP = 1
    EPOCH = 2
    DELIVERY = 3
    EVENT = 4


@dataclass(frozen=True, slots=True)
class Cut:
    """What is known of a body that was not kept whole."""

    length: int
    """Payload length in bytes, transfer coding removed."""
    sha256: bytes
    """SHA-256 of that payload (32 bytes)."""


class Exchange:
    """One request and what came back, exactly as it was on the wire.

    Mutable and slotted because the recorder fills it while bytes flow.
    `request` and `response` are lists of the received chunks (never copied);
    their concatenation is the head(s), body and framing as sent, unless the
    matching `*_cut` is set, in which case they hold the heads and the first
    bytes of the body only.
    """

    __slots__ = (
        "client",
        "connection",
        "end_ns",
        "epoch",
        "first_byte_ns",
        "held_bytes",
        "outcome",
        "reason",
        "recorded",
        "request",
        "request_bytes",
        "request_cut",
        "request_end_ns",
        "response",
        "response_bytes",
        "response_cut",
        "route",
        "seq",
        "start_ns",
        "t_request_us",
    )

    def __init__(self, route: str, connection: int, client: str, t_request_us: int, start_ns: int) -> None:
        self.route = route
        self.seq = 0
        self.connection = connection
        self.client = client
        self.epoch = 0
        self.outcome: int = 0
        self.reason = ""
        self.t_request_us = t_request_us
        self.start_ns = start_ns
        """Monotonic clock at the first request byte; not stored."""
        self.request_end_ns = NEVER
        self.first_byte_ns = NEVER
        self.end_ns = NEVER
        self.request_bytes = 0
        self.response_bytes = 0
        self.request: list[bytes] = []
        self.response: list[bytes] = []
        self.recorded = True
        """False while recording is switched off: counted, never kept; not stored."""
        self.held_bytes = 0
        """Captured bytes now in memory; not stored."""
        self.request_cut: Cut | None = None
        self.response_cut: Cut | None = None


GAP_REASONS = (
    "disk_full", "io_error", "journal_overload", "killed", "max_bytes", "newer_version", "observer_failed",
    "refused", "removed", "splice_only", "too_large", "unpackable", "volume_corrupt",
)  # fmt: skip
"""Why exchanges may have left no record; a journal of another version may name others."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of exchanges that took sequence numbers but left no record."""

    boot: str
    route: str
    first_seq: int
    count: int
    """Upper bound; exact unless `reason` is `killed`, then high by at most those in flight."""
    t_from_us: int
    t_to_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Container:
    """One run of a container, as a cluster tells of it; what it does not tell is empty."""

    image: str
    """As the status names it, which need not be as the spec does."""
    image_id: str
    """Raw, whatever form the runtime gave it."""
    container_id: str
    restart_count: int
    started_us: int
    """Cut off to the second, where the cluster tells no more."""
    finished_us: int | None = None
    configuration: str = ""
    """Digest of command, arguments and environment; empty if not told."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """An interval in which the model behind one route was one thing."""

    route: str
    number: int
    model: str
    image_digest: str | None = None
    artifact_digest: str | None = None
    source: str = "unknown"
    """Where the knowledge came from: `flag`, `artifact`, `kubernetes`, `unknown`."""
    since_us: int = 0
    container: Container | None = None
    """What the cluster said of the container that answered."""

    @property
    def digest(self) -> str:
        """What names the model: image digest, else artifact digest, else `unknown`."""
        return self.image_digest or self.artifact_digest or "unknown"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Follows an exchange that was committed before its last bytes left, if they did not arrive."""

    route: str
    seq: int
    t_us: int
    outcome: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the recorder or the journal and that an auditor must see."""

    name: str
    t_us: int
    details: dict[str, Any] = field(default_factory=dict)


Entry = Exchange | Gap | Epoch | Delivery | Event


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the journal: everything in segments below `segment` of volumes up to here is done."""

    volume: int
    segment: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What a decoder read out of one exchange.

    `inputs` and `outputs` map a field's name to its values, one per instance
    of the request (a request for three predictions has lists of three).
    Values are JSON scalars, or lists for array-valued fields.
    """

    decoder: str
    instances: int
    inputs: dict[str, list[Any]]
    outputs: dict[str, list[Any]]
    model_name: str | None = None
    model_version: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What statistics may count of one exchange."""

    record_id: str
    t_us: int
    """Wall clock at the request's first byte: decides the pane."""
    status: int
    """HTTP status; 0 if no response head arrived."""
    outcome: int
    """An `Outcome`."""
    latency_us: int
    """From the first byte of the request to the last of the response; `NEVER` if it never ended."""
    observation: Observation | None
    """None if the exchange was not decoded."""


@dataclass(frozen=True, slots=True)
class Pane:
    """What one process counted of one span of time, under one plan."""

    start_us: int
    """Of the pane; of the hour if `late`."""
    length_us: int
    """The plan's pane, or an hour."""
    late: bool
    """Whether it holds what came behind the watermark of its pane, folded by hour."""
    exchanges: int
    counts: Mapping[str, bytes]
    """By tally its int64 counts, little-endian."""
    record_ids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By quantity up to three records that stand for what moved."""


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP message as stored: heads as received, body with transfer coding removed.

    Content coding (gzip and the like) is kept: `body` is what the peer meant to send.
    """

    head: bytes
    """Start line and headers up to and including the empty line; empty if none arrived."""
    body: bytes
    trailers: bytes = b""
    interim: bytes = b""
    """Interim (1xx) heads that came before `head`."""
    length: int = 0
    """Payload length in bytes; more than `len(body)` when the body was cut."""
    sha256: bytes | None = None
    """Of the whole payload, only when `body` is not the whole of it."""
    complete: bool = True
    """Whether the message ended as its framing said it would."""

    @property
    def start_line(self) -> bytes:
        """The request line or status line, without its line end."""
        return self.head[: self.head.find(b"\r\n")] if self.head else b""

    def header(self, name: bytes) -> bytes | None:
        """Value of the first header of that lower-case name, stripped; None if absent."""
        head = self.head.lower()
        at = head.find(b"\r\n" + name + b":")
        if at < 0:
            return None
        start = at + len(name) + 3
        return self.head[start : self.head.find(b"\r\n", start)].strip()

    def headers(self) -> list[tuple[str, str]]:
        """Names and values in wire order, decoded as Latin-1 as RFC 9110 section 5.5 allows."""
        pairs = []
        for line in self.head.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b":")
            if colon:
                pairs.append((name.decode("latin-1"), value.strip().decode("latin-1")))
        return pairs

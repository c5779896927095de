"""What to look for, as a test of rows and as SQL: both engines give the same answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.key_filter import may_hold

FIELDS = (
    "record_id",
    "kind",
    "log",
    "route",
    "boot",
    "seq",
    "count",
    "model",
    "image_digest",
    "artifact_digest",
    "identity_source",
    "epoch",
    "connection",
    "client",
    "t_request_us",
    "t_request_end_us",
    "t_first_byte_us",
    "t_end_us",
    "method",
    "path",
    "status",
    "outcome",
    "reason",
    "request_bytes",
    "response_bytes",
    "decoder",
    "decode_error",
    "decision",
    "keys",
    "redacted",
    "details",
)
"""What a found record carries: every column but the payloads and what sealing needs."""

VALUES = 16
"""Values of one key in one record that are looked at."""

Row = tuple[Any, ...]
"""Values of FIELDS."""

_AT = {name: index for index, name in enumerate(FIELDS)}
ID, TIME = _AT["record_id"], _AT["t_request_us"]
_KIND, _MODEL, _STATUS, _OUTCOME = _AT["kind"], _AT["model"], _AT["status"], _AT["outcome"]
_DECISION, _PATH, _KEYS = _AT["decision"], _AT["path"], _AT["keys"]
_IMAGE, _ARTIFACT = _AT["image_digest"], _AT["artifact_digest"]

REPEATED = tuple(
    _AT[name]
    for name in (
        *("kind", "log", "route", "boot", "model", "image_digest", "artifact_digest", "identity_source"),
        *("client", "method", "path", "outcome", "reason", "decoder", "decision", "redacted"),
    )
)
"""Columns of texts that are the same in many records."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a model's traffic had drifted; `digest` None means every digest."""

    model: str
    digest: str | None
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. `since_us` is included, `until_us` is not."""

    kinds: frozenset[str] = frozenset({"exchange"})
    model: str | None = None
    digest: str | None = None
    """The image digest (where none is known, the artifact digest), or the beginning of it."""
    status: int | None = None
    outcome: str | None = None
    decision: str | None = None
    path: str | None = None
    """The target without its query; with a star at its end, what targets begin with."""
    keys: tuple[tuple[str, str], ...] = ()
    """All of these business keys, each also among the further values of its name; see `numbered`."""
    since_us: int | None = None
    until_us: int | None = None
    spans: tuple[Span, ...] | None = None
    """Only records inside one of these."""
    where: str | None = None
    """An SQL predicate over the columns."""
    limit: int = 50
    """0 for all."""

    def may_overlap(self, first_us: int, last_us: int) -> bool:
        """Whether records of this time can match."""
        return (
            (self.since_us is None or last_us >= self.since_us)
            and (self.until_us is None or first_us < self.until_us)
            and (
                self.spans is None
                or any(each.from_us <= last_us and first_us < each.to_us for each in self.spans)
            )
        )

    def may_be_in(self, metadata: dict[str, Any]) -> bool:
        """Whether a file whose metadata has a filter over its keys can have a match."""
        if not self.keys or "key_filter" not in metadata:
            return True
        text = metadata["key_filter"]
        return text is not None and all(
            any(may_hold(text, each, value) for each in numbered(name)) for name, value in self.keys
        )

    def matches(self, row: Row) -> bool:
        """Whether a row of FIELDS is wanted, `where` aside."""
        time_us = row[TIME] or 0
        return (
            row[_KIND] in self.kinds
            and (self.since_us is None or time_us >= self.since_us)
            and (self.until_us is None or time_us < self.until_us)
            and (self.model is None or row[_MODEL] == self.model)
            and (self.status is None or row[_STATUS] == self.status)
            and (self.outcome is None or row[_OUTCOME] == self.outcome)
            and (self.decision is None or row[_DECISION] == self.decision)
            and (self.digest is None or _digest(row).startswith(self.digest))
            and (self.path is None or self._path_matches(row[_PATH]))
            and all(
                any((row[_KEYS] or {}).get(each) == value for each in numbered(name))
                for name, value in self.keys
            )
            and (self.spans is None or any(_inside(each, row) for each in self.spans))
        )

    def _path_matches(self, target: str | None) -> bool:
        assert self.path is not None
        if target is None:
            return False
        if self.path.endswith("*"):
            return target.startswith(self.path[:-1])
        return target.partition("?")[0] == self.path or target == self.path

    def sql(self) -> tuple[str, list[Any]]:
        """The same as a condition with `?` for each of the values beside it; `where` included."""
        parts = [f"kind IN ({', '.join('?' * len(self.kinds))})"]
        values: list[Any] = sorted(self.kinds)

        def add(condition: str, *given: Any) -> None:
            parts.append(condition)
            values.extend(given)

        for condition, value in (
            ("t_request_us >= ?", self.since_us),
            ("t_request_us < ?", self.until_us),
            ("model = ?", self.model),
            ("status = ?", self.status),
            ("outcome = ?", self.outcome),
            ("decision = ?", self.decision),
            ("starts_with(coalesce(image_digest, artifact_digest, 'unknown'), ?)", self.digest),
        ):
            if value is not None:
                add(condition, value)
        if self.path is not None and self.path.endswith("*"):
            add("starts_with(path, ?)", self.path[:-1])
        elif self.path is not None:
            add("(split_part(path, '?', 1) = ? OR path = ?)", self.path, self.path)
        for name, value in self.keys:
            names = numbered(name)
            add(f"? IN ({', '.join(['keys[?]'] * len(names))})", value, *names)
        if self.spans is not None:
            add("(" + (" OR ".join([_SPAN] * len(self.spans)) or "false") + ")")
            for span in self.spans:
                values += [span.from_us, span.to_us, span.model, span.digest, span.digest]
        if self.where is not None:
            # A line of its own: the predicate may end in a comment.
            add(f"(\n{self.where}\n)")
        return " AND ".join(parts), values


_SPAN = (
    "(t_request_us >= ? AND t_request_us < ? AND model = ? AND (?::VARCHAR IS NULL OR "
    "coalesce(image_digest, artifact_digest, 'unknown') = ?))"
)


def numbered(name: str) -> tuple[str, ...]:
    """Names under which values of a key stand: NAME, NAME.2, … NAME.16; for one with a number, itself."""
    base, _, number = name.rpartition(".")
    if base and number.isdecimal():
        return (name,)
    return (name, *(f"{name}.{each}" for each in range(2, VALUES + 1)))


def order(row: Row) -> tuple[int, str]:
    """Sorts latest first, then by id; rows that lack either are last."""
    return -(row[TIME] or 0), row[ID] or ""


def _digest(row: Row) -> str:
    return str(row[_IMAGE] or row[_ARTIFACT] or "unknown")


def _inside(span: Span, row: Row) -> bool:
    return (
        span.from_us <= (row[TIME] or 0) < span.to_us
        and row[_MODEL] == span.model
        and (span.digest is None or _digest(row) == span.digest)
    )

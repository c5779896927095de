"""Time stamps of RFC 3161 in the witness entries of the site log: when an authority saw the log so far."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.audit.findings import Finding, Kind
from sidecar.errors import LedgerError
from sidecar.site.bodies import TimeStamp, Witness
from sidecar.site.entry import Body, Entry

StampedAt = Callable[[TimeStamp, Body], datetime]
"""When the authority saw the body; raises LedgerError for a stamp that does not hold."""
APART_S = 15 * 60
"""How far a witness's clock may be from the authority's."""


@dataclass(slots=True)
class Stamps:
    """Takes the stamped entries one by one; `stamped_at` is None when no root certificates were given."""

    stamped_at: StampedAt | None
    _unchecked: int = 0
    _newest: tuple[int, datetime, str] | None = None
    _found: list[Finding] = field(default_factory=list)

    def take(self, entry: Entry, witness: Witness, root_before: bytes) -> None:
        """Check one entry's stamp, if it has one; `root_before` is that of the entries before it."""
        if witness.timestamp is None:
            return
        if self.stamped_at is None:
            self._unchecked += 1
            return
        if (witness.site_size, witness.site_root) != (entry.index, b64encode(root_before).decode()):
            self._refuse(entry, "what is time stamped is not the site log before it")
            return
        try:
            moment = self.stamped_at(witness.timestamp, entry.body)
        except LedgerError as error:
            self._refuse(entry, str(error).removesuffix(": give its root with --tsa-root"))
            return
        self._newest = entry.index, moment, witness.timestamp.authority
        if abs(moment.timestamp() - entry.t_us / 1_000_000) > APART_S:
            text = f"site log: entry {entry.index}: time stamped {moment:%Y-%m-%dT%H:%M:%SZ}, not at its time"
            self._found.append(Finding(Kind.NOTE, text, entry.name, field="t_us"))

    def _refuse(self, entry: Entry, why: str) -> None:
        text = f"site log: entry {entry.index}: {why}"
        self._found.append(Finding(Kind.ALTERED, text, entry.name, field="timestamp"))

    def findings(self) -> Iterator[Finding]:
        """What was found, and up to where the newest good stamp bounds the site log."""
        yield from self._found
        if self._unchecked:
            what = "1 time stamp was" if self._unchecked == 1 else f"{self._unchecked:,} time stamps were"
            text = f"site log: {what} not checked: give --tsa-root"
            yield Finding(Kind.NOTE, text)
        if self._newest is not None:
            index, moment, authority = self._newest
            text = f"site log: {authority} saw its first {index:,} entries at {moment:%Y-%m-%dT%H:%M:%SZ}"
            yield Finding(Kind.NOTE, f"{text}, and what entry {index} says of the logs")

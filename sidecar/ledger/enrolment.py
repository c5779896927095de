"""Certificates of boot keys: an enrolment key's holder says which pod's sidecar has which key.

Anyone who may put objects into a store can write a log that verifies under a
key of its own; only a key that is certified by a trusted enrolment key shows
that the log is a sidecar's that the operator deployed.

    sidecar-enrolment/1
    <origin prefix: cluster.namespace.workload.pod uid>
    <boot>
    <base64 public key of the boot>

in a signed note of the enrolment key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.note import KEY_BYTES, Note, Signer, VerifierKey
from sidecar.ledger.origin import Place, origin, parse

HEADER: Final = "sidecar-enrolment/1"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an enrolment states."""

    prefix: str
    """Place.prefix of the pod."""
    boot: str
    """The boot as it stands in origins."""
    public_key: bytes

    def text(self) -> str:
        return f"{HEADER}\n{self.prefix}\n{self.boot}\n{base64text.encode(self.public_key)}\n"

    @classmethod
    def parse(cls, text: str) -> Enrolment:
        """Read a statement, whoever signed it. Raises LedgerError when it is malformed."""
        lines = text.split("\n")
        if len(lines) != 5 or lines[4] or lines[0] != HEADER:
            raise LedgerError(f"enrolment: not the four lines of {HEADER}")
        prefix, boot = lines[1:3]
        # The route is a part of the log and not of the enrolment: any will do to check the others.
        found = parse(f"{prefix}._.{boot}")
        if (found.prefix, found.boot_part) != (prefix, boot):
            raise LedgerError(f"enrolment: {prefix!r} and {boot!r} are no place and boot")
        try:
            public_key = base64text.decode(lines[3])
        except ValueError as error:
            raise LedgerError(f"enrolment of {prefix}: its key: {error}") from error
        if len(public_key) != KEY_BYTES:
            raise LedgerError(f"enrolment of {prefix}: its key has {len(public_key)} bytes, not {KEY_BYTES}")
        return cls(prefix, boot, public_key)

    def covers(self, log_origin: str, public_key: bytes) -> bool:
        """Whether it speaks of this log's pod, boot and key."""
        found = parse(log_origin)
        return (self.prefix, self.boot, self.public_key) == (found.prefix, found.boot_part, public_key)


def statement(prefix: str, boot: str, public_key: bytes) -> str:
    """The text to sign for a pod's boot. Raises LedgerError for parts that no origin has."""
    # The boot goes through the same escaping as in an origin, so that the two compare.
    boot_part = parse(origin(Place(), "", boot)).boot_part
    text = Enrolment(prefix, boot_part, public_key).text()
    Enrolment.parse(text)
    return text


def certify(key: Signer, prefix: str, boot: str, public_key: bytes) -> str:
    """The enrolment note, as text, of a boot's public key (32 bytes) by the enrolment key."""
    text = statement(prefix, boot, public_key)
    return Note(text, (key.signature(text),)).format()


def check(
    note: Note | str, trusted: Iterable[VerifierKey], log_origin: str, public_key: bytes
) -> VerifierKey:
    """The trusted key that certified this log's key.

    Raises LedgerError when the note is malformed, is by none of the trusted
    keys, or speaks of another pod, boot or key.
    """
    parsed = Note.parse(note) if isinstance(note, str) else note
    enrolment = Enrolment.parse(parsed.text)
    signer = parsed.verified_by(trusted)[0]
    if not enrolment.covers(log_origin, public_key):
        raise LedgerError(
            f"enrolment of {enrolment.prefix}, boot {enrolment.boot}: does not cover the key of {log_origin}"
        )
    return signer

"""The key object of a batch: which subject keys open its records. Pure; erasing means writing it anew.

JSON: `{"format":1,"batch":…,"master":…,"subjects":[{"id":…,"tag":…,"wrapped":…}]}`.
`id` (hex) is the `subject_key_id` of the records; `tag` (hex) finds a subject,
null for the batch's own key; `wrapped` (base64) is the key under the master
key, bound to `id`. Records about several people have one key and one entry per
person with the same `id`: erasing any of them erases all entries of that id.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import msgspec

from sidecar.errors import Damaged, Erased, PrivacyError, WrongKey
from sidecar.privacy.master import MasterKey

FORMAT: Final = 1
ID_BYTES: Final = 16
TAG_BYTES: Final = 32


class _Subject(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    tag: str | None
    wrapped: str


class _Object(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    batch: str
    master: str
    subjects: list[_Subject]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One subject's key in a batch."""

    id: bytes
    tag: bytes | None
    """None: the batch's own key, for records that name no subject."""
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class KeyObject:
    """The keys of one batch. `batch` is `<origin>-L<first>-<last>`, `master` the master key's id."""

    batch: str
    master: str
    entries: tuple[KeyEntry, ...]

    def to_bytes(self) -> bytes:
        """The object as stored."""
        subjects = [
            _Subject(
                entry.id.hex(),
                None if entry.tag is None else entry.tag.hex(),
                base64.b64encode(entry.wrapped).decode(),
            )
            for entry in self.entries
        ]
        return msgspec.json.encode(_Object(FORMAT, self.batch, self.master, subjects))

    @classmethod
    def parse(cls, data: bytes) -> KeyObject:
        """Read a stored object. Raises Damaged, or PrivacyError if a newer version wrote it."""
        try:
            stored = msgspec.json.decode(data, type=_Object)
            if stored.format != FORMAT:
                raise PrivacyError(
                    f"key object {stored.batch[:200]!r}: format {stored.format} is newer than {FORMAT}: "
                    "use a newer Sidecar"
                )
            entries = tuple(_entry(subject) for subject in stored.subjects)
        except (msgspec.MsgspecError, ValueError, binascii.Error) as error:
            raise Damaged("key object: is not one: restore it from where it was written") from error
        return cls(stored.batch, stored.master, entries)

    def ids(self, tag: bytes) -> frozenset[bytes]:
        """The keys that hang on the subject with this tag; empty if the batch has nothing about it."""
        return frozenset(entry.id for entry in self.entries if entry.tag == tag)

    def digests(self) -> tuple[str, ...]:
        """What each entry is known by in its batch's metadata: 16 bytes, hex, of a SHA-256.

        Over batch, master, id and tag as stored (nothing for no tag) and the wrapped key, a zero byte
        between each two. They tell a changed entry from one that was erased, and open nothing.
        """
        return tuple(
            sha256(
                b"\0".join(
                    (
                        self.batch.encode(),
                        self.master.encode(),
                        entry.id.hex().encode(),
                        b"" if entry.tag is None else entry.tag.hex().encode(),
                        entry.wrapped,
                    )
                )
            ).hexdigest()[:32]
            for entry in self.entries
        )

    def without(self, ids: frozenset[bytes]) -> KeyObject:
        """The object without these keys: what remains after an erasure."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.id not in ids))

    def key(self, key_id: bytes, master: MasterKey) -> bytes:
        """The subject key of that id. Raises Erased, WrongKey or Damaged."""
        entry = next((entry for entry in self.entries if entry.id == key_id), None)
        if entry is None:
            raise Erased(f"batch {self.batch}: the key of this record was destroyed: it cannot be opened")
        if self.master != master.id:
            raise WrongKey(
                f"batch {self.batch}: sealed under master key {self.master}, this one is {master.id}: "
                "give the other"
            )
        return master.unwrap(entry.wrapped, entry.id)


def _entry(subject: _Subject) -> KeyEntry:
    key_id = bytes.fromhex(subject.id)
    tag = None if subject.tag is None else bytes.fromhex(subject.tag)
    if len(key_id) != ID_BYTES or (tag is not None and len(tag) != TAG_BYTES):
        raise ValueError("id or tag of another length")
    return KeyEntry(key_id, tag, base64.b64decode(subject.wrapped, validate=True))

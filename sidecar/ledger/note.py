"""Signed notes and the Ed25519 keys that sign them: text formats of c2sp.org/signed-note, version 1.

A note is text that ends in a newline, a blank line, and signature lines:

    — <key name> <base64(key id || signature)>

Where the specification leaves room, reading is strict: one text for each
value, one signature for each key, bounded size.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import ClassVar, Final, Protocol, Self, TypeVar

from sidecar.errors import LedgerError
from sidecar.ledger import base64text

MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100
"""As its first implementation, golang.org/x/mod/sumdb/note; the specification asks for 16 at least."""
ED25519: Final = 0x01
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
KEY_ID_BYTES: Final = 4

_PRIVATE = "PRIVATE+KEY+"
_DASH = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """The first 4 bytes of SHA-256(name || 0x0A || kind || public key)."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:KEY_ID_BYTES]


def check_name(name: str) -> str:
    """The name, if a key may have it: no spaces, no plus, no control characters, not empty."""
    if not name or "+" in name or _CONTROL.search(name) or any(each.isspace() for each in name):
        raise LedgerError(f"key name {name!r}: give a name without spaces and +")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise LedgerError(f"key name {name!r}: not valid Unicode: give another name") from None
    return name


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; who signed is known only once a key has checked it."""

    name: str
    key_id: bytes
    signature: bytes
    """What follows the key id: 64 bytes for Ed25519, a time and 64 bytes for a cosignature."""

    def line(self) -> str:
        return f"{_DASH}{self.name} {base64text.encode(self.key_id + self.signature)}\n"


class Verifier(Protocol):
    """A key that may be trusted: VerifierKey, CosignerKey."""

    @property
    def name(self) -> str: ...

    @property
    def key_id(self) -> bytes: ...

    def is_valid(self, text: str, signature: bytes) -> bool:
        """Whether these are the bytes that the key's holder put under the text."""
        ...


_Key = TypeVar("_Key", bound=Verifier)


class Signer(Protocol):
    """Something that signs: a SigningKey, or a process that holds one."""

    @property
    def verifier(self) -> VerifierKey: ...

    def signature(self, text: str) -> Signature: ...


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures that were found under it, not yet checked."""

    text: str
    signatures: tuple[Signature, ...]

    def format(self) -> str:
        """The note as it is stored and sent."""
        return self.text + "\n" + "".join(each.line() for each in self.signatures)

    def with_signature(self, signature: Signature) -> Note:
        """The note with this signature as its last, in place of an earlier one of the same key."""
        kept = [
            each for each in self.signatures if (each.name, each.key_id) != (signature.name, signature.key_id)
        ]
        return Note(self.text, (*kept, signature))

    def signature_by(self, key: Verifier) -> bytes | None:
        """The bytes that claim to be this key's signature, unchecked; None when there are none."""
        for each in self.signatures:
            if (each.name, each.key_id) == (key.name, key.key_id):
                return each.signature
        return None

    def verified_by(self, keys: Iterable[_Key]) -> list[_Key]:
        """Those of the keys that signed, at least one.

        Raises LedgerError when none did, or when a signature in the name of one
        of them is wrong, whatever the others say. Other signatures mean nothing.
        """
        found = []
        for key in keys:
            signature = self.signature_by(key)
            if signature is None:
                continue
            if not key.is_valid(self.text, signature):
                raise LedgerError(f"note: the signature of key {key.name} is not valid: the text was changed")
            found.append(key)
        if not found:
            names = ", ".join(each.name for each in self.signatures)
            raise LedgerError(f"note: no signature of a trusted key, only of {names}")
        return found

    @classmethod
    def parse(cls, note: str | bytes) -> Note:
        """Read a note. Raises LedgerError naming what is malformed."""
        text, separator, below = _decode(note).rpartition("\n\n")
        if not separator or not below:
            raise LedgerError("note: no signature under a blank line")
        if not below.endswith("\n"):
            raise LedgerError("note: its last line is cut off")
        lines = below[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise LedgerError(f"note: more than {MAX_SIGNATURES} signatures")
        signatures = tuple(_signature(line) for line in lines)
        if len({(each.name, each.key_id) for each in signatures}) != len(signatures):
            raise LedgerError("note: one key signed twice")
        return cls(check_text(text + "\n"), signatures)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key, the name it goes by and, by its class, the type of its signatures."""

    name: str
    public_key: bytes

    kind: ClassVar[int]

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public_key) != KEY_BYTES:
            raise LedgerError(f"key {self.name}: {len(self.public_key)} bytes, not {KEY_BYTES}")

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.kind, self.public_key)

    def __str__(self) -> str:
        return format_key(self.name, self.kind, self.public_key, self.key_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<name>+<key id, 8 hex digits>+<base64(type || public key)>`."""
        name, public_key = parse_key(text.strip(), cls.kind)
        key = cls(name, public_key)
        if str(key) != text.strip():
            raise LedgerError(f"key {name}: its id is not that of its bytes: copy the whole line again")
        return key


@dataclass(frozen=True, slots=True)
class VerifierKey(PublicKey):
    """A key whose signatures are over a note's text; its text form is `str(key)`."""

    kind = ED25519

    def is_valid(self, text: str, signature: bytes) -> bool:
        return ed25519_is_valid(self.public_key, text.encode(), signature)

    def verify(self, note: Note) -> None:
        """Raise LedgerError unless this key signed the note."""
        note.verified_by([self])


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key and the name it goes by."""

    name: str
    seed: bytes = field(repr=False)
    """32 bytes, as RFC 8032 has them."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise LedgerError(f"private key {self.name}: {len(self.seed)} bytes, not {KEY_BYTES}")

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """A fresh key."""
        return cls(name, os.urandom(KEY_BYTES))

    def named(self, name: str) -> SigningKey:
        """The same key under another name: a boot has one key, and each of its logs is a name."""
        return SigningKey(name, self.seed)

    @property
    def verifier(self) -> VerifierKey:
        # Loaded when first needed: 7 MB that a process which only reads or forwards notes does without.
        from cryptography.hazmat.primitives.asymmetric import ed25519

        private = ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifierKey(self.name, private.public_key().public_bytes_raw())

    def sign_bytes(self, message: bytes) -> bytes:
        """The bare Ed25519 signature, 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric import ed25519

        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def signature(self, text: str) -> Signature:
        """This key's signature line for the text."""
        return Signature(self.name, self.verifier.key_id, self.sign_bytes(check_text(text).encode()))

    def sign(self, text: str) -> Note:
        """The text as a note with this one signature."""
        return Note(text, (self.signature(text),))

    def private_text(self) -> str:
        """`PRIVATE+KEY+<name>+<key id>+<base64(0x01 || seed)>`: for a file that only its owner reads."""
        return _PRIVATE + format_key(self.name, ED25519, self.seed, self.verifier.key_id)

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Read a private key's text form. The errors never repeat it."""
        line = text.strip()
        if not line.startswith(_PRIVATE):
            raise LedgerError("private key: does not begin with PRIVATE+KEY+: give the file of a private key")
        name, seed = parse_key(line.removeprefix(_PRIVATE), ED25519)
        key = cls(name, seed)
        if key.private_text() != line:
            raise LedgerError(f"private key {name}: its id is not that of its bytes: restore the file")
        return key


def ed25519_is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this is the key's signature (RFC 8032) of the message."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def format_key(name: str, kind: int, key: bytes, identifier: bytes) -> str:
    return f"{name}+{identifier.hex()}+{base64text.encode(bytes([kind]) + key)}"


def parse_key(text: str, kind: int) -> tuple[str, bytes]:
    """The name and the 32 bytes of a key in its text form; its id is not looked at."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise LedgerError("key: not of the form <name>+<id>+<base64>: give the whole line")
    name = check_name(parts[0])
    try:
        data = base64text.decode(parts[2])
    except ValueError as error:
        raise LedgerError(f"key {name}: {error}: give the whole line") from error
    if len(data) != 1 + KEY_BYTES or data[0] != kind:
        raise LedgerError(f"key {name}: not a key of {KEY_BYTES} bytes and type {kind}: give another key")
    return name, data[1:]


def check_text(text: str) -> str:
    """The text, if it may stand in a note."""
    if not text.endswith("\n") or text == "\n" or _CONTROL.search(text):
        raise LedgerError("note: its text must end in a newline and hold no control characters")
    return text


def _decode(note: str | bytes) -> str:
    if len(note) > MAX_NOTE_BYTES:
        raise LedgerError(f"note: longer than {MAX_NOTE_BYTES} bytes")
    try:
        # Encoding a str finds lone surrogates, which no bytes decode to.
        text = note.decode() if isinstance(note, bytes) else note.encode().decode()
    except UnicodeError as error:
        raise LedgerError("note: not UTF-8") from error
    if _CONTROL.search(text):
        raise LedgerError("note: holds control characters")
    return text


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise LedgerError('note: a signature line is not of the form "— name base64"')
    try:
        data = base64text.decode(encoded)
    except ValueError as error:
        raise LedgerError(f"note: the signature of {name!r}: {error}") from error
    if len(data) <= KEY_ID_BYTES:
        raise LedgerError(f"note: the signature of {name!r} is too short")
    return Signature(check_name(name), data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])

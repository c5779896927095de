"""Canonical bytes, trees, notes and origins once more, written from docs/evidence.md.

Imports nothing from `sidecar`: the columns come out of the document's own
tables, msgpack is encoded by hand, and `cryptography` is used for Ed25519 alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DOCUMENT = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text()


def columns(mark: str) -> dict[str, str]:
    """Name and type of every column in one of the document's tables, in order."""
    table = DOCUMENT.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    return dict(re.findall(r"^\| *\d+ *\| `(\w+)` *\| (\w+) ", table, re.MULTILINE))


def msgpack(value: Any) -> bytes:
    """The subset of msgpack that the document lists, every value in its shortest form."""
    if value is None:
        return b"\xc0"
    if value is False or value is True:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if -32 <= value < 128:
            return struct.pack("b", value)
        if value >= 0:
            forms = (
                (1 << 8, b"\xcc", ">B"),
                (1 << 16, b"\xcd", ">H"),
                (1 << 32, b"\xce", ">I"),
                (1 << 64, b"\xcf", ">Q"),
            )
        else:
            forms = (
                (1 << 7, b"\xd0", ">b"),
                (1 << 15, b"\xd1", ">h"),
                (1 << 31, b"\xd2", ">i"),
                (1 << 63, b"\xd3", ">q"),
            )
        for limit, head, form in forms:
            if -limit <= value < limit:
                return head + struct.pack(form, value)
    if isinstance(value, str):
        data = value.encode()
        if len(data) < 32:
            return bytes([0xA0 | len(data)]) + data
        return length(len(data), (b"\xd9", b"\xda", b"\xdb")) + data
    if isinstance(value, bytes):
        return length(len(value), (b"\xc4", b"\xc5", b"\xc6")) + value
    if isinstance(value, list):
        short = len(value) < 16
        head = bytes([0x90 | len(value)]) if short else b"\xdc" + struct.pack(">H", len(value))
        return head + b"".join(map(msgpack, value))
    raise TypeError(value)


def length(count: int, heads: Sequence[bytes]) -> bytes:
    if count < 1 << 8:
        return heads[0] + struct.pack(">B", count)
    return heads[1] + struct.pack(">H", count) if count < 1 << 16 else heads[2] + struct.pack(">I", count)


BLOBS = ("request_body", "response_body", "inputs", "outputs", "decoded_ciphertext")


def sealed(name: str, kind: str, value: Any, salt: bytes | None) -> Any:
    """One value as it stands in the canonical bytes; binary values come as hex."""
    if value is None:
        return None
    if kind == "binary":
        value = bytes.fromhex(value)
    if kind == "map":
        return [[key, value[key]] for key in sorted(value, key=lambda each: each.encode())]
    if name in BLOBS:
        assert salt is not None
        stored = value if kind == "binary" else value.encode()
        return hmac.new(salt, name.encode() + b"\x00" + stored, hashlib.sha256).digest()
    return value


def canonical(log: Mapping[str, Any], row: Mapping[str, Any], salt: bytes | None) -> bytes:
    log_values = [sealed(name, kind, log.get(name), None) for name, kind in columns("log-columns").items()]
    row_values = [sealed(name, kind, row.get(name), salt) for name, kind in columns("row-columns").items()]
    return msgpack([1, log_values, row_values])


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def sorted_json(body: Mapping[str, Any]) -> str:
    """RFC 8785 for what a site log's body may hold."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node(root(leaves[:k]), root(leaves[k:]))


def climb(start: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root above a leaf, by the recursive definition of PATH turned round."""
    if size == 1:
        assert not path
        return start
    k = 1 << ((size - 1).bit_length() - 1)
    if index < k:
        return node(climb(start, index, k, path[:-1]), path[-1])
    return node(path[-1], climb(start, index - k, size - k, path[:-1]))


def key_id(name: str, kind: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def public_key(text: str, kind: int = 1) -> tuple[str, bytes]:
    """Name and bytes of a public key's text form, its id checked."""
    name, identifier, encoded = text.split("+", 2)
    data = base64.b64decode(encoded, validate=True)
    assert data[0] == kind
    assert identifier == key_id(name, kind, data[1:]).hex()
    return name, data[1:]


def signature(note: str, name: str, kind: int, public: bytes) -> tuple[bytes, bytes]:
    """The signed text, and the signature of this key under it."""
    text, _, lines = note.rpartition("\n\n")
    head = f"— {name} "
    for line in lines.splitlines():
        data = base64.b64decode(line.rpartition(" ")[2], validate=True)
        if line.startswith(head) and data[:4] == key_id(name, kind, public):
            return (text + "\n").encode(), data[4:]
    raise AssertionError(f"no signature of {name}")


def verified(note: str, key: str) -> str:
    """The text of a note that this key signed."""
    name, public = public_key(key)
    text, found = signature(note, name, 1, public)
    Ed25519PublicKey.from_public_bytes(public).verify(found, text)
    return text.decode()


def limits() -> list[int]:
    """The longest that each part of an origin may be."""
    return [int(each) for each in re.findall(r"^\| \d \| [a-z ]+ \| (\d+) \|", DOCUMENT, re.MULTILINE)]


def origin(parts: Sequence[str]) -> str:
    """An origin from its parts, with the limits of the document's table."""
    written = []
    for part, limit in zip(parts, limits(), strict=False):
        escaped = "".join(
            each
            if re.fullmatch(r"[A-Za-z0-9_-]", each)
            else "".join(f"~{byte:02X}" for byte in each.encode())
            for each in part
        )
        escaped = {"": "_", "_": "~5F"}.get(part, escaped)
        if len(escaped) > limit or re.search(r"~[0-9a-f]{8}$", escaped):
            digest = hashlib.sha256(part.encode()).hexdigest()[:8]
            escaped = re.sub(r"~[0-9A-F]?$", "", escaped[: limit - 9]) + "~" + digest
        written.append(escaped)
    return ".".join(written)


def mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

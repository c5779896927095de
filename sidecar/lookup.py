"""Glue for reading a store: the archive's commands with stores, content codings and keys of other stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sidecar.archive.commands import find_command, show_command
from sidecar.archive.show import Shown
from sidecar.archive.source import Source
from sidecar.decode.content import decoded_body
from sidecar.errors import Erased, ObjectMissing, PrivacyError, UsageError
from sidecar.objects import for_command
from sidecar.records import Message
from sidecar.shipping.location import Kind, locate

__all__ = ["decrypt", "find", "hasher", "open_source", "show"]

SHOW_LIMIT_BYTES = 64 << 20


def open_source(url: str) -> Source:
    """The store at a path or URL, to search; a directory's files are read where they lie."""
    store = for_command(url)
    location = locate(url)
    return Source(store, Path(location.path) if location.kind is Kind.DIRECTORY else None)


def decrypt(source: Source, shown: Shown, master_key: Path) -> None:
    """Put the plain bodies and decoded columns in their places, or say why they stay sealed.

    Raises PrivacyError for a key that cannot be read, that is another, or for
    bytes that are not as they were sealed; an erased record is no error.
    """
    from sidecar.privacy.key_object import KeyObject
    from sidecar.privacy.master import read_master_key
    from sidecar.privacy.opening import open_record

    master = read_master_key(master_key)
    name = shown.metadata.get("keys")
    try:
        keys = KeyObject.parse(source.objects.get(name)) if isinstance(name, str) else None
    except ObjectMissing:
        keys = None
    try:
        plain = open_record(shown.row, keys, master)
    except Erased:
        shown.sealed_body = "erased: its key was destroyed, nobody can open it any more"
        return
    shown.sealed_body = None
    shown.row.update(
        request_body=plain.request_body,
        response_body=plain.response_body,
        inputs=plain.inputs,
        outputs=plain.outputs,
        decision=plain.decision,
    )


def hasher(hash_key: Path) -> Callable[[str], str]:
    """What the sidecars store in a business key's place under this hash key.

    Raises UsageError for a key that cannot be read.
    """
    from sidecar.privacy.key_file import read_secret
    from sidecar.privacy.replacement import keyed_hash

    try:
        key = read_secret(hash_key, "hash key")
    except PrivacyError as error:
        raise UsageError(str(error)) from error
    return lambda value: keyed_hash(key, value.encode("utf-8", "surrogatepass"))


def _opened(message: Message) -> bytes:
    return decoded_body(message, SHOW_LIMIT_BYTES)


find = find_command(open_source, hasher)
show = show_command(open_source, _opened, decrypt)

"""Glue for reading a store: the archive's commands with the decode stage's content codings."""

from __future__ import annotations

from sidecar.archive.commands import find, show_command
from sidecar.decode.content import decoded_body
from sidecar.records import Message

__all__ = ["find", "show"]

SHOW_LIMIT_BYTES = 64 << 20


def _opened(message: Message) -> bytes:
    return decoded_body(message, SHOW_LIMIT_BYTES)


show = show_command(_opened)

"""Glue: what the site log says of removed leaves, held against the checkpoint that their log signed."""

from __future__ import annotations

from sidecar.audit.ranges import Range, frontier
from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import VerifierKey
from sidecar.site.bodies import RemovedRange


def proven(gone: RemovedRange, before: Range) -> tuple[Range, VerifierKey]:
    """The tree behind a removed range, which the log's own checkpoint confirms, and the log's key.

    `before` is the tree up to the range. Raises LedgerError when they do not fit.
    """
    key = VerifierKey.parse(gone.public_key)
    checkpoint = Checkpoint.open(gone.checkpoint, [key], gone.origin)
    after = before.copy()
    try:
        after.push((level, base64text.decode(node)) for level, node in gone.subtrees)
    except ValueError as error:
        raise LedgerError(f"a subtree is {error}") from error
    if (after.size, after.root()) != (checkpoint.size, checkpoint.root):
        raise LedgerError("its subtrees do not lead to the checkpoint that the log signed")
    return after, key


def resumed(gone: RemovedRange) -> tuple[Range, VerifierKey]:
    """The tree behind a removed range, whatever stood before it, as the log's own checkpoint confirms it."""
    try:
        after = frontier(gone.size, [base64text.decode(each) for each in gone.frontier])
    except ValueError as error:
        raise LedgerError(f"its frontier is {error}") from error
    key = VerifierKey.parse(gone.public_key)
    checkpoint = Checkpoint.open(gone.checkpoint, [key], gone.origin)
    if after is None or (after.size, after.root()) != (checkpoint.size, checkpoint.root):
        raise LedgerError("its frontier does not lead to the checkpoint that the log signed")
    return after, key

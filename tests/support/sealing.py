"""A sealer with its key at hand, for tests that need sealed files and no supervisor."""

from __future__ import annotations

import selectors
import threading

from sidecar.clock import Clock, ManualClock
from sidecar.ledger.leaf import LeafEncoder
from sidecar.ledger.note import SigningKey
from sidecar.ledger.origin import Place
from sidecar.records import Epoch
from sidecar.sealing import BootFacts, Sealer
from sidecar.shipping.rows import GroupKey, RowGroup, Vault, log_values
from sidecar.signing import SigningServer

KEY = SigningKey("boot", bytes(range(32)))
PLACE = Place("prod", "lending", "mortgage", "2b1c7a52-8f4e-4c1d-9a57-0d6f6c1e7f11")


def sealer_of(boot: str, clock: Clock | None = None, enrolment: str | None = None, store: str = "") -> Sealer:
    """The sealer of a boot whose key is KEY."""
    facts = BootFacts(PLACE, boot, "0.1", KEY.verifier.public_key, enrolment, {"policy": "open"}, store)
    return Sealer(facts, lambda text: KEY.sign_bytes(text.encode()), clock or ManualClock())


def group_for(key: GroupKey, epoch: Epoch, vault: Vault | None = None) -> RowGroup:
    """An empty group whose salts are the same in every run."""
    leaf = LeafEncoder(log_values(key, epoch)).leaf
    return RowGroup(key, epoch, leaf, vault, random=lambda count: bytes(count))


class SigningThread:
    """A supervisor's signing server, alone in a thread; `descriptor` is the analyst's end."""

    def __init__(self, boot: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._server = SigningServer(self._selector, KEY, boot)
        self.descriptor = self._server.theirs.fileno()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.02):
                key.data()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()
        self._selector.close()

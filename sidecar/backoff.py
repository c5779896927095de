"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubling waits up to a cap, each drawn between half and the whole, so that many writers spread out."""

    def __init__(
        self,
        first_s: float = 0.25,
        cap_s: float = 30.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._uniform = uniform
        self.failures = 0

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        # Beyond 2**20 the cap has long been reached; a float must not overflow after days.
        whole = min(self._cap_s, self._first_s * 2.0 ** min(self.failures, 20))
        self.failures += 1
        return self._uniform(whole / 2, whole)

    def succeeded(self) -> None:
        self.failures = 0

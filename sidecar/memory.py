"""Memory that is free, and that the C library would keep."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def memory_giver() -> Callable[[], None]:
    """What hands freed memory back to the kernel: glibc keeps tens of MiB of a finished batch otherwise."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        # Another C library; it has its own ways.
        return lambda: None
    trim.argtypes = (ctypes.c_size_t,)

    def give_back() -> None:
        trim(0)

    return give_back

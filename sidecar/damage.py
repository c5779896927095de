"""What the Parquet reader does with a damaged file, turned into one of the product's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sidecar.errors import StoreError


@contextmanager
def refused(said: Callable[[str], Exception], *passing: type[BaseException]) -> Iterator[None]:
    """Raises `said(reason)` in place of whatever is raised inside, but for `passing` and what ends a program.

    The reader has many kinds of errors of its own, and panics on some damaged
    files, which arrives as a BaseException.
    """
    through: tuple[type[BaseException], ...] = (GeneratorExit, KeyboardInterrupt, SystemExit, *passing)
    try:
        yield
    except through:
        raise
    except BaseException as error:
        reason = str(error).strip().splitlines()
        raise said(reason[0] if reason else type(error).__name__) from error


def reading(name: str) -> AbstractContextManager[None]:
    """Names the object of a store that cannot be read, in a StoreError."""
    return refused(lambda reason: StoreError(f"{name}: cannot be read: {reason}"), StoreError)

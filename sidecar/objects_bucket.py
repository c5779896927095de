"""A bucket or container as auditors' store, through obstore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from sidecar.errors import ObjectMissing, StoreError
from sidecar.objects import Entry, checked

if TYPE_CHECKING:
    from sidecar.shipping.bucket import Bucket

LIST_CHUNK = 1000

T = TypeVar("T")


class BucketStore:
    """A bucket or container, read and written through obstore."""

    def __init__(self, bucket: Bucket, description: str) -> None:
        self._bucket = bucket
        self._description = description

    @property
    def description(self) -> str:
        return self._description

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        folder = prefix.strip("/") or None
        try:
            for chunk in self._bucket.list(folder, offset=after or None, chunk_size=LIST_CHUNK):
                # Servers that do not know the parameter list from the beginning.
                yield from (Entry(meta["path"], meta["size"]) for meta in chunk if meta["path"] > after)
        except Exception as error:
            raise self._failed(error, prefix or "its list") from error

    def folders(self, prefix: str = "") -> Sequence[str]:
        found = self._do(prefix, lambda: self._bucket.list_with_delimiter(prefix.strip("/") or None))
        return sorted(found["common_prefixes"])

    def get(self, name: str) -> bytes:
        return self._do(name, lambda: bytes(self._bucket.get(checked(name)).bytes()))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        try:
            return bytes(self._bucket.get_range(checked(name), start=start, length=length))
        except Exception as error:
            if re.search(r"status code: 416", str(error)) or _beyond(error):
                return b""
            raise self._failed(error, name) from error

    def size(self, name: str) -> int:
        return int(self._do(name, lambda: self._bucket.head(checked(name)))["size"])

    def put_new(self, name: str, data: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        try:
            self._bucket.put(checked(name), data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except Exception as error:
            raise self._failed(error, name) from error
        return True

    def put(self, name: str, data: bytes) -> None:
        self._do(name, lambda: self._bucket.put(checked(name), data, use_multipart=False))

    def delete(self, name: str) -> None:
        try:
            self._do(name, lambda: self._bucket.delete(checked(name)))
        except ObjectMissing:
            return

    def _do(self, name: str, act: Callable[[], T]) -> T:
        try:
            return act()
        except Exception as error:
            raise self._failed(error, name) from error

    def _failed(self, error: Exception, name: str) -> StoreError:
        from sidecar.shipping.failures import reason

        if isinstance(error, StoreError):
            return error
        if isinstance(error, FileNotFoundError):
            return ObjectMissing(f"store {self._description}: no object {name}")
        return StoreError(f"store {self._description}: {name}: {reason(error)}")


def _beyond(error: Exception) -> bool:
    return "beyond the end" in str(error) or "StartTooLarge" in str(error)

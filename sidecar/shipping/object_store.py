"""A record store in a bucket or container: S3 and compatibles, Google Cloud Storage, Azure Blob.

Each object is one PUT that must not replace anything; nothing is ever listed,
read or deleted, so the sidecar's identity may be one that can only put.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Literal

from sidecar.errors import StoreError
from sidecar.shipping.bucket import connect
from sidecar.shipping.failures import reason
from sidecar.shipping.location import Location
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import PutResult, names_its_content

if TYPE_CHECKING:
    from sidecar.shipping.bucket import Bucket

log = logging.getLogger(__name__)

_UNCONDITIONAL = re.compile(r"status code: 501|<Code>NotImplemented</Code>")
_TAKEN = re.compile(r"<Code>UnauthorizedBlobOverwrite</Code>|does not have storage\.objects\.delete access")
"""How Azure and Google refuse an identity that may create, but not replace, an object that exists."""


class ObjectSink:
    """Puts objects into a bucket. The connection and its library are made with the first one.

    A store that does not know conditional requests gets plain ones for
    batches, after saying so once: their names hold the content's hash, so what
    is replaced is the same. Key objects it does not get: a repeated put would
    bring back keys that were erased.
    """

    def __init__(self, location: Location, options: StoreOptions) -> None:
        self._location = location
        self._options = options
        self._bucket: Bucket | None = None
        self._mode: Literal["create", "overwrite"] = "create"

    @property
    def description(self) -> str:
        return self._location.text

    def put(self, name: str, data: bytes) -> PutResult:
        """One PUT. Returns or raises within the request time-out and the time of the few retries."""
        from obstore.exceptions import AlreadyExistsError

        if self._bucket is None:
            self._bucket = connect(self._location, self._options)
        try:
            self._put(self._bucket, name, data)
        except AlreadyExistsError:
            # Also the answer to a try whose first attempt arrived and whose answer did not.
            return PutResult.EXISTED
        except StoreError:
            raise
        except Exception as error:
            if _TAKEN.search(str(error)):
                return PutResult.EXISTED
            raise StoreError(f"store {self.description}: {reason(error)}; shipping is tried again") from error
        return PutResult.CREATED

    def _put(self, bucket: Bucket, name: str, data: bytes) -> None:
        mode = self._mode if names_its_content(name) else "create"
        try:
            bucket.put(name, data, mode=mode, use_multipart=False)
        except Exception as error:
            if mode == "overwrite" or not _refuses_condition(error):
                raise
            if not names_its_content(name):
                raise StoreError(
                    f"store {self.description} does not know conditional requests, so {name} could bring "
                    "back erased keys: give subjects_store a bucket or folder that does"
                ) from error
            log.warning(
                "store %s does not know conditional requests: objects are put without If-None-Match",
                self.description,
            )
            self._mode = "overwrite"
            bucket.put(name, data, mode=self._mode, use_multipart=False)


def _refuses_condition(error: Exception) -> bool:
    from obstore.exceptions import NotSupportedError

    return isinstance(error, NotSupportedError) or _UNCONDITIONAL.search(str(error)) is not None

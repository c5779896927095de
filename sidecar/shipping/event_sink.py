"""Batches as events: each exchange of a batch is posted to an HTTP address.

At least once: a batch counts as delivered when every event of it was answered
2xx. What was answered is remembered while this process lives, so that a try
after a failure goes on where it stopped; after a restart the whole batch is
sent again, with the same ids.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sidecar.cloud_event import Event
from sidecar.damage import refused
from sidecar.errors import StoreError
from sidecar.shipping import cloudevents
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import PutResult

if TYPE_CHECKING:
    from aiohttp import ClientSession

AT_ONCE = 8
"""Connections, and events under way."""
ROWS_AT_ONCE = 256
REMEMBERED = 1024
"""Names of delivered batches that are known to be."""


class EventSink:
    """Posts the exchanges of each batch to one address as CloudEvents.

    It keeps nothing: no rows but exchanges, no checkpoints, no proofs, so what
    is only sent there cannot be verified later.
    """

    def __init__(self, url: str, options: StoreOptions) -> None:
        self._url = url
        self._options = options
        self._delivered: OrderedDict[str, None] = OrderedDict()
        self._begun: tuple[str, int] = ("", 0)
        """The batch under way and how many of its events, in order, were taken."""

    @property
    def description(self) -> str:
        return self._url

    def put(self, name: str, data: bytes) -> PutResult:
        """Deliver the batch's events, within twice the request time-out.

        Raises StoreError when any was not taken; objects that are no batches
        are refused, since nobody would keep them.
        """
        if not name.endswith(".parquet"):
            raise StoreError(
                f"store {self._url}: receives events and cannot keep {name}: "
                "encrypt only with a directory or bucket as store"
            )
        if name in self._delivered:
            return PutResult.EXISTED
        asyncio.run(self._deliver(name, data))
        self._begun = ("", 0)
        self._delivered[name] = None
        while len(self._delivered) > REMEMBERED:
            self._delivered.popitem(last=False)
        return PutResult.CREATED

    async def _deliver(self, name: str, data: bytes) -> None:
        import aiohttp

        taken = self._begun[1] if self._begun[0] == name else 0
        events = islice(_events(data, self._url), taken, None)
        deadline = time.monotonic() + self._options.timeout_s
        timeout = aiohttp.ClientTimeout(
            total=self._options.timeout_s, sock_connect=self._options.connect_timeout_s
        )
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=self._trust()),
            timeout=timeout,
            headers=self._authorization(),
            trust_env=True,
        ) as session:
            while chunk := list(islice(events, AT_ONCE)):
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"store {self._url}: slow: {taken} events of a batch taken within "
                        f"{self._options.timeout_s:g} s; goes on from there"
                    )
                results = await asyncio.gather(*(self._post(session, event) for event in chunk))
                for failure in results:
                    if failure is not None:
                        raise failure
                    taken += 1
                    self._begun = (name, taken)

    async def _post(self, session: ClientSession, event: Event) -> StoreError | None:
        """None when the event was taken."""
        import aiohttp

        headers, body = event.message(self._options.event_mode)
        try:
            async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return None
                return StoreError(
                    f"store {self._url}: answered {answer.status} to {event.name}: "
                    "make it accept the event; sending is tried again"
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return StoreError(f"store {self._url}: {_reason(error)}; sending is tried again")

    def _trust(self) -> ssl.SSLContext | bool:
        if not self._options.ca:
            return True
        try:
            context = ssl.create_default_context()
            context.load_verify_locations(cafile=self._options.ca)
        except OSError as error:
            # An SSLError is an OSError without a word of the system's.
            known = isinstance(error, FileNotFoundError | PermissionError)
            reason = error.strerror if known else "no certificates"
            raise StoreError(
                f"store {self._url}: store_ca {self._options.ca}: {reason}: give a readable PEM file"
            ) from error
        return context

    def _authorization(self) -> dict[str, str]:
        file = self._options.token_file
        if file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {Path(file).read_text().strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise StoreError(f"store {self._url}: token file {file}: {reason}") from error


def _events(data: bytes, url: str) -> Iterator[Event]:
    """All events of a batch file, in its order, read as they are taken."""
    from arro3.io import read_parquet

    with refused(lambda reason: StoreError(f"store {url}: a batch that is no Parquet file cannot be sent")):
        reader = read_parquet(io.BytesIO(data), batch_size=ROWS_AT_ONCE)
        namespace = _namespace(reader.schema.metadata.get(b"sidecar"))
        present = set(reader.schema.names)
        for batch in reader:
            columns = [
                batch.column(name).to_pylist() if name in present else [None] * batch.num_rows
                for name in cloudevents.COLUMNS
            ]
            for values in zip(*columns, strict=True):
                yield from cloudevents.of_row(dict(zip(cloudevents.COLUMNS, values, strict=True)), namespace)


def _namespace(metadata: bytes | None) -> str:
    """The Kubernetes namespace, second part of the log's origin; empty when not known."""
    if not metadata:
        return ""
    facts: dict[str, Any] = orjson.loads(metadata)
    parts = str(facts.get("origin", "")).split(".")
    # A long name is cut in an origin and marked by ~: better none than a wrong one.
    return parts[1] if len(parts) >= 6 and parts[1] != "_" and "~" not in parts[1] else ""


def _reason(error: BaseException) -> str:
    import aiohttp

    if isinstance(error, TimeoutError):
        return "no answer in time: check the network, or give store_timeout more"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its certificate is not trusted: give its authority with store_ca"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved: check the address and the DNS"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection before it answered"
    return "the request could not be sent"

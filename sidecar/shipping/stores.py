"""Which sink a store's address means. Each implementation is imported only when it is used."""

from __future__ import annotations

from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.shipping.location import Kind, locate, shown
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import Sink


def sink_for(url: str, *, options: StoreOptions, create: bool) -> Sink:
    """The sink of a directory, bucket or event receiver; nothing is contacted yet.

    `create`: whether a directory that is not there may be made, and only there:
    buckets are never made. Raises ConfigError for an address of none of these.
    """
    try:
        location = locate(url)
    except ValueError as error:
        raise ConfigError(f"store: {shown(url)!r} {error}") from error
    if location.kind is Kind.DIRECTORY:
        from sidecar.shipping.directory import DirectorySink

        return DirectorySink(Path(location.path), create)
    if location.kind is Kind.EVENTS:
        from sidecar.shipping.event_sink import EventSink

        return EventSink(location.text, options)
    from sidecar.shipping.object_store import ObjectSink

    return ObjectSink(location, options)

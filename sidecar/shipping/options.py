"""How a store is talked to: what no URL says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Defaults are a sidecar's: few, short tries, since whoever puts tries again for ever."""

    endpoint: str | None = None
    """Address of an S3-compatible server, or of an Azure or GCS endpoint that is not the public one."""
    region: str | None = None
    ca: str | None = None
    """Path of a PEM file with certificates to trust beside the system's."""
    connect_timeout_s: float = 5.0
    timeout_s: float = 60.0
    """Of one whole request, body included."""
    retries: int = 2
    """Further tries inside one operation, after a refused connection or a 5xx answer."""
    retry_s: float = 10.0
    """No further try begins later than this after the first."""
    event_mode: str = "structured"
    """CloudEvents content mode: `structured`, or `binary` as KServe's own logger sends."""
    token_file: str | None = None
    """File whose content goes as bearer token to an event receiver, read again for every batch."""
    environment: Mapping[str, str] | None = None
    """The process's variables, to say which credentials will be used; None leaves that to be found out."""

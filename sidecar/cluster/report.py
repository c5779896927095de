"""What a sidecar says of itself: its `/api/v1/status`, read with care, since anybody may answer there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Report:
    """One sidecar's state. `None` stands for what a sidecar of an older version does not say."""

    version: str
    recording: bool
    """False in splice-only mode."""
    shedding: bool
    """Its journal cannot take more."""
    exchanges: int
    """Begun since its start."""
    readable_bytes: int | None
    opaque_bytes: int | None
    """Bytes that passed unread: TLS, HTTP/2, tunnels, what is no HTTP."""
    opaque_tls: int
    opaque_http2: int
    """Connections that began so."""
    ship_lag_s: float
    """How long the oldest record that is not in the store has waited."""
    ship_lag_records: int
    store_error: str | None
    gaps: int
    gap_exchanges: int
    identity_known: bool | None
    """Whether it knows the image behind it now; None also where it was told and looks no further."""

    @property
    def opaque_ratio(self) -> float | None:
        """Share of the bytes that nobody could read; None without traffic."""
        if self.opaque_bytes is None or self.readable_bytes is None:
            return None
        whole = self.opaque_bytes + self.readable_bytes
        return self.opaque_bytes / whole if whole else None


def parse(body: bytes) -> Report:
    """Raises ValueError, phrased to follow "its answer", for what is no status."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON") from error
    if not isinstance(status, dict) or status.get("mode") not in ("record", "splice_only"):
        raise ValueError("is no status of a sidecar")
    routes = [each for each in _objects(status, "routes").values() if isinstance(each, dict)]
    gaps = [each for each in _objects(status, "gaps").values() if isinstance(each, dict)]
    store = _objects(status, "store")
    opaque = [_objects(each, "opaque") for each in routes]
    says_opaque = bool(opaque) and all("bytes" in each for each in opaque)
    refusal, identity = store.get("error"), _objects(status, "identity")
    return Report(
        version=str(status.get("version") or "?")[:_MOST_CHARACTERS],
        recording=status["mode"] == "record",
        shedding=_objects(status, "journal").get("shedding") is True,
        exchanges=sum(_count(each, "started") for each in routes),
        readable_bytes=sum(_count(each, "readable_bytes") for each in routes) if says_opaque else None,
        opaque_bytes=sum(_count(each, "bytes") for each in opaque) if says_opaque else None,
        opaque_tls=sum(_count(each, "tls") for each in opaque),
        opaque_http2=sum(_count(each, "http2") for each in opaque),
        ship_lag_s=_number(store, "lag_seconds"),
        ship_lag_records=_count(store, "lag_records"),
        store_error=str(refusal)[:_MOST_CHARACTERS] if refusal else None,
        gaps=sum(_count(each, "gaps") for each in gaps),
        gap_exchanges=sum(_count(each, "exchanges") for each in gaps),
        identity_known=bool(_count(identity, "known")) if "known" in identity else None,
    )


def _objects(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: Mapping[str, Any], key: str) -> float:
    found = value.get(key)
    good = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return max(0.0, float(found)) if good and found is not None else 0.0


def _count(value: Mapping[str, Any], key: str) -> int:
    return int(_number(value, key))

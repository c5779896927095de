"""Label and field selectors as the API server takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def selects(item: Mapping[str, Any], namespace: str, query: Mapping[str, str]) -> bool:
    """Whether a list or watch with this query has the object."""
    metadata = item["metadata"]
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace") or "",
        "spec.nodeName": (item.get("spec") or {}).get("nodeName") or "",
        "status.phase": (item.get("status") or {}).get("phase") or "",
    }
    labels = metadata.get("labels") or {}
    return (
        (not namespace or metadata.get("namespace") == namespace)
        and all(_holds(each, fields) for each in _terms(query, "fieldSelector"))
        and all(_holds(each, labels) for each in _terms(query, "labelSelector"))
    )


def _terms(query: Mapping[str, str], key: str) -> list[str]:
    return [each for each in query.get(key, "").split(",") if each]


def _holds(term: str, values: Mapping[str, str]) -> bool:
    if "!=" in term:
        key, _, value = term.partition("!=")
        return values.get(key) != value
    key, equals, value = term.partition("=")
    return values.get(key) == value if equals else key in values

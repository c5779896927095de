"""Spans in which a model's traffic had drifted, as the store's `statistics/` folder lists them.

Each object there whose name ends in `.spans.json` is
`{"format":1,"spans":[{"model":…,"digest":… or null,"from_us":…,"to_us":…},…]}`;
other members of a span are for other readers.
"""

from __future__ import annotations

import orjson

from sidecar.archive.query import Span
from sidecar.archive.source import Source
from sidecar.errors import StoreError, UsageError

STATISTICS = "statistics"
SUFFIX = ".spans.json"
MOST_SPANS = 1_000


def drifted_spans(source: Source) -> tuple[Span, ...]:
    """Every listed span. Raises UsageError when none is listed, StoreError for a list that is none."""
    spans: list[Span] = []
    for entry in source.objects.list(STATISTICS):
        if entry.name.endswith(SUFFIX):
            spans += _spans(entry.name, source.objects.get(entry.name))
    if not spans:
        raise UsageError(
            f"--drifted: store {source.objects.description} lists no drifted spans below {STATISTICS}/: "
            "give --since and --until instead"
        )
    if len(spans) > MOST_SPANS:
        raise UsageError(f"--drifted: {len(spans):,} spans, at most {MOST_SPANS:,} are searched at once")
    return tuple(spans)


def _spans(name: str, data: bytes) -> list[Span]:
    try:
        document = orjson.loads(data)
        if document["format"] != 1:
            raise StoreError(f"{name}: format {document['format']}, not 1: use a newer Sidecar")
        return [
            Span(
                str(each["model"]),
                None if each.get("digest") is None else str(each["digest"]),
                int(each["from_us"]),
                int(each["to_us"]),
            )
            for each in document["spans"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{name}: is no list of spans: {error}") from error

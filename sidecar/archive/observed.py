"""The exchanges of a span of the store, as statistics count them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from sidecar.archive import catalog
from sidecar.archive.footer import read_footers
from sidecar.archive.query import Query
from sidecar.archive.source import Source
from sidecar.archive.table import Table
from sidecar.errors import StoreError
from sidecar.records import NEVER, Observation, Outcome, Sample

_OUTCOMES = {outcome.label: outcome for outcome in Outcome}
_TUNNELS = frozenset((Outcome.UPGRADED.label, Outcome.OPAQUE.label))
_NARROW = ("kind", "t_request_us", "model", "image_digest", "artifact_digest", "outcome")
_WIDE = ("record_id", "t_request_us", "t_end_us", "status", "outcome", "decoder", "inputs", "outputs")


def observed(source: Source, query: Query, problem: Callable[[StoreError], None]) -> Iterator[Sample]:
    """Every exchange of the query's model, digest and time, newest day first, in no order within a day.

    What is encrypted or was not decoded has no observation. A file that cannot
    be read is given to `problem`.
    """

    def wanted(row: Sequence[Any]) -> bool:
        kind, t_us, model, image, artifact, outcome = row
        return (
            kind == "exchange"
            and t_us is not None
            and query.may_overlap(t_us, t_us)
            and outcome not in _TUNNELS
            and query.model in (None, model)
            and (query.digest is None or (image or artifact or "unknown").startswith(query.digest))
        )

    for date, folders in catalog.days(source, query.model, query.digest):
        for footer in read_footers(source, catalog.files(source, date, folders)):
            if footer.problem is not None:
                problem(footer.problem)
                continue
            first, last = (footer.metadata.get(name) for name in ("t_min_us", "t_max_us"))
            if isinstance(first, int) and isinstance(last, int) and not query.may_overlap(first, last):
                continue
            try:
                rows = list(Table(source, footer.file.name).matching(_NARROW, _WIDE, wanted))
            except StoreError as error:
                problem(error)
                continue
            yield from map(_sample, rows)


def _sample(row: Sequence[Any]) -> Sample:
    record_id, t_us, end_us, status, outcome, decoder, inputs, outputs = row
    observation = None
    if inputs is not None:
        tables = [orjson.loads(text) if text else {} for text in (inputs, outputs)]
        # Of an exchange whose inputs were all redacted away, the outputs tell how many instances it had.
        sizes = {len(column) for table in tables for column in table.values()}
        if len(sizes) <= 1:
            observation = Observation(decoder or "", max(sizes, default=0), tables[0], tables[1])
    latency_us = NEVER if end_us is None else end_us - t_us
    return Sample(
        record_id, t_us, status or 0, _OUTCOMES.get(outcome, Outcome.COMPLETE), latency_us, observation
    )

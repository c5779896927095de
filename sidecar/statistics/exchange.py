"""What can be counted of an exchange as a whole, decoded or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.records import NEVER, Outcome, Sample

RESULTS: Final = [
    "answered",
    "undecoded",
    "client_error",
    "server_error",
    "no_answer",
    "client_abort",
    "other",
]
"""Every exchange has exactly one. `undecoded` was answered with 2xx and could not be read."""
_REQUEST_TOKENS: Final = ("usage.prompt_tokens", "usage.input_tokens", "prompt_tokens", "input_tokens")
_RESPONSE_TOKENS: Final = (
    "usage.completion_tokens",
    "usage.output_tokens",
    "completion_tokens",
    "output_tokens",
)
_NO_ANSWER = frozenset({Outcome.UPSTREAM_ERROR, Outcome.TIMEOUT, Outcome.REFUSED})


def result(sample: Sample) -> str:
    """How the exchange went, one of RESULTS."""
    if sample.outcome == Outcome.CLIENT_ABORT:
        return "client_abort"
    if 200 <= sample.status < 300 and sample.outcome == Outcome.COMPLETE:
        return "undecoded" if sample.observation is None else "answered"
    if 400 <= sample.status < 500:
        return "client_error"
    if sample.outcome in _NO_ANSWER or not sample.status:
        return "no_answer"
    return "server_error" if sample.status >= 500 else "other"


def _latency(sample: Sample) -> Any:
    return None if sample.latency_us == NEVER else sample.latency_us / 1000


def _tokens(names: Sequence[str]) -> Callable[[Sample], Any]:
    def find(sample: Sample) -> Any:
        outputs = sample.observation.outputs if sample.observation else {}
        for name in names:
            column = outputs.get(name)
            if column and type(column[0]) in (int, float):
                return column[0]
        return None

    return find


COLUMNS: Final[dict[str, Callable[[Sample], Any]]] = {
    "latency_ms": _latency,
    "result": result,
    "error": lambda sample: int(result(sample) not in ("answered", "undecoded")),
    "status": lambda sample: sample.status or None,
    "outcome": lambda sample: Outcome(sample.outcome).label,
    "request_tokens": _tokens(_REQUEST_TOKENS),
    "response_tokens": _tokens(_RESPONSE_TOKENS),
}
WATCHED: Final = ("result", "latency_ms")
"""Those that every plan watches; token counts that a server reports are among its outputs already."""


def exchange_values(name: str, samples: Sequence[Sample]) -> list[Any]:
    """One value per sample. Raises ValueError for a name that is none of COLUMNS."""
    read = COLUMNS.get(name)
    if read is None:
        raise ValueError(
            f"exchange.{name[:40]} is nothing that is known of an exchange: use {', '.join(COLUMNS)}"
        )
    return list(map(read, samples))

"""An exchange as it was stored → the sample that statistics count."""

from __future__ import annotations

from sidecar.records import NEVER, Exchange, Message, Observation, Outcome, Sample

_TUNNELS = frozenset((Outcome.UPGRADED, Outcome.OPAQUE))


def sample_of(boot: str, exchange: Exchange, response: Message, counted: Observation | None) -> Sample | None:
    """What may be counted; None for what is no call of a model, a tunnel or bytes without framing."""
    if exchange.outcome in _TUNNELS:
        return None
    status = response.head[9:12]
    return Sample(
        record_id=f"{boot}.{exchange.route}.{exchange.seq}",
        t_us=exchange.t_request_us,
        status=int(status) if status.isdigit() else 0,
        outcome=exchange.outcome,
        latency_us=NEVER if exchange.end_ns == NEVER else exchange.end_ns // 1000,
        observation=counted,
    )

"""The sidecar's own `/api/v1/status` → what the terminal shows. Pure: JSON in, values out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from docs.demo.applications import MEANINGS

RATE_SPAN_S = 5.0


@dataclass(frozen=True, slots=True)
class Share:
    """How often one decision is made; None: not known yet."""

    decision: str
    baseline: float | None
    now: float | None


@dataclass(frozen=True, slots=True)
class Move:
    """How far one feature is from its baseline. `psi` None: too few exchanges to say."""

    feature: str
    meaning: str
    psi: float | None
    change: str
    """In words, such as `mean 0.74 → 0.92`."""
    distance: float
    """Of the change in words, to order features that have no PSI yet."""


@dataclass(frozen=True, slots=True)
class Alarmed:
    """One alarm that the sidecar raised."""

    quantity: str
    sentence: str

    @property
    def of_data(self) -> bool:
        """Whether it speaks of the model's inputs and answers; how fast it answers is the machine's doing."""
        return not self.quantity.startswith("exchange.")


@dataclass(frozen=True, slots=True)
class Reading:
    """The sidecar at one moment."""

    boot: str
    exchanges: int
    journaled: int
    shipped: int
    shed: int
    waiting: int
    """Journaled and not yet shipped."""
    unread: int
    """Journaled and not yet decoded and counted."""
    store_error: str
    decode_errors: int
    watching: bool
    """Whether the baseline is frozen."""
    baseline_exchanges: int
    baseline_wanted: int
    watched: int
    """Exchanges since the baseline was frozen."""
    recent: int
    """Those of them that `shares` and `moves` speak of."""
    shares: tuple[Share, ...]
    moves: tuple[Move, ...]
    """Furthest first."""
    alarms: tuple[Alarmed, ...] = ()

    def share(self, decision: str) -> Share:
        """That decision's, or one that knows nothing."""
        return next(
            (share for share in self.shares if share.decision == decision), Share(decision, None, None)
        )


def read_status(status: dict[str, Any], route: str = "default") -> Reading:
    """One reading of one route. Raises KeyError or TypeError if it is no such document."""
    counts, store, analyst = status["routes"][route], status["store"], status["analyst"]
    model = _busiest([model for model in status["models"] if model["route"] == route])
    baseline = model.get("baseline") or {}
    window = model.get("window") or {}
    outputs, features = window.get("outputs") or {}, window.get("features") or {}
    totals = model.get("features") or {}
    moves = [_move(name, features[name], totals.get(name, {})) for name in features]
    journaled = counts["committed_seq"] - counts["shed"]
    return Reading(
        boot=status["boot"],
        exchanges=counts["ended"],
        journaled=journaled,
        shipped=min(journaled, store["rows_shipped"]),
        shed=counts["shed"],
        waiting=store["lag_records"],
        unread=analyst["lag_records"],
        store_error=store["error"] or "",
        decode_errors=analyst["decode_errors"],
        watching=model.get("state") == "watching",
        baseline_exchanges=baseline.get("exchanges", 0),
        baseline_wanted=baseline.get("wanted", 0),
        watched=model.get("exchanges", 0),
        recent=window.get("exchanges", 0),
        shares=tuple(_shares(outputs)),
        moves=tuple(sorted(moves, key=lambda move: (-(move.psi or 0.0), -move.distance))),
        alarms=tuple(Alarmed(each["quantity"], each["sentence"]) for each in model.get("alarms") or []),
    )


def _busiest(models: list[dict[str, Any]]) -> dict[str, Any]:
    """The model that answered most; empty before the first answer."""
    return max(models, key=lambda model: model["exchanges"] + model["baseline"]["exchanges"], default={})


def _shares(outputs: dict[str, Any]) -> list[Share]:
    """Of the first output that has decision shares, the most frequent in the baseline first."""
    for output in outputs.values():
        now, before = output.get("shares"), output.get("baseline_shares")
        if now and before:
            shares = [Share(str(name), before.get(name), now.get(name)) for name in {**before, **now}]
            return sorted(shares, key=lambda share: -(share.baseline or 0.0))
    return []


def _move(name: str, window: dict[str, Any], totals: dict[str, Any]) -> Move:
    """PSI of the recent window; of everything since the baseline while the window is too small."""
    psi = window.get("psi")
    if psi is None:
        psi = totals.get("psi")
    change, distance = _mean_change(window) if "mean" in window else _top_change(window)
    return Move(name, MEANINGS.get(name, ""), psi, change, distance)


def _mean_change(field: dict[str, Any]) -> tuple[str, float]:
    before, now = field.get("baseline_mean"), field.get("mean")
    if before is None or now is None:
        return "", 0.0
    deviation = field.get("baseline_deviation") or 0.0
    return f"mean {before:.3g} → {now:.3g}", abs(now - before) / deviation if deviation else 0.0


def _top_change(field: dict[str, Any]) -> tuple[str, float]:
    """The share that changed most among the most frequent values."""
    known = [
        (entry["share"] - entry["baseline_share"], entry)
        for entry in field.get("top") or []
        if entry.get("share") is not None and entry.get("baseline_share") is not None
    ]
    if not known:
        return "", 0.0
    # The larger value of a yes/no pair reads worse than the smaller: of equal changes, take the rarer.
    difference, entry = max(known, key=lambda pair: (round(abs(pair[0]), 6), -pair[1]["baseline_share"]))
    return f"{entry['value']}: {entry['baseline_share']:.0%} → {entry['share']:.0%}", abs(difference)


class Speed:
    """Exchanges per second over the last few seconds of readings."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, at_s: float, exchanges: int) -> float:
        """The speed now; 0 until two readings are known."""
        self._seen.append((at_s, exchanges))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - RATE_SPAN_S:
            self._seen.popleft()
        first_s, first = self._seen[0]
        return (exchanges - first) / (at_s - first_s) if at_s > first_s else 0.0

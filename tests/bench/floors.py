"""What the bench must show, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import bodies
from tests.bench.account import Account
from tests.bench.bodies import BodySample, Kept
from tests.bench.context import median
from tests.bench.small import SmallResults

HEADLINE_CONNECTIONS = 32
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Floor:
    what: str
    value: float | None
    """None when something it needs was not measured."""
    bound: float
    at_least: bool
    """Whether the bound is the least or the most that passes."""
    unit: str = ""
    goal: bool = False
    """A goal is shown beside the floors, but a missed one is no failure."""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return NOT_MEASURED
        good = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "PASS" if good else ("goal missed" if self.goal else "MISS")

    def line(self) -> str:
        sign = "≥" if self.at_least else "≤"
        value = "–" if self.value is None else f"{self.value:,.2f}"
        bound = f"{sign} {self.bound:g}{self.unit}"
        return f"  {self.verdict:<12} {self.what:<66} {value:>12}{self.unit:<4} {bound}"


def ratio(own: float | None, other: float | None) -> float | None:
    return own / other if own is not None and other else None


def small_floors(small: SmallResults, name: str = "sidecar") -> list[Floor]:
    """Throughput, CPU and tail at 32 connections."""

    def against(peer: str, field: str) -> float | None:
        own = small.middle(name, HEADLINE_CONNECTIONS, field)
        return ratio(own, small.middle(peer, HEADLINE_CONNECTIONS, field))

    tail = against("haproxy", "p99_us")
    return [
        Floor("requests/s against HAProxy", against("haproxy", "requests_s"), 0.75, True, " ×"),
        Floor("requests/s against Envoy", against("envoy", "requests_s"), 2, True, " ×"),
        Floor("requests/s against Envoy with tap", against("envoy+tap", "requests_s"), 4, True, " ×"),
        Floor("requests/s against aiohttp", against("aiohttp", "requests_s"), 7, True, " ×"),
        Floor("recorder CPU per request against HAProxy", against("haproxy", "cpu_us"), 1.35, False, " ×"),
        Floor("recorder CPU per request against Envoy", against("envoy", "cpu_us"), 0.45, False, " ×"),
        Floor("p99 against HAProxy", tail, 3, False, " ×"),
        Floor("p99 against HAProxy (goal)", tail, 1.5, False, " ×", goal=True),
    ]


def account_floors(accounts: Sequence[Account], million: Account | None) -> list[Floor]:
    """Nothing lost, nothing twice; the analyst's cost; memory."""
    every = [*accounts, *([million] if million else [])]

    def total(count: Callable[[Account], int]) -> float | None:
        return float(sum(count(a) for a in every)) if every else None

    costs = [million.analyst_cpu_us] if million else [a.analyst_cpu_us for a in every]
    cost = median(costs) if costs else None
    own = together = None
    if million is not None and million.stored >= 1_000_000:
        own = max(million.loaded_mib["proxy"], million.settled_mib["proxy"])
        together = max(sum(million.loaded_mib.values()), sum(million.settled_mib.values()))
    return [
        Floor("requests counted by wrk but not in the store", total(_lost), 0, False),
        Floor("records beyond those in flight at wrk's end", total(_extra), 0, False),
        Floor("records that are there twice", total(lambda a: a.twice), 0, False),
        Floor("analyst CPU per exchange (goal)", cost, 25, False, " µs", goal=True),
        Floor("recorder RssAnon after a million exchanges", own, 40, False, " MiB"),
        Floor("supervisor, recorder and analyst RssAnon together", together, 130, False, " MiB"),
    ]


def _lost(account: Account) -> int:
    return max(0, account.requests - (account.stored - account.twice))


def _extra(account: Account) -> int:
    return max(0, account.stored - account.requests - account.in_flight)


def body_floors(samples: Sequence[BodySample], kept: Sequence[Kept]) -> list[Floor]:
    """Large bodies, every byte of them journaled, against HAProxy's forwarding."""
    floors = []
    for direction in ("up", "down"):
        whole = bodies.middle(samples, "sidecar 32MiB", direction)
        value = ratio(whole, bodies.middle(samples, "haproxy", direction))
        what = f"16 MiB bodies {direction}, all journaled, against HAProxy"
        floors.append(Floor(what, value, 0.5, True, " ×"))
        committed = bodies.middle(samples, "sidecar 32MiB", direction, "journaled_mib_s")
        value = ratio(committed, bodies.middle(samples, "haproxy", direction))
        floors.append(
            Floor(f"the same, {direction}, until the last byte is durable", value, 0.5, True, " ×", goal=True)
        )
    looked = [k for k in kept if k.peer == "sidecar 32MiB"]
    missing = float(sum(k.sent - k.check.whole for k in looked)) if looked else None
    floors.append(Floor("16 MiB bodies that the store does not hold byte for byte", missing, 0, False))
    return floors

"""The nftables ruleset of a pod's network: the model's port leads to the recorder, the probes' past it.

Only what comes from outside is led: a call within the pod goes through the
output chain and reaches the model directly. Behind a service mesh it is the
other way round: the mesh's proxy has taken the connection and opens one of its
own inside the pod, which the output chain tells by the proxy's user id.

    outside ──:8080──▶ prerouting ──▶ :15100 recorder ──▶ pod's address:8080 model
    kubelet ──:15101─▶ prerouting ──▶ :8080 model
    outside ──▶ mesh proxy (uid 1337) ──:8080──▶ output ──▶ :15100 recorder ──▶ …:8080 model
    kubelet ──▶ mesh agent (uid 1337) ─:15101──▶ output ──▶ :8080 model
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TABLE: Final = "sidecar"
BEFORE_MESHES: Final = -110
"""Of the chains: the first that gives a connection a destination decides, and meshes use -100."""


@dataclass(frozen=True, slots=True)
class Interception:
    """What leads where."""

    port: int
    """The model's, that clients call."""
    to: int
    """The recorder's."""
    probe_port: int | None = None
    """Leads straight to the model."""
    direct: tuple[int, ...] = ()
    """Ports of the sidecar's own that no mesh may take."""
    mesh_uid: int | None = None
    """User of the mesh's proxy; None: there is no mesh."""

    def __post_init__(self) -> None:
        """Raises ValueError for ports that are the same or none, and a user that cannot be."""
        ports = [self.port, self.to, *self.direct]
        ports += [] if self.probe_port is None else [self.probe_port]
        for port in ports:
            if not 0 < port < 65536:
                raise ValueError(f"port {port}: is none: give one from 1 to 65535")
        if len(set(ports)) != len(ports):
            raise ValueError("two ports are the same: give each its own")
        if self.mesh_uid is not None and not 0 < self.mesh_uid < 2**32 - 1:
            raise ValueError(f"mesh user {self.mesh_uid}: give the user id of the mesh's proxy, not root's")


def ruleset(interception: Interception) -> str:
    """Input of `nft -f -`: one transaction that replaces what an earlier run of it made."""
    incoming = ['iifname "lo" return']
    if interception.mesh_uid is None:
        incoming.append(_led(interception.port, interception.to))
    if interception.probe_port is not None:
        incoming.append(_led(interception.probe_port, interception.port))
    # A port led to itself: it has its destination, and the mesh's chain is not asked any more.
    incoming += [_led(port, port) for port in interception.direct] if interception.mesh_uid else []
    chains = _chain("prerouting", incoming)
    if interception.mesh_uid is not None:
        # A mesh that rewrites probes has its agent call their port from inside the pod.
        probes = [] if interception.probe_port is None else [_led(interception.probe_port, interception.port)]
        behind = f"meta skuid {interception.mesh_uid} {_led(interception.port, interception.to)}"
        chains += _chain("output", [*probes, behind])
    return f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{chains}}}\n"


def _led(port: int, to: int) -> str:
    return f"fib daddr type local tcp dport {port} redirect to :{to}"


def _chain(hook: str, rules: list[str]) -> str:
    lines = [f"type nat hook {hook} priority {BEFORE_MESHES}; policy accept;", *rules]
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"\tchain {hook} {{\n{body}\t}}\n"

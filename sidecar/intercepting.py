"""Glue for `sidecar intercept`: sets the rules up in this network namespace, and ends."""

from __future__ import annotations

import subprocess

import click

from sidecar.errors import SidecarError, UsageError
from sidecar.interception.rules import Interception, ruleset

__all__ = ["intercept"]

_PORT = click.IntRange(1, 65535)
_LIMIT_S = 20.0


@click.command()
@click.option("--port", type=_PORT, required=True, help="The model's port, that clients call.")
@click.option("--to", type=_PORT, required=True, help="The recorder's port.")
@click.option("--probe-port", type=_PORT, help="Leads straight to the model, past the recorder.")
@click.option("--direct", type=_PORT, multiple=True, help="A port that no mesh may take; repeatable.")
@click.option("--mesh", metavar="NAME", help="The mesh whose proxy stands in front, for the message.")
@click.option("--mesh-uid", type=int, help="User id of the mesh's proxy.")
@click.option("--print", "only_print", is_flag=True, help="Print the rules and change nothing.")
def intercept(
    port: int,
    to: int,
    probe_port: int | None,
    direct: tuple[int, ...],
    mesh: str | None,
    mesh_uid: int | None,
    only_print: bool,
) -> None:
    """Lead the model's port to the recorder, by nftables, in the network namespace this runs in.

    Meant for an init container with NET_ADMIN. Running it again replaces what
    it made before. Calls within the pod still reach the model directly.
    """
    if mesh is not None and mesh_uid is None:
        raise UsageError(f"--mesh {mesh}: give --mesh-uid, the user id of its proxy, too")
    try:
        rules = ruleset(Interception(port, to, probe_port, direct, mesh_uid))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if only_print:
        click.echo(rules, nl=False)
        return
    _load(rules)
    behind = f", behind the proxy of {mesh or 'the mesh'}" if mesh_uid is not None else ""
    click.echo(f"port {port} leads to {to}{behind}")


def _load(rules: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=rules, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except FileNotFoundError as error:
        raise SidecarError("nft: not found: install nftables, or use the image's mode port") from error
    except subprocess.TimeoutExpired as error:
        raise SidecarError(f"nft: no answer in {_LIMIT_S:g} s: look at the node's kernel log") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[0].removeprefix("/dev/stdin:") if said else f"exit code {done.returncode}"
        raise SidecarError(
            f"nft: {reason}: it takes NET_ADMIN, root, and a kernel with nftables NAT (5.2 or newer)"
        )

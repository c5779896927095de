"""`sidecar admission-policy`: injection as a MutatingAdmissionPolicy, for clusters that want no webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from sidecar import __version__
from sidecar.errors import UsageError
from sidecar.inject.policy import SINCE, policy
from sidecar.inject.settings import read
from sidecar.inject.stream import Basis
from sidecar.inject.surroundings import Surroundings
from sidecar.injecting import IMAGE, basis_options, check_given, sources


@click.command(name="admission-policy")
@basis_options("1.36")
@click.option(
    "--api-version",
    "api",
    type=click.Choice(list(SINCE)),
    help="Of admissionregistration.k8s.io. [default: the newest that --kubernetes-version has]",
)
@click.option("--name", default="sidecar-inject", show_default=True, help="Of the policy.")
@click.option(
    "--namespace-label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only for namespaces with this label; several policies give several settings.",
)
def admission_policy(
    defaults: tuple[Path, ...],
    given: tuple[str, ...],
    image: str | None,
    version: tuple[int, int],
    api: str | None,
    openshift: bool,
    name: str,
    labels: tuple[str, ...],
) -> None:
    """Print injection as a MutatingAdmissionPolicy and its bindings.

    The API server evaluates it by itself. It injects the pods that CEL can
    decide exactly as `sidecar inject` does, and leaves others as they are.

        sidecar admission-policy --set store=s3://evidence/fleet | kubectl apply -f -
    """
    basis = Basis(
        image or IMAGE, __version__, sources(defaults, given), Surroundings(version, version, openshift)
    )
    check_given(basis)
    settings, _ = read(basis.sources, basis.image)
    if settings.store is None:
        raise UsageError("no store: give --set store=s3://BUCKET/PREFIX, gs://… or az://…")
    documents = policy(settings, basis.around, __version__, api or _newest(version), name, _pairs(labels))
    click.echo(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100), nl=False)


def _newest(version: tuple[int, int]) -> str:
    """The version of the API for this Kubernetes. Raises UsageError for one that has none."""
    for api, since in SINCE.items():
        if version >= since:
            return api
    least = ".".join(map(str, min(SINCE.values())))
    raise UsageError(
        f"Kubernetes {version[0]}.{version[1]} has no MutatingAdmissionPolicy, which came with {least}: "
        "use the webhook"
    )


def _pairs(labels: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise UsageError(f"--namespace-label {label}: write KEY=VALUE")
        found[key] = value
    return found


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)

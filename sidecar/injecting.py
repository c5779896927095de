"""`sidecar inject`: put the sidecar into workloads that are files, before they are applied."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from sidecar import __version__
from sidecar.errors import SidecarError, UsageError
from sidecar.inject.keys import BY_NAME, LEVELS, PASSED
from sidecar.inject.manifest import Document, documents
from sidecar.inject.settings import Source, read
from sidecar.inject.stream import Basis, Injected, inject_documents
from sidecar.inject.surroundings import Surroundings
from sidecar.inject.yaml_nodes import ManifestError

Command = TypeVar("Command", bound=Callable[..., Any])
IMAGE = f"sidecar:{__version__}"
MOST_BYTES = 64 * 2**20
"""Of one file."""


class KubernetesVersion(click.ParamType):  # type: ignore[type-arg]
    """A Kubernetes version, as (major, minor)."""

    name = "VERSION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        major, _, minor = str(value).removeprefix("v").partition(".")
        minor = minor.partition(".")[0]
        if not (major.isdigit() and minor.isdigit()):
            self.fail(f"{value!r} is no version: write it like 1.33", param, ctx)
        return int(major), int(minor)


def basis_options(version: str) -> Callable[[Command], Command]:
    """The options that say with what is injected, and into which cluster; `version` is the default."""
    options = (
        click.option(
            "--defaults",
            multiple=True,
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="ConfigMap `sidecar-defaults`, or a YAML mapping of the same keys; a later one wins.",
        ),
        click.option(
            "--set", "given", multiple=True, metavar="KEY=VALUE", help="One such key; wins over --defaults."
        ),
        click.option("--image", metavar="IMAGE", help=f"The sidecar's image. [default: {IMAGE}]"),
        click.option(
            "--kubernetes-version",
            "version",
            type=KubernetesVersion(),
            default=version,
            show_default=True,
            help="Of the oldest node.",
        ),
        click.option("--openshift", is_flag=True, help="The cluster is OpenShift."),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command()
@click.option("-f", "--filename", "files", multiple=True, metavar="FILE", help="Manifest, `-` for stdin.")
@basis_options("1.33")
@click.option("--pod-security", type=click.Choice(LEVELS), help="Enforced level of the namespace.")
@click.option("--diff", "as_diff", is_flag=True, help="What would change, instead of the manifests.")
@click.option("--json", "as_json", is_flag=True, help="What was done to which workload, with the patches.")
@click.option("--strict", is_flag=True, help="Exit 1 when a workload could not be injected.")
def inject(
    files: tuple[str, ...],
    defaults: tuple[Path, ...],
    given: tuple[str, ...],
    image: str | None,
    version: tuple[int, int],
    pod_security: str | None,
    openshift: bool,
    as_diff: bool,
    as_json: bool,
    strict: bool,
) -> None:
    """Put the sidecar into the workloads of manifests, and print them.

    Takes every kind that has a pod template, Lists, and several documents; what
    is no workload passes through as it is. What was done is told on stderr.
    Comments of a changed document are lost.

        sidecar inject -f deployment.yaml | kubectl apply -f -
    """
    if not files:
        raise UsageError("no manifest: give -f FILE, or -f - for stdin")
    basis = Basis(
        image or IMAGE,
        __version__,
        sources(defaults, given),
        Surroundings(version, version, openshift, pod_security),
    )
    check_given(basis)
    names, found = [], []
    for name in files:
        for document in _documents(name):
            names.append(name)
            found.append(document)
    try:
        texts, done = inject_documents(found, basis)
    except ManifestError as error:
        raise SidecarError(f"{', '.join(files)}: {error}") from error
    if as_json:
        click.echo(json.dumps({"workloads": [_shown(each) for each in done]}, indent=2, ensure_ascii=False))
    elif as_diff:
        click.echo("".join(_diff(names, found, texts)), nl=False)
    else:
        click.echo("".join(_joined(names, found, texts)), nl=False)
    _report(done)
    left_out = [
        each for each in done if not (each.outcome.is_injected or each.asked_out or each.left_to_webhook)
    ]
    if strict and left_out:
        sys.exit(1)


def sources(defaults: Iterable[Path], given: Iterable[str]) -> tuple[Source, ...]:
    """The settings of files and of `--set`, the last one strongest. Raises UsageError."""
    found = []
    for path in defaults:
        (document, *others) = _documents(str(path))
        value = document.value
        if isinstance(value, dict) and value.get("kind") == "ConfigMap":
            value = value.get("data") or {}
        if others or not isinstance(value, dict):
            raise UsageError(f"{path}: is neither a ConfigMap nor a mapping of keys of injection")
        found.append(Source(str(path), {str(key): _text(each) for key, each in value.items()}))
    texts = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write KEY=VALUE")
        texts[key] = text
    return (*found, Source("--set", texts)) if texts else tuple(found)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_given(basis: Basis) -> None:
    """What the user gave on this command line is not warned of, but refused."""
    for source in basis.sources:
        unknown = sorted(source.texts.keys() - BY_NAME.keys() - PASSED.keys())
        if unknown:
            known = ", ".join(sorted(BY_NAME.keys() | PASSED.keys()))
            raise UsageError(f"{source.name}: {unknown[0]} is no setting of injection: give one of {known}")
    _, warnings = read(basis.sources, basis.image)
    if warnings:
        raise UsageError(warnings[0].removesuffix("; it is ignored"))


def _documents(name: str) -> list[Document]:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise SidecarError(f"{name}: is larger than {MOST_BYTES >> 20} MiB: inject it in parts")
        # Editors of Windows put a mark of byte order in front.
        return documents(data.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}: give a manifest that can be read") from error
    except UnicodeDecodeError as error:
        raise SidecarError(f"{name}: is no UTF-8 text at byte {error.start}: save it as UTF-8") from error
    except ManifestError as error:
        raise SidecarError(f"{name}: {error}: correct it") from error


def _joined(names: Sequence[str], found: Sequence[Document], texts: Sequence[str]) -> Iterable[str]:
    """The texts in their order; between two files a separator, as if they had been one."""
    for index, text in enumerate(texts):
        if index and names[index] != names[index - 1]:
            if not texts[index - 1].endswith("\n"):
                yield "\n"
            if not found[index].head:
                yield "---\n"
        yield text


def _diff(names: Sequence[str], found: Sequence[Document], texts: Sequence[str]) -> Iterable[str]:
    for name in dict.fromkeys(names):
        mine = [index for index, each in enumerate(names) if each == name]
        before = "".join(found[index].text for index in mine)
        after = "".join(texts[index] for index in mine)
        yield from difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (injected)"
        )


def _shown(each: Injected) -> Mapping[str, Any]:
    capture = each.outcome.capture
    return {
        "kind": each.kind,
        "name": each.name,
        "namespace": each.namespace,
        "injected": each.outcome.is_injected,
        "mode": capture.mode if capture else None,
        "container": capture.target.model if capture else None,
        "port": capture.target.port if capture else None,
        "reason": each.outcome.reason,
        "warnings": list(each.outcome.warnings),
        "to_do": list(each.to_do),
        "patch": each.patch,
    }


def _report(done: Sequence[Injected]) -> None:
    """One line a workload on stderr, and what to heed or to do."""
    for each in done:
        where = f"{each.kind.lower()}/{each.name}"
        capture = each.outcome.capture
        if capture is not None:
            line = (
                f"injected: {capture.mode}, port {capture.target.port} of container {capture.target.model} ("
            )
            line += f"{each.outcome.reason})"
        elif each.outcome.is_injected or each.left_to_webhook:
            line = each.outcome.reason
        else:
            line = f"not injected: {each.outcome.reason}"
        click.echo(f"{where}: {line}", err=True)
        for warning in each.outcome.warnings:
            click.echo(f"{where}: warning: {warning}", err=True)
        for command in each.to_do:
            click.echo(f"{where}: to do: {command}", err=True)
    if not done:
        click.echo("no workload in the input", err=True)

"""`sidecar coverage`: the model pods of a cluster, and which of them are not recorded."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import click

from sidecar import __version__
from sidecar.cluster.api import Access, Api
from sidecar.cluster.asking import ask_all, directly, through_api
from sidecar.cluster.coverage import Answer, Row, State, row, summary
from sidecar.cluster.kubeconfig import read, run_plugin
from sidecar.cluster.snapshot import Snapshot, look, pods
from sidecar.cluster.versions import is_openshift, versions
from sidecar.coverage_table import lines
from sidecar.errors import SidecarError, UsageError
from sidecar.inject.names import ADMIN_PORT, DEFAULTS, SIDECAR, SYSTEM_NAMESPACE
from sidecar.inject.review import Namespace
from sidecar.inject.surroundings import Surroundings
from sidecar.injecting import IMAGE
from sidecar.model_pod_options import LIVING, mark_options, marks
from sidecar.model_pods import Mark, ModelPods
from sidecar.parameters import Parsed
from sidecar.resident import service_account, service_account_options
from sidecar.settings_values import parse_duration

AT_ONCE = 16
_API_S = 30.0
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


def parse_namespace(text: str) -> str:
    """A namespace's name. Raises ValueError, phrased to follow the text."""
    if not _NAME.match(text):
        raise ValueError("is no name of a namespace: a-z, 0-9 and -, at most 63")
    return text


class Uncovered(SidecarError):
    """Some model pods are not recorded."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An `inject.review.Knowledge` of one look."""

    snapshot: Snapshot
    around: Surroundings
    system: str
    image: str = IMAGE
    version: str = field(default=__version__)

    @property
    def cluster_defaults(self) -> Mapping[str, str]:
        return self._defaults(self.system) or {}

    def namespace(self, name: str) -> Namespace | None:
        found = self.snapshot.namespaces.get(name)
        if found is None:
            return None
        metadata, services = found.get("metadata") or {}, self.snapshot.services
        return Namespace(
            metadata.get("labels") or {},
            metadata.get("annotations") or {},
            self._defaults(name) if name != self.system else None,
            None if services is None else tuple(services.get(name, ())),
        )

    def _defaults(self, name: str) -> Mapping[str, str] | None:
        found = self.snapshot.config_maps.get(name)
        return None if found is None else found.get("data") or {}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how."""

    access: Access
    namespaces: Sequence[str]
    marks: tuple[Mark, ...]
    system: str
    through_api: bool
    each_s: float
    all_s: float


@click.command()
@click.option(
    "--namespace",
    "-n",
    "namespaces",
    multiple=True,
    type=Parsed("NAME", parse_namespace),
    help="Only these.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@mark_options
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    metavar="FILE",
    help="As kubectl takes it.  [default: ~/.kube/config, else as in a pod]",
)
@click.option("--context", metavar="NAME", help="Of the kubeconfig.  [default: its current one]")
@click.option(
    "--through",
    type=click.Choice(["api", "network"]),
    help="How sidecars are reached: by the API's proxy, or at their address.  [default: network in a pod]",
)
@click.option(
    "--timeout",
    "each_s",
    type=Parsed("DURATION", parse_duration),
    default="5s",
    show_default=True,
    help="For one sidecar.",
)
@click.option(
    "--within",
    "all_s",
    type=Parsed("DURATION", parse_duration),
    default="60s",
    show_default=True,
    help="For all sidecars.",
)
@click.option(
    "--system-namespace",
    default=SYSTEM_NAMESPACE,
    show_default=True,
    help="Where webhook and controller are.",
)
@service_account_options
@click.pass_obj
def coverage(
    environment: Mapping[str, str],
    /,
    namespaces: tuple[str, ...],
    as_json: bool,
    also: tuple[Mark, ...],
    labelled_only: bool,
    kubeconfig: str | None,
    context: str | None,
    through: str | None,
    each_s: float,
    all_s: float,
    system_namespace: str,
    **api: Any,
) -> None:
    """List the model pods of a cluster: covered, how, and what is amiss.

    A model pod is one that a label asks to record, its own or its namespace's,
    one with a sidecar, or one with a label of KServe or Seldon Core.

    Exit codes: 0 all are covered or left out on purpose, 1 some are not, or the
    cluster could not be read, 2 a wrong command line or kubeconfig.
    """
    access, in_cluster = _access(kubeconfig, context, environment or {}, api)
    by_api = not in_cluster if through is None else through == "api"
    question = Question(
        access,
        tuple(dict.fromkeys(namespaces)),
        marks(also, labelled_only),
        system_namespace,
        by_api,
        each_s,
        all_s,
    )
    rows, remarks = asyncio.run(_rows(question))
    if as_json:
        shown = {"summary": summary(rows), "pods": [each.as_json() for each in rows], "remarks": remarks}
        click.echo(json.dumps(shown))
    else:
        for line in lines(rows, _width(environment or {})):
            click.echo(line)
    for remark in remarks:
        click.echo(f"sidecar: {remark}", err=True)
    bad = sum(each.state is State.UNCOVERED for each in rows)
    if bad:
        raise Uncovered(f"{bad} of {len(rows)} model pods {'is' if bad == 1 else 'are'} not covered")


def _width(environment: Mapping[str, str]) -> int | None:
    """As COLUMNS says, else of the terminal; None where lines may be as long as they are, as in a pipe."""
    told = environment.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return int(told)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _access(
    kubeconfig: str | None, context: str | None, environment: Mapping[str, str], api: Mapping[str, Any]
) -> tuple[Access, bool]:
    """Access, and whether it is a pod's own."""
    in_a_pod = bool(api["api_host"])
    paths = [Path(each) for each in (kubeconfig or "").split(":") if each and api["url"] is None]
    if len(paths) > 1:
        # As in KUBECONFIG, where files of the list may be missing.
        paths = [each for each in paths if each.exists()] or paths
    # Not Path.home(), which raises for a user without a name, as a container's may be.
    usual = Path(os.path.expanduser("~/.kube/config"))  # noqa: PTH111
    if not paths and api["url"] is None and usual.exists():
        paths = [usual]
    if paths:
        return read(paths, context, run_plugin(environment))[0], False
    if context is not None:
        raise UsageError("coverage: --context is of a kubeconfig: give --kubeconfig FILE")
    if api["url"] is None and not in_a_pod:
        raise UsageError("coverage: no cluster: give --kubeconfig FILE, or set KUBECONFIG")
    return service_account("coverage", **api), in_a_pod


async def _rows(question: Question) -> tuple[list[Row], list[str]]:
    """The rows, sorted, and what is to be known of them. Raises ClusterError."""
    async with Api(question.access, tries=3, timeout_s=_API_S, connections=AT_ONCE) as api:
        snapshot = await look(api, question.namespaces, DEFAULTS, question.system)
        server, oldest = await versions(api)
        around = Surroundings(oldest, server, await is_openshift(api))
        judge = ModelPods(Seen(snapshot, around, question.system), question.marks, question.system)
        every = await pods(api, question.namespaces, judge.keep, LIVING)
        judged = [(pod, asked) for pod in every if "spec" in pod and (asked := judge.asked(pod)) is not None]
        answers = await _answers(question, api, [pod for pod, asked in judged if asked.mode is not None])
    made = [row(pod, SIDECAR, asked, answers.get(_key(pod))) for pod, asked in judged]
    rows = sorted((each for each in made if each is not None), key=lambda each: (each.namespace, each.pod))
    return rows, list(_remarks(rows, snapshot, question))


async def _answers(
    question: Question, api: Api, pods: list[dict[str, object]]
) -> dict[tuple[str, str], Answer]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
        fetch = through_api(api, ADMIN_PORT) if question.through_api else directly(session, ADMIN_PORT)
        said = await ask_all(pods, fetch, AT_ONCE, question.each_s, question.all_s)
    return {_key(pod): answer for pod, answer in zip(pods, said, strict=True)}


def _key(pod: Mapping[str, object]) -> tuple[str, str]:
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata.get("namespace")), str(metadata.get("name"))


def _remarks(rows: Sequence[Row], snapshot: Snapshot, question: Question) -> Iterable[str]:
    if snapshot.services is None:
        yield "Services may not be listed: ways past a sidecar cannot be seen; grant list on services"
    if not rows:
        where = f"namespace {', '.join(question.namespaces)}" if question.namespaces else "the cluster"
        yield f"no model pods in {where}: label a namespace or pods sidecar.dev/inject: enabled"

"""How a pod is to be recorded: defaults, the cluster's ConfigMap, the namespace's, the pod's annotations.

Later sources win. A wrong value or an unknown key becomes a warning and counts
as not given: it never fails a pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sidecar.inject.keys import (
    BY_NAME,
    PASSED,
    Key,
    shown,
)
from sidecar.inject.names import OURS, PREFIX
from sidecar.inject.quantity import amount
from sidecar.settings_table import ENVIRONMENT_PREFIX


@dataclass(frozen=True, slots=True)
class InjectSettings:
    """One pod's settings; the fields are the keys of `keys.OWN`, with `_` for `-`."""

    upstream_port: int | str | None = None
    container: str | None = None
    model_name: str | None = None
    mode: str | None = None
    listen_port: int | None = None
    max_bytes: int = 2**30
    journal_volume: tuple[str, str] = ("emptyDir", "")
    """Kind of volume, and the folder or the claim."""
    cpu_request: str = "100m"
    cpu_limit: str | None = None
    memory_request: str = "256Mi"
    memory_limit: str = "768Mi"
    image: str = ""
    image_pull_policy: str | None = None
    secret: str | None = None
    store_secret: str | None = None
    identity: str = "downward"
    """How the sidecar learns which image its model is."""
    baseline: tuple[str, str] | None = None
    """ConfigMap, and the key in it."""
    watch: tuple[str, str] | None = None
    splice_only: bool = False
    """As it was when the pod was made; the sidecar follows the annotation itself."""
    native: str = "auto"
    pod_security: str = "privileged"
    openshift: bool = False
    locked: tuple[str, ...] = ()
    passed: tuple[tuple[str, str], ...] = ()
    """Settings of `sidecar run` as environment variables: name and value, sorted."""

    @property
    def store(self) -> str | None:
        return dict(self.passed).get(ENVIRONMENT_PREFIX + "STORE")


@dataclass(frozen=True, slots=True)
class Source:
    """Texts by key, and what to call them in a warning: `ConfigMap fraud/sidecar-defaults`, `annotation`."""

    name: str
    texts: Mapping[str, str]
    of_pod: bool = False


def from_annotations(annotations: Mapping[str, str]) -> Source:
    """The settings among a pod's annotations; others' annotations are left out."""
    ours = {key.removeprefix(PREFIX): text for key, text in annotations.items() if _is_setting(key)}
    return Source("annotation", ours, of_pod=True)


def _is_setting(annotation: str) -> bool:
    return annotation.startswith(PREFIX) and annotation not in OURS


def read(sources: Iterable[Source], image: str) -> tuple[InjectSettings, list[str]]:
    """The settings that these sources make, the last one strongest, and warnings in their order.

    `image` is the sidecar's image where no source names one.
    """
    values: dict[str, Any] = {"image": image}
    passed: dict[str, str] = {}
    warnings: list[str] = []
    for source in sources:
        locked = values.get("locked", ())
        for name, text in sorted(source.texts.items()):
            problem = None
            if source.of_pod and name in locked:
                problem = "is locked by the cluster's or the namespace's ConfigMap"
            elif (key := BY_NAME.get(name)) is not None:
                problem = _take(key, text, source, values)
            elif name in PASSED:
                problem = _pass(name, text, passed)
            else:
                problem = "is no setting of injection"
            if problem is not None:
                label = PREFIX + name if source.of_pod else name
                warnings.append(f"{source.name} {label}: {problem}; it is ignored")
    settings = InjectSettings(**values, passed=tuple(sorted(passed.items())))
    return _consistent(settings, warnings), warnings


def _take(key: Key, text: str, source: Source, values: dict[str, Any]) -> str | None:
    if source.of_pod and not key.of_pod:
        return "can only be set in a ConfigMap"
    if not source.of_pod and not key.of_config:
        return "can only be set on a pod"
    try:
        values[key.field] = key.parse(text)
    except ValueError as error:
        return f"{shown(text)} {error}"
    return None


def _pass(name: str, text: str, passed: dict[str, str]) -> str | None:
    setting = PASSED[name]
    texts = [line for line in text.splitlines() if line.strip()] if setting.many else [text]
    for each in texts:
        try:
            setting.value(each)
        except ValueError as error:
            return f"{shown(each)} {error}"
        if setting.key == "store" and "://" not in each:
            return f"{shown(each)} is a folder, which a pod loses at its end: give s3://, gs://, az:// or https://"
    passed[setting.variable] = setting.separator.join(texts)
    return None


def _consistent(settings: InjectSettings, warnings: list[str]) -> InjectSettings:
    """Requests never above limits: the API would refuse the pod."""
    for resource in ("cpu", "memory"):
        request, limit = getattr(settings, f"{resource}_request"), getattr(settings, f"{resource}_limit")
        if limit is not None and amount(request) > amount(limit):
            warnings.append(
                f"{resource}-request {request} is above {resource}-limit {limit}; the limit is requested"
            )
            settings = replace(settings, **{f"{resource}_request": limit})
    return settings


FIELDS = frozenset(field.name for field in fields(InjectSettings)) - {"passed"}
"""What `keys.OWN` must cover."""

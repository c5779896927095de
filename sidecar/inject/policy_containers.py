"""The injected containers and volumes as CEL: those of `container`, with expressions for what the pod tells.

`container` is asked for every way in which the conditions can stand, with
stand-ins (`hole`) for names and numbers; what differs becomes a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sidecar.inject.container import interceptor, recorder, volumes
from sidecar.inject.interception import Capture
from sidecar.inject.mesh import Mesh
from sidecar.inject.patch import status_text
from sidecar.inject.pod import Object
from sidecar.inject.policy_literal import (
    Expression,
    Known,
    decided,
    every_case,
    hole,
    list_of,
    literal,
    number_hole,
    object_of,
)
from sidecar.inject.settings import InjectSettings
from sidecar.inject.target import Target
from sidecar.settings_table import BY_KEY

_DIGEST = "sha256:" + "0" * 64
_HOLES = {
    "model": "variables.modelContainer.name",
    "model_name": "(variables.modelName != '' ? variables.modelName.replace('$', '$$') : "
    "variables.workload != '' ? variables.workload : variables.modelContainer.name)",
    "workload": "variables.workload",
    "port": "string(variables.port)",
    "port_name": "variables.portName",
    "listen": "string(variables.listen)",
    "mode": "variables.mode",
    "reason": "variables.reason",
    "mesh": "string(variables.mesh[0])",
    "mesh_uid": "string(variables.mesh[1])",
    "digest": "variables.pinned",
    "drain_delay": "string(variables.drain)",
    "grace": "string(variables.draining)",
    "ship_timeout": "string(variables.shipping)",
}
_CONDITIONS = {
    "native": "variables.native",
    "port_mode": "variables.mode == 'port'",
    "meshed": "variables.meshed",
    "redirect": "variables.mode == 'redirect'",
    "has_workload": "variables.workload != ''",
    "pinned": "variables.pinned != ''",
    "shares": "variables.sharesResources",
    "guaranteed": "variables.guaranteed",
    "limits_storage": "variables.limitsStorage",
    "all_limit_cpu": "variables.allLimitCpu",
    "sets_group": "variables.setsGroup",
    "may_mount_nodes": "variables.level == 'privileged'",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """One way in which the conditions can stand; `pod` and `capture` are a pod for which they stand so."""

    native: bool
    port_mode: bool
    meshed: bool
    redirect: bool
    has_workload: bool
    pinned: bool
    shares: bool
    guaranteed: bool
    limits_storage: bool
    all_limit_cpu: bool
    sets_group: bool
    may_mount_nodes: bool

    @property
    def pod(self) -> Object:
        limits: dict[str, str] = {}
        if self.guaranteed:
            limits = {"cpu": "1", "memory": "1Gi"}
        elif self.all_limit_cpu:
            limits = {"cpu": "1"}
        if self.limits_storage:
            limits["ephemeral-storage"] = "1Gi"
        model: Object = {"name": hole("model"), "resources": {"limits": limits}}
        model["image"] = f"model@{_DIGEST}" if self.pinned else "model"
        spec: Object = {"containers": [model]}
        if self.shares:
            spec["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
        if self.sets_group:
            spec["securityContext"] = {"fsGroup": 1}
        return {"spec": spec}

    def settled(self, settings: InjectSettings) -> InjectSettings:
        """The settings with a journal's volume that the pod can have."""
        if settings.journal_volume[0] != "hostPath" or self.may_mount_nodes:
            return settings
        return replace(settings, journal_volume=("emptyDir", ""))

    def capture(self, fixed_user: bool) -> Capture:
        mode = "port" if self.port_mode else "redirect" if self.redirect else "shift"
        target = Target(hole("model"), 0, number_hole("port"), 0, hole("port_name"), "")
        mesh = Mesh(hole("mesh"), number_hole("mesh_uid")) if self.meshed else None
        listen = number_hole("listen")
        return Capture(mode, hole("reason"), target, listen, self.native, mesh, fixed_user)


def status_annotation(version: str) -> str:
    """What injection says of itself, as an expression."""

    def said(case: _Case) -> str:
        text = status_text(replace(case.capture(True), mode=hole("mode")), version)
        for number_of in ("port", "listen"):
            text = text.replace(f'"{hole(number_of)}"', hole(number_of))
        return text

    names = ("native", "meshed")
    made = _cases(names, said)
    return decided([_CONDITIONS[name] for name in names], made, lambda value: literal(value, _HOLES))


def _cases(names: Sequence[str], make: Callable[[_Case], Any]) -> dict[Known, Any]:
    rest = {field.name: False for field in fields(_Case)}

    def of(known: Known) -> Any:
        return make(_Case(**(rest | dict(zip(names, known, strict=True)))))

    return every_case(names, of)


def sidecar_container(settings: InjectSettings, fixed_user: bool) -> str:
    """The recorder's container, as an expression."""
    general = replace(settings, model_name=hole("model_name"))

    def container(case: _Case) -> Object:
        made = recorder(case.pod, case.capture(fixed_user), case.settled(general), hole("workload"))
        return made | {"env": Expression(environment)}

    def variables_of(case: _Case) -> Mapping[str, Object]:
        workload = hole("workload") if case.has_workload else None
        made = recorder(case.pod, case.capture(fixed_user), case.settled(general), workload)
        return {each["name"]: _timed(each) for each in made["env"]}

    environment = list_of(
        [_CONDITIONS[name] for name in _OF_ENVIRONMENT], _cases(_OF_ENVIRONMENT, variables_of), _HOLES
    )
    names = [name for name in _CONDITIONS if name not in ("has_workload", "pinned")]
    return object_of([_CONDITIONS[name] for name in names], _cases(names, container), _HOLES)


_OF_ENVIRONMENT = (
    "native", "port_mode", "meshed", "redirect", "has_workload", "pinned", "sets_group", "may_mount_nodes",
)  # fmt: skip


def _timed(entry: Object) -> Object:
    """A variable of the environment whose value the stand-in pod cannot give."""
    for key in ("drain_delay", "grace", "ship_timeout"):
        if entry["name"] == BY_KEY[key].variable:
            return {"name": entry["name"], "value": hole(key) + "s"}
    return entry | ({"value": entry["value"].replace(_DIGEST, hole("digest"))} if "value" in entry else {})


def pod_volumes(settings: InjectSettings) -> list[str]:
    """The volumes that the pod gets, an expression each."""
    names = ("may_mount_nodes",)
    made = _cases(names, lambda case: volumes(case.settled(settings)))
    return [
        decided(
            [_CONDITIONS[name] for name in names],
            {known: each[index] for known, each in made.items()},
            lambda volume: f"dyn({literal(volume, {})})",
        )
        for index in range(len(volumes(settings)))
    ]


def intercept_container(settings: InjectSettings, fixed_user: bool) -> str:
    """The init container of `redirect`, as an expression."""
    names = ("meshed", "shares", "guaranteed")

    def container(case: _Case) -> Object:
        return interceptor(case.pod, case.capture(fixed_user), settings)

    return object_of([_CONDITIONS[name] for name in names], _cases(names, container), _HOLES)

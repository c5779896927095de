"""The same injection as a MutatingAdmissionPolicy: CEL that the API server runs itself, without a webhook.

The containers are those that `container` makes, rendered with expressions in
place of what only the pod tells; what to do with which pod is decided by
`policy_variables`. A pod that the expressions cannot decide exactly as
injection does is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sidecar.inject.container import interceptor, recorder, volumes
from sidecar.inject.interception import Capture
from sidecar.inject.mesh import Mesh
from sidecar.inject.names import (
    DISABLED,
    ENABLED,
    INJECT,
    JOURNAL_VOLUME,
    PROBE_PORT,
    SAFE_TO_EVICT,
    STATUS,
    SYSTEM_NAMESPACE,
    TEMPORARY_VOLUME,
)
from sidecar.inject.patch import escaped, status_text
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
    quoted,
)
from sidecar.inject.policy_probers import probers_led_past
from sidecar.inject.policy_target import HOOK_PATHS, PROBE_PATHS, actions, number
from sidecar.inject.policy_variables import variables
from sidecar.inject.settings import InjectSettings
from sidecar.inject.surroundings import Surroundings, Version
from sidecar.inject.target import Target
from sidecar.settings_table import BY_KEY

GROUP = "admissionregistration.k8s.io"
SINCE: Mapping[str, Version] = {"v1": (1, 36), "v1beta1": (1, 34), "v1alpha1": (1, 32)}
"""The versions of the API, and the Kubernetes that each came with."""
LEFT_OUT = (SYSTEM_NAMESPACE, "kube-system", "kube-public", "kube-node-lease")
"""Namespaces that are never injected."""
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


def policy(
    settings: InjectSettings,
    around: Surroundings,
    version: str,
    api: str = "v1",
    name: str = "sidecar-inject",
    namespaces: Mapping[str, str] | None = None,
) -> list[Object]:
    """The policy and its bindings. `namespaces` are labels that namespaces must have beside ours.

    `settings` are those of every pod that the policy takes, since CEL sees no
    ConfigMap of the namespace; of `around` the versions and OpenShift count.
    """
    spec: Object = {
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {"matchExpressions": [_named("NotIn", LEFT_OUT), *_labelled(namespaces)]},
            "objectSelector": {"matchExpressions": [_ours("NotIn", DISABLED)]},
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                    "scope": "Namespaced",
                }
            ],
        },
        "matchConditions": [
            {"name": name, "expression": expression} for name, expression in CONDITIONS.items()
        ],
        "variables": [
            {"name": name, "expression": expression}
            for name, expression in _all_variables(settings, around).items()
        ],
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": _mutation(settings, version)}},
        ],
    }
    head = {"apiVersion": f"{GROUP}/{api}"}
    bound = {
        name: {"namespaceSelector": {"matchExpressions": [_ours("In", ENABLED)]}},
        f"{name}-pods": {
            "namespaceSelector": {"matchExpressions": [_ours("NotIn", ENABLED)]},
            "objectSelector": {"matchExpressions": [_ours("In", ENABLED)]},
        },
    }
    found: list[Object] = [
        {**head, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    ]
    for binding, matched in bound.items():
        found.append(
            {
                **head,
                "kind": "MutatingAdmissionPolicyBinding",
                "metadata": {"name": binding},
                "spec": {"policyName": name, "matchResources": matched},
            }
        )
    return found


CONDITIONS = {
    "not-injected": "!object.spec.containers.exists(c, c.name == 'sidecar') && "
    "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'sidecar')",
    "own-network": "!object.spec.?hostNetwork.orValue(false)",
}
"""By name; the API server looks at nothing else of a pod for which one is false."""


def _ours(operator: str, value: str) -> Object:
    return {"key": INJECT, "operator": operator, "values": [value]}


def _named(operator: str, values: Sequence[str]) -> Object:
    return {"key": "kubernetes.io/metadata.name", "operator": operator, "values": list(values)}


def _labelled(labels: Mapping[str, str] | None) -> list[Object]:
    return [{"key": key, "operator": "In", "values": [value]} for key, value in (labels or {}).items()]


def _mutation_variables() -> dict[str, str]:
    least = "({0} < {1} ? {0} : {1})"
    left = "(variables.usable - variables.drain - variables.shipping)"
    return {
        "drain": f"variables.native ? 0 : {least.format('variables.usable / 5', '5')}",
        "shipping": f"variables.native ? {least.format('variables.usable * 2 / 3', '10')} : "
        f"{least.format('variables.usable / 3', '10')}",
        "draining": f"{least.format(left, '(variables.native ? 5 : 86400)')}",
        "evictable": f"variables.annotations[?{quoted(SAFE_TO_EVICT)}].orValue('')"
        ".split(',').filter(s, s != '')",
        "handlers": f"({_handlers('containers', 'at', 'object.spec.containers[i]', 'true')} + ' ' + "
        + _handlers(
            "initContainers",
            "initAt",
            "variables.initContainers[i]",
            "variables.initContainers[i].?restartPolicy.orValue('') == 'Always'",
        )
        + ").split(' ').filter(p, p != '')",
    }


def _handlers(key: str, at: str, container: str, runs: str) -> str:
    """The places of the ports of kubelet's calls to the captured port, with spaces between them."""
    leads = (
        f"exists(h, {number('h.port', container)} == variables.port && "
        "(variables.mode == 'redirect' || type(h.port) == string))"
    )
    start = f"'/spec/{key}/' + string(i) + '/"
    probes = f"{PROBE_PATHS}.filter(a, {actions(container)}.{leads}).map(a, {start}' + a.join('/') + '/port')"
    hooks = (
        f"{HOOK_PATHS}.filter(a, {actions(container, '.?lifecycle')}.{leads})"
        f".map(a, {start}lifecycle/' + a.join('/') + '/port')"
    )
    return f"variables.{at}.filter(i, {runs}).map(i, ({probes} + {hooks}).join(' ')).join(' ')"


def _all_variables(settings: InjectSettings, around: Surroundings) -> dict[str, str]:
    fixed_user = not (settings.openshift or around.openshift)
    containers = {
        "sidecar": _sidecar(settings, fixed_user),
        "interceptor": _interceptor(settings, fixed_user),
    }
    return variables(settings, around) | _mutation_variables() | containers


def _mutation(settings: InjectSettings, version: str) -> str:
    """The expression of the JSON patch."""
    evictable = literal([JOURNAL_VOLUME, TEMPORARY_VOLUME], {})
    annotations = f"/metadata/annotations/{escaped('@')}".removesuffix("@")
    steps = [
        "(has(object.metadata.annotations) ? [] : [" + _add("/metadata/annotations", "{}") + "])",
        "["
        + _add(
            annotations + escaped(SAFE_TO_EVICT),
            f"(variables.evictable + {evictable}.filter(s, !(s in variables.evictable))).join(',')",
        )
        + "]",
        "[" + _add(annotations + escaped(STATUS), _status(version)) + "]",
        "variables.handlers.map(p, JSONPatch{op: 'replace', path: p, value: "
        f"variables.mode == 'redirect' ? {PROBE_PORT} : variables.port}})",
        probers_led_past(),
        "(variables.mode == 'port' ? [JSONPatch{op: 'remove', path: '/spec/containers/' + "
        "string(variables.ownerAt) + '/ports/' + string(variables.portAt) + '/name'}] : [])",
        _appended("volumes", _volumes(settings)),
        "(variables.native ? " + _appended("initContainers", ["variables.sidecar"]) + " : [])",
        "(variables.mode == 'redirect' ? "
        + _appended("initContainers", ["variables.interceptor"], "variables.native")
        + " : [])",
        "(variables.native ? [] : [" + _add("/spec/containers/-", "variables.sidecar") + "])",
    ]
    return "!variables.injects ? [] :\n" + " +\n".join(steps)


def _add(path: str, value: str) -> str:
    return f"JSONPatch{{op: 'add', path: {quoted(path)}, value: {value}}}"


def _appended(key: str, values: list[str], made_before: str = "false") -> str:
    """The list itself is added where the pod has none and no earlier step made it."""
    there = f"has(object.spec.{key})" + (f" || {made_before}" if made_before != "false" else "")
    steps = ", ".join(_add(f"/spec/{key}/-", value) for value in values)
    return f"({there} ? [] : [{_add(f'/spec/{key}', '[]')}]) + [{steps}]"


def _status(version: str) -> str:
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


def _sidecar(settings: InjectSettings, fixed_user: bool) -> str:
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


def _volumes(settings: InjectSettings) -> list[str]:
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


def _interceptor(settings: InjectSettings, fixed_user: bool) -> str:
    names = ("meshed", "shares", "guaranteed")

    def container(case: _Case) -> Object:
        return interceptor(case.pod, case.capture(fixed_user), settings)

    return object_of([_CONDITIONS[name] for name in names], _cases(names, container), _HOLES)

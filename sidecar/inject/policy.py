"""The same injection as a MutatingAdmissionPolicy: CEL that the API server runs itself, without a webhook.

What to do with which pod is decided by `policy_variables` and `policy_target`;
the containers are those of `policy_containers`. A pod that the expressions cannot decide exactly as
injection does is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.inject.names import (
    DISABLED,
    ENABLED,
    INJECT,
    JOURNAL_VOLUME,
    KUBERNETES_NAMESPACES,
    PROBE_PORT,
    SAFE_TO_EVICT,
    STATUS,
    SYSTEM_NAMESPACE,
    TEMPORARY_VOLUME,
)
from sidecar.inject.patch import escaped
from sidecar.inject.pod import Object
from sidecar.inject.policy_containers import (
    intercept_container,
    pod_volumes,
    sidecar_container,
    status_annotation,
)
from sidecar.inject.policy_literal import literal, quoted
from sidecar.inject.policy_probers import probers_led_past
from sidecar.inject.policy_target import HOOK_PATHS, PROBE_PATHS, actions, number
from sidecar.inject.policy_variables import variables
from sidecar.inject.settings import InjectSettings
from sidecar.inject.surroundings import Surroundings, Version

GROUP = "admissionregistration.k8s.io"
SINCE: Mapping[str, Version] = {"v1": (1, 36), "v1beta1": (1, 34), "v1alpha1": (1, 32)}
"""The versions of the API, and the Kubernetes that each came with."""
LEFT_OUT = (SYSTEM_NAMESPACE, *KUBERNETES_NAMESPACES)
"""Namespaces that are never injected."""


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
        "sidecar": sidecar_container(settings, fixed_user),
        "interceptor": intercept_container(settings, fixed_user),
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
        "[" + _add(annotations + escaped(STATUS), status_annotation(version)) + "]",
        "variables.handlers.map(p, JSONPatch{op: 'replace', path: p, value: "
        f"variables.mode == 'redirect' ? {PROBE_PORT} : variables.port}})",
        probers_led_past(),
        "(variables.mode == 'port' ? [JSONPatch{op: 'remove', path: '/spec/containers/' + "
        "string(variables.ownerAt) + '/ports/' + string(variables.portAt) + '/name'}] : [])",
        _appended("volumes", pod_volumes(settings)),
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

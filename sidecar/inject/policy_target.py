"""Which container is the model and which port leads to it, in CEL: what `target` says in Python."""

from __future__ import annotations

from sidecar.inject.names import PREFIX
from sidecar.inject.pod import HOOK_KINDS, HOOKS, PROBE_KINDS, PROBES
from sidecar.inject.policy_literal import literal, quoted
from sidecar.inject.target import (
    DEFAULT_CONTAINER,
    KSERVE_AGENT,
    KSERVE_LABEL,
    KSERVE_PORT,
    KSERVE_TRANSFORMER,
    MODEL_NAMES,
    PROXIES,
    QUEUE_CERTIFICATES,
    QUEUE_PORT,
    QUEUE_PROXY,
    SERVING,
    SIDE_DOORS,
)

PROBE_PATHS = literal([[probe, kind] for probe in PROBES for kind in PROBE_KINDS], {})
HOOK_PATHS = literal([[hook, kind] for hook in HOOKS for kind in HOOK_KINDS], {})
_THIS = "object.spec.containers[i]"
_MODEL = "variables.modelContainer"
_MODEL_NAMES = literal(list(MODEL_NAMES), {})
_S, _S_PORTS = quoted("'s "), quoted("'s ports")
_IS_KSERVE = f"{quoted(KSERVE_LABEL)} in variables.labels"


def first(found: str, otherwise: str) -> str:
    """The first of a list, or something else where it is empty."""
    return f"({found} + [{otherwise}])[0]"


def tcp(container: str) -> str:
    """The container's TCP ports."""
    return f"{container}.?ports.orValue([]).filter(p, p.?protocol.orValue('TCP') == 'TCP')"


def actions(container: str, of: str = "") -> str:
    """The call by kubelet into the container itself, if there is one, that the path `a` leads to."""
    found = f"{container}{of}[?a[0]][?a[1]].orValue({{}})"
    return f"[{found}].filter(h, has(h.port) && h.?host.orValue('') == '')"


def number(port: str, container: str) -> str:
    """What a probe's port means in its container: a number, or a name of one of its; 0 for nothing."""
    return (
        f"(type({port}) == int ? int({port}) : string({port}).matches('^[0-9]{{1,9}}$') ? int({port}) : "
        f"{_by_name(container, port, '0')})"
    )


def _by_name(container: str, name: str, otherwise: str) -> str:
    ports = f"{container}.?ports.orValue([])"
    return first(f"{ports}.filter(p, p.?name.orValue('') == {name}).map(p, int(p.containerPort))", otherwise)


def model_variables() -> dict[str, str]:
    """The model's container, and the helper that calls it inside the pod; -1 for none."""
    named = "variables.at.filter(i, variables.names[i] == {})"
    agent = f"variables.names[i] == {quoted(KSERVE_AGENT)} && {_IS_KSERVE} && size({tcp(_THIS)}) > 0"
    calls = (
        f"variables.names[i] == {quoted(QUEUE_PROXY)}",
        agent,
        f"variables.names[i] == {quoted(KSERVE_TRANSFORMER)} && {_IS_KSERVE}",
    )
    helpers = " + ".join(f"variables.at.filter(i, i != variables.model && {each})" for each in calls)
    default = f"[variables.annotations[?{quoted(DEFAULT_CONTAINER)}].orValue('')]"
    return {
        "preferred": f"({_MODEL_NAMES} + {default}).filter(n, n in variables.names)",
        "own": f"variables.at.filter(i, !(variables.names[i] in {literal(sorted(PROXIES), {})}))",
        "serving": f"variables.own.filter(i, size({tcp(_THIS)}) > 0)",
        "model": "variables.container != '' ? "
        + first(named.format("variables.container"), "-1")
        + " : size(variables.preferred) > 0 ? "
        + first(named.format("variables.preferred[0]"), "-1")
        + " : size(variables.own) == 1 ? variables.own[0] : "
        + first("variables.serving", "-1"),
        "modelContainer": "object.spec.containers[variables.model]",
        "helper": first(f"({helpers})", "-1"),
        "ownerAt": "variables.helper >= 0 ? variables.helper : variables.model",
        "owner": "object.spec.containers[variables.ownerAt]",
    }


def port_variables() -> dict[str, str]:
    """The port that is captured, 0 for none; why it is that one; where its container declares it."""
    doors = f"variables.tcp.filter(p, !p.?name.orValue('').matches({quoted('|'.join(SIDE_DOORS))}))"
    ranked = (
        f"{literal(list(SERVING), {})}.map(s, variables.doors.filter(p, p.?name.orValue('').startsWith(s)))"
    )
    encrypted = f"exists(m, m.mountPath == {quoted(QUEUE_CERTIFICATES)})"
    behind_helper = (
        f"(variables.owner.name == {quoted(QUEUE_PROXY)} ? "
        f"(variables.owner.?volumeMounts.orValue([]).{encrypted} ? 0 : "
        f"{_by_name('variables.owner', quoted(QUEUE_PORT), '8012')}) : "
        + first(f"{tcp('variables.owner')}.map(p, int(p.containerPort))", str(KSERVE_PORT))
        + ")"
    )
    return {
        "tcp": tcp(_MODEL),
        "doors": f"size({doors}) > 0 ? {doors} : variables.tcp",
        "likeliest": f"({ranked} + [variables.doors]).filter(l, size(l) > 0)[0][0]",
        "probed": f"{_probed(PROBE_PATHS, '', 'a[0]')} + "
        + _probed(HOOK_PATHS, ".?lifecycle", quoted("lifecycle")),
        "port": "variables.model < 0 ? 0 : "
        f"variables.helper >= 0 ? {behind_helper} : "
        "variables.upstreamPort.matches('^[0-9]+$') ? int(variables.upstreamPort) : "
        f"variables.upstreamPort != '' ? {_by_name(_MODEL, 'variables.upstreamPort', '0')} : "
        "size(variables.tcp) > 0 ? int(variables.likeliest.containerPort) : "
        "size(variables.probed) > 0 ? int(variables.probed[0].split(' ')[1]) : "
        f"{_MODEL}.name in {_MODEL_NAMES} && {_IS_KSERVE} ? {KSERVE_PORT} : 0",
        "why": _why(),
        "portAt": first(
            "variables.upTo.filter(j, j < size(variables.owner.?ports.orValue([])) && "
            "variables.owner.ports[j].containerPort == variables.port && "
            "variables.owner.ports[j].?protocol.orValue('TCP') == 'TCP')",
            "-1",
        ),
        "portName": "variables.portAt < 0 ? '' : variables.owner.ports[variables.portAt].?name.orValue('')",
    }


def _probed(paths: str, of: str, said: str) -> str:
    """The ports of the model's probes or hooks, each as `livenessProbe 8080`."""
    called = f"{actions(_MODEL, of)}.map(h, {number('h.port', _MODEL)}).filter(n, n > 0)"
    return f"{paths}.map(a, {called}.map(n, {said} + ' ' + string(n)).join('')).filter(s, s != '')"


def _why() -> str:
    name = f"{_MODEL}.name"
    return (
        "variables.helper >= 0 ? "
        "variables.owner.name + ' calls the model inside the pod, so its port is captured' : "
        f"variables.upstreamPort != '' ? {quoted(PREFIX + 'upstream-port')} : "
        f"size(variables.tcp) == 1 ? 'the port of container ' + {name} : "
        f"size(variables.tcp) > 1 ? 'the likeliest of container ' + {name} + {_S_PORTS} : "
        f"size(variables.probed) > 0 ? 'the port of container ' + {name} + "
        f"{_S} + variables.probed[0].split(' ')[0] : " + quoted("KServe's port for models that declare none")
    )

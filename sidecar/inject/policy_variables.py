"""What injection decides of a pod, as variables of a MutatingAdmissionPolicy (CEL).

Each says what its namesake in `settings`, `mesh`, `resources`, `pod` and
`interception` says; tests hold the two together over the corpus of pods. A
variable is evaluated when another one, or the mutation, asks for it. Lists are
searched by index (`at`), since older API servers have no comprehension with
two variables.
"""

from __future__ import annotations

from sidecar.inject.interception import MIRROR, OS_LABELS, OWN_KERNELS, OWN_PORTS
from sidecar.inject.keys import BY_NAME, MODES, PASSED
from sidecar.inject.mesh import OTHER_PROXIES, PAST_THE_PROXY, PROXIES
from sidecar.inject.names import INTERCEPT, LISTEN_PORT, POD_SECURITY, PREFIX, SIDECAR
from sidecar.inject.pod import OF_CRON_JOB, TEMPLATE_HASHES, WORKLOAD_LABELS
from sidecar.inject.policy_literal import literal, quoted
from sidecar.inject.policy_target import first, model_variables, port_variables, tcp
from sidecar.inject.settings import InjectSettings
from sidecar.inject.surroundings import NAMED_PORTS_SINCE, NATIVE_SINCE, Surroundings
from sidecar.inject.target import QUEUE_PROXY

MOST = 64
"""Containers of a pod, or ports of a container, that are looked at; a pod with more is left alone."""
TAKEN = ("container", "upstream-port", "model-name", "mode", "listen-port", "splice-only")
"""Annotations that the policy understands; any other known one is for the webhook."""
_PORT = "t.matches('^[0-9]{1,5}$') && int(t) > 0 && int(t) < 65536"
_PORT_NAME = "t.matches('^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$') && t.matches('[a-z]') && !t.contains('--')"


def variables(settings: InjectSettings, around: Surroundings) -> dict[str, str]:
    """Name → expression, each after those that it uses."""
    return (
        _pod_variables()
        | _setting_variables(settings)
        | model_variables()
        | port_variables()
        | _mesh_variables()
        | _mode_variables(settings, around)
        | _resource_variables()
        | _name_variables()
    )


def _pod_variables() -> dict[str, str]:
    hindrances = (
        f"{quoted(MIRROR)} in variables.annotations",
        _on_windows(),
        "object.spec.?hostNetwork.orValue(false)",
        f"variables.containers.exists(c, c.name in {literal([SIDECAR, INTERCEPT], {})})",
        "object.spec.?volumes.orValue([]).exists(v, v.name.startsWith('sidecar-'))",
        f"size(variables.containers) > {MOST}",
        f"variables.containers.exists(c, size(c.?ports.orValue([])) > {MOST})",
    )
    return {
        "labels": "object.metadata.?labels.orValue({})",
        "annotations": "object.metadata.?annotations.orValue({})",
        "namespaceLabels": "namespaceObject.metadata.?labels.orValue({})",
        "namespaceAnnotations": "namespaceObject.metadata.?annotations.orValue({})",
        "initContainers": "object.spec.?initContainers.orValue([])",
        "containers": "object.spec.containers + variables.initContainers",
        "upTo": literal(list(range(MOST)), {}),
        "at": "variables.upTo.filter(i, i < size(object.spec.containers))",
        "initAt": "variables.upTo.filter(i, i < size(variables.initContainers))",
        "names": "object.spec.containers.map(c, c.name)",
        "hindered": " || ".join(hindrances),
    }


def _on_windows() -> str:
    labels = literal(list(OS_LABELS), {})
    selected = f"{labels}.exists(l, object.spec.?nodeSelector[?l].orValue('') == 'windows')"
    terms = (
        "object.spec.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution"
        ".?nodeSelectorTerms.orValue([])"
    )
    demanded = f"e.key in {labels} && e.operator == 'In' && e.?values.orValue([]) == ['windows']"
    return (
        "(object.spec.?os.?name.hasValue() ? object.spec.os.name == 'windows' : "
        f"{selected} || size({terms}) > 0 && "
        f"{terms}.all(t, t.?matchExpressions.orValue([]).exists(e, {demanded})))"
    )


def _setting_variables(settings: InjectSettings) -> dict[str, str]:
    """The settings that a pod may change; wrong ones count as not given."""

    def of_pod(key: str, valid: str, otherwise: str = "") -> str:
        text = f"variables.annotations[{quoted(PREFIX + key)}]"
        if key in settings.locked:
            return quoted(otherwise)
        there = f"{quoted(PREFIX + key)} in variables.annotations && [{text}].all(t, {valid})"
        return f"{there} ? {text} : {quoted(otherwise)}"

    dns_label = "t.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')"
    named = "t.matches('^[!-~]([ -~]{0,126}[!-~])?$')"
    listen = f"{_PORT} && int(t) >= 1024 && !(int(t) in {literal(list(OWN_PORTS), {})})"
    return {
        "beyond": _beyond(settings),
        "container": of_pod("container", dns_label),
        "upstreamPort": of_pod("upstream-port", f"({_PORT}) || ({_PORT_NAME})"),
        "modelName": of_pod("model-name", named),
        "askedMode": of_pod("mode", f"t in {literal(list(MODES), {})}", settings.mode or ""),
        "listenPort": f"int({of_pod('listen-port', listen, str(settings.listen_port or 0))})",
    }


def _beyond(settings: InjectSettings) -> str:
    """Whether the pod says what the policy cannot read as injection does: it is left to the webhook."""
    left = {name for name, key in BY_NAME.items() if key.of_pod} | PASSED.keys()
    keys = sorted(PREFIX + key for key in left - {*TAKEN, *settings.locked})
    found = [f"variables.annotations.exists(k, k in {literal(keys, {})})"] if keys else []
    if "model-name" not in settings.locked:
        # Which characters beyond ASCII can be shown, CEL cannot tell.
        name = f"variables.annotations[?{quoted(PREFIX + 'model-name')}].orValue('')"
        found.append(f"!{name}.matches('^[ -~]*$')")
    found.append("object.metadata.?generateName.orValue('').endsWith('--')")
    # Lists and ranges of ports, that a mesh's annotations hold.
    found.append(f"variables.annotations.exists(k, k in {literal(list(PAST_THE_PROXY), {})})")
    return " || ".join(found)


def _mesh_variables() -> dict[str, str]:
    proxies = [_proxy(name, container, uid) for name, (container, uid) in PROXIES.items()]
    others = literal(list(OTHER_PROXIES), {})
    labels, notes = "variables.labels", "variables.annotations"
    istio = (
        f"[string({labels}[?'sidecar.istio.io/inject'].orValue('')), "
        f"string({notes}[?'sidecar.istio.io/inject'].orValue(''))].filter(s, s != '')"
    )
    linkerd = f"{notes}[?'linkerd.io/inject'].orValue('')"
    dataplane = f"{labels}[?'istio.io/dataplane-mode'].orValue('')"
    of_namespace = (
        "variables.namespaceLabels[?'istio.io/dataplane-mode'].orValue('') == 'ambient' ? 'ambient' : "
        "variables.namespaceLabels[?'istio-injection'].orValue('') == 'enabled' || "
        "variables.namespaceLabels[?'istio.io/rev'].orValue('') != '' ? 'istio' : "
        "variables.namespaceAnnotations[?'linkerd.io/inject'].orValue('') in ['enabled', 'ingress'] ? "
        "'linkerd' : ''"
    )
    out = (
        "variables.namespaceMesh == 'istio' && variables.istioWish == 'false' || "
        f"variables.namespaceMesh == 'linkerd' && {linkerd} == 'disabled' || "
        f"variables.namespaceMesh == 'ambient' && {dataplane} == 'none'"
    )
    return {
        "namespaceMesh": of_namespace,
        "istioWish": first(istio, "''"),
        # Name and user id of the proxies that are there, then of the one to come.
        "meshes": f"{' + '.join(proxies)} + "
        f"object.spec.containers.filter(c, c.name in {others}).map(c, [string(c.name), ''])",
        "expectedMesh": f"{dataplane} == 'ambient' || "
        f"{notes}[?'ambient.istio.io/redirection'].orValue('') == 'enabled' ? 'ambient' : "
        f"variables.istioWish == 'true' ? 'istio' : {linkerd} in ['enabled', 'ingress'] ? 'linkerd' : "
        f"{out} ? '' : variables.namespaceMesh",
        "mesh": "size(variables.meshes) > 0 ? variables.meshes[0] : "
        + "".join(
            f"variables.expectedMesh == {quoted(name)} ? [{quoted(name)}, {quoted(str(uid))}] : "
            for name, (_, uid) in PROXIES.items()
        )
        + "[string(variables.expectedMesh), '']",
        "meshed": "variables.mesh[0] != ''",
    }


def _proxy(mesh: str, container: str, uid: int) -> str:
    found = f"variables.containers.filter(c, c.name == {quoted(container)})"
    return f"{found}.map(c, [{quoted(mesh)}, string(c.?securityContext.?runAsUser.orValue({uid}))])"


def _mode_variables(settings: InjectSettings, around: Surroundings) -> dict[str, str]:
    level = f"variables.namespaceLabels[?{quoted(POD_SECURITY)}].orValue({quoted(settings.pod_security)})"
    openshift = settings.openshift or around.openshift
    soft = quoted("OpenShift's restricted security context forbids NET_ADMIN" if openshift else "")
    own = literal(list(OWN_PORTS), {})
    return {
        "level": level,
        "forbiddenAlways": "variables.level != 'privileged' ? "
        "'Pod Security level ' + variables.level + ' forbids NET_ADMIN' : "
        f"object.spec.?runtimeClassName.orValue('') in {literal(list(OWN_KERNELS), {})} ? 'runtime class ' + "
        "object.spec.runtimeClassName + ' has a kernel of its own, without nftables' : "
        "variables.meshed && variables.mesh[1] == '' ? "
        "'how mesh ' + variables.mesh[0] + ' hands connections over is not known to redirect' : ''",
        "forbidden": f"variables.forbiddenAlways != '' ? variables.forbiddenAlways : {soft}",
        "because": "variables.askedMode != '' ? 'mode ' + variables.askedMode : variables.forbidden",
        # Without a mode no injection: a sidecar that captures nothing is worse than none.
        "mode": "variables.hindered || variables.beyond || variables.port == 0 ? '' : "
        "variables.askedMode == 'redirect' ? (variables.forbiddenAlways == '' ? 'redirect' : '') : "
        "variables.askedMode == '' && variables.forbidden == '' ? 'redirect' : "
        f"variables.owner.name == {quoted(QUEUE_PROXY)} ? '' : "
        "variables.askedMode != 'shift' && variables.portName != '' ? 'port' : "
        "variables.askedMode != 'port' && variables.listenPort > 0 ? 'shift' : ''",
        "listen": f"variables.listenPort > 0 ? variables.listenPort : {LISTEN_PORT}",
        "reason": "variables.mode == 'port' ? "
        "variables.because + '; Services target the port by its name, ' + variables.portName : "
        "variables.mode == 'shift' ? "
        "variables.because + '; Services must target port ' + string(variables.listen) : "
        f"variables.askedMode == 'redirect' ? {quoted(PREFIX + 'mode asks for it')} : "
        "'nothing forbids it; ' + variables.why",
        "native": _native(settings, around),
        "needed": f"[variables.listen] + {own}",
        "taken": "variables.port in variables.needed || variables.containers.exists(c, "
        f"{tcp('c')}.exists(p, int(p.containerPort) in variables.needed))",
        "injects": "variables.mode != '' && !variables.taken && "
        "(variables.native || object.spec.?restartPolicy.orValue('Always') == 'Always')",
    }


def _native(settings: InjectSettings, around: Surroundings) -> str:
    if settings.native != "auto":
        return "true" if settings.native == "on" else "false"
    if around.oldest_node < NATIVE_SINCE:
        return "false"
    return "true" if around.server >= NAMED_PORTS_SINCE else "variables.mode != 'port'"


def _resource_variables() -> dict[str, str]:
    alike = (
        "['cpu', 'memory'].all(n, {0}.?limits[?n].hasValue() && quantity(string({0}.limits[n])).compareTo("
        "quantity(string({0}.?requests[?n].orValue({0}.limits[n])))) == 0)"
    )
    of_pod = "object.spec.?resources.orValue({})"
    return {
        "guaranteed": f"size({of_pod}) > 0 ? {alike.format('object.spec.resources')} : "
        f"variables.containers.all(c, has(c.resources) && {alike.format('c.resources')})",
        "sharesResources": f"['requests', 'limits'].exists(k, size({of_pod}[?k].orValue({{}})) > 0)",
        "limitsStorage": "(object.spec.containers + "
        "variables.initContainers.filter(c, c.?restartPolicy.orValue('') == 'Always'))"
        ".exists(c, c.?resources.?limits[?'ephemeral-storage'].hasValue())",
        "allLimitCpu": "object.spec.containers.all(c, c.?resources.?limits[?'cpu'].hasValue())",
        "setsGroup": "object.spec.?securityContext.?fsGroup.hasValue()",
        "grace": "int(object.spec.?terminationGracePeriodSeconds.orValue(30))",
        "usable": "variables.grace > 2 ? variables.grace - 2 : 0",
    }


def _name_variables() -> dict[str, str]:
    hashed = first(
        f"{literal(list(TEMPLATE_HASHES), {})}.map(l, variables.labels[?l].orValue('')).filter(h, h != '')",
        "''",
    )
    stripped = (
        f"{hashed} != '' && variables.madeBy.endsWith('-' + {hashed}) ? "
        f"variables.madeBy.substring(0, size(variables.madeBy) - size({hashed}) - 1) : "
        f"{hashed} == '' && variables.madeByKind == 'Job' && "
        f"variables.madeBy.matches({quoted(OF_CRON_JOB)}) ? "
        "variables.madeBy.substring(0, size(variables.madeBy) - 9) : variables.madeBy"
    )
    without_dash = "g.endsWith('-') ? g.substring(0, size(g) - 1) : g"
    generated = f"[object.metadata.?generateName.orValue('')].map(g, {without_dash})[0]"
    labelled = "".join(
        f"variables.labels[?{quoted(label)}].orValue('') != '' ? variables.labels[{quoted(label)}] : "
        for label in WORKLOAD_LABELS
    )
    image = "variables.modelContainer.?image.orValue('')"
    controller = "object.metadata.?ownerReferences.orValue([]).filter(o, o.?controller.orValue(false))"
    return {
        "madeBy": first(f"{controller}.map(o, o.name)", "''"),
        "madeByKind": first(f"{controller}.map(o, o.kind)", "''"),
        "workload": f"{labelled}variables.madeBy != '' ? ({stripped}) : "
        f"object.metadata.?name.orValue('') != '' ? object.metadata.name : {generated}",
        "pinned": f"[{image}].map(n, n.matches('@sha256:[0-9a-f]{{64}}$') ? "
        "n.substring(size(n) - 71) : '')[0]",
    }

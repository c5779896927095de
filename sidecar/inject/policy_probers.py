"""The probes that Istio's agent makes in kubelet's stead, led past the recorder, in CEL: see `mesh`."""

from __future__ import annotations

from sidecar.inject.mesh import ISTIO_PROBERS, PROXIES
from sidecar.inject.names import PROBE_PORT
from sidecar.inject.policy_literal import quoted

_PLACES = {
    "containers": ("at", "object.spec.containers"),
    "initContainers": ("initAt", "variables.initContainers"),
}
"""Where the proxy may stand: the indexes of these containers, and the containers."""


def probers_led_past() -> str:
    """The steps of the JSON patch, for what has its last word in `variables.mode` and `variables.port`."""
    steps = " + ".join(_step(key, *place) for key, place in _PLACES.items())
    return f"(variables.mode != 'redirect' ? [] : {steps})"


def _step(key: str, at: str, containers: str) -> str:
    proxy, name = quoted(PROXIES["istio"][0]), quoted(ISTIO_PROBERS)
    variables = f"{containers}[i].?env.orValue([])"
    # Texts first, since CEL makes no list of lists flat: `2 7` is the third container's eighth variable.
    places = (
        f"variables.{at}.filter(i, {containers}[i].name == {proxy}).map(i, variables.upTo"
        f".filter(j, j < size({variables}) && {variables}[j].name == {name})"
        ".map(j, string(i) + ' ' + string(j)).join(','))"
        ".join(',').split(',').filter(p, p != '')"
    )
    value = f"{containers}[int(p.split(' ')[0])].env[int(p.split(' ')[1])].?value.orValue('')"
    path = f"'/spec/{key}/' + p.replace(' ', '/env/') + '/value'"
    return (
        f"{places}.filter(p, {value} != {_led(value)})"
        f".map(p, JSONPatch{{op: 'replace', path: {path}, value: {_led(value)}}})"
    )


def _led(value: str) -> str:
    port = quoted('"port":')
    for end in (",", "}"):
        value += f".replace({port} + string(variables.port) + '{end}', {port} + '{PROBE_PORT}{end}')"
    return value

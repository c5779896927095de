"""What injection makes of every pod of the corpus: properties that hold for all, and the schemas of the API."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonpatch
import pytest

from sidecar.config import Settings, load
from sidecar.inject import names
from sidecar.inject.json_patch import apply
from sidecar.inject.mesh import ISTIO_PROBERS
from sidecar.inject.patch import ALREADY
from sidecar.inject.pod import handlers, port_number
from sidecar.inject.quantity import amount
from sidecar.settings_table import TABLE
from tests.support.corpus import CASES, INJECTED, REFUSED, Case

every_injected = pytest.mark.parametrize("case", INJECTED, ids=lambda case: case.name)
OURS = (names.SIDECAR, names.INTERCEPT)


def injected(case: Case) -> dict[str, Any]:
    pod: dict[str, Any] = apply(case.pod, case.inject().patch)
    return pod


def all_containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def sidecar_of(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in all_containers(pod) if each["name"] == names.SIDECAR]
    return found


def environment(pod: dict[str, Any], pod_ip: str = "10.1.2.3") -> dict[str, str]:
    """The variables as kubelet gives them to the sidecar: fields filled in, `$(NAME)` expanded, `$$` undone."""
    facts = {
        "status.podIP": pod_ip,
        "metadata.namespace": "risk",
        "metadata.name": "p-1",
        "metadata.uid": "u-1",
    }
    found: dict[str, str] = {}
    for each in sidecar_of(pod)["env"]:
        if "valueFrom" in each:
            found[each["name"]] = facts[each["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            found[each["name"]] = re.sub(
                r"\$\$|\$\(([^)]*)\)",
                lambda match: "$" if match[0] == "$$" else found.get(match[1], match[0]),
                each["value"],
            )
    return found


def settings(pod: dict[str, Any], pod_ip: str = "10.1.2.3") -> Settings:
    return load({}, environment(pod, pod_ip))


def test_the_corpus_is_varied() -> None:
    assert len(CASES) >= 60
    assert {case.expect["mode"] for case in INJECTED} == {"redirect", "port", "shift"}
    assert len(REFUSED) >= 10


@every_injected
def test_the_mode_is_the_expected_one_and_said_in_the_status(case: Case) -> None:
    outcome = case.inject()
    assert outcome.capture is not None, outcome.reason
    status = json.loads(injected(case)["metadata"]["annotations"][names.STATUS])
    assert outcome.capture.mode == case.expect["mode"] == status["mode"]
    assert status["reason"]
    assert str(status["port"]) == case.expect.get("port", str(status["port"]))
    if "workload" in case.expect:
        assert environment(injected(case))["SIDECAR_WORKLOAD"] == case.expect["workload"]
    assert status["container"] in [each["name"] for each in case.pod["spec"]["containers"]]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_pod_that_no_mode_fits_is_left_alone_with_the_reason(case: Case) -> None:
    outcome = case.inject()
    assert outcome.patch == []
    assert outcome.capture is None
    assert case.expect["refused"] in outcome.reason


@every_injected
def test_applied_twice_is_as_applied_once(case: Case) -> None:
    once = injected(case)
    again = case.inject(once)
    assert again.reason == ALREADY
    assert apply(once, again.patch) == once


@every_injected
def test_another_implementation_of_json_patch_agrees_and_the_pod_is_not_touched(case: Case) -> None:
    before = copy.deepcopy(case.pod)
    assert jsonpatch.apply_patch(case.pod, case.inject().patch) == injected(case)
    assert case.pod == before


@every_injected
def test_only_probes_and_the_name_of_the_models_port_are_changed_of_others(case: Case) -> None:
    pod = injected(case)
    for key in ("containers", "initContainers"):
        theirs = [each for each in pod["spec"].get(key, []) if each["name"] not in OURS]
        before = case.pod["spec"].get(key, [])
        assert pod["spec"].get(key, [])[: len(before)] == theirs, "ours stand behind theirs"
        assert [plain(each) for each in theirs] == [plain(each) for each in before]
    rest = {"containers", "initContainers", "volumes"}
    assert {k: v for k, v in pod["spec"].items() if k not in rest} == {
        k: v for k, v in case.pod["spec"].items() if k not in rest
    }
    volumes = case.pod["spec"].get("volumes", [])
    assert pod["spec"]["volumes"][: len(volumes)] == volumes
    changed = {names.STATUS, names.SAFE_TO_EVICT}
    ours = {k: v for k, v in pod["metadata"]["annotations"].items() if k not in changed}
    theirs_before = case.pod["metadata"].get("annotations", {})
    assert ours == {k: v for k, v in theirs_before.items() if k not in changed}
    evictable = pod["metadata"]["annotations"][names.SAFE_TO_EVICT]
    assert evictable.startswith(theirs_before.get(names.SAFE_TO_EVICT, ""))


def plain(container: dict[str, Any]) -> dict[str, Any]:
    """A container without what interception may change."""
    copied = copy.deepcopy(container)
    for _, action, _ in handlers(copied):
        action.pop("port", None)
    for port in copied.get("ports", []):
        port.pop("name", None)
    for variable in copied.get("env", []):
        if variable["name"] == ISTIO_PROBERS:
            variable.pop("value")
    return copied


@every_injected
def test_kubelet_reaches_the_model_past_the_recorder(case: Case) -> None:
    pod, capture = injected(case), case.inject().capture
    assert capture is not None
    before = {each["name"]: each for each in all_containers(case.pod)}
    for container in all_containers(pod):
        if container["name"] in OURS:
            continue
        old = {path: action for path, action, _ in handlers(before[container["name"]])}
        for path, action, _ in handlers(container):
            meant = port_number(before[container["name"]], old[path]["port"])
            led = port_number(container, action["port"])
            assert led is not None, "a named port that is gone"
            is_init = container["name"] not in [each["name"] for each in pod["spec"]["containers"]]
            skipped = is_init and container.get("restartPolicy") != "Always"
            if meant != capture.target.port or action.get("host") or skipped:
                assert led == meant
            elif capture.mode == "redirect":
                assert led == names.PROBE_PORT
            else:
                assert led == capture.target.port


@every_injected
def test_names_of_containers_volumes_and_ports_stay_unique(case: Case) -> None:
    pod = injected(case)
    containers = [each["name"] for each in all_containers(pod)]
    volumes = [each["name"] for each in pod["spec"]["volumes"]]
    assert len(containers) == len(set(containers))
    assert len(volumes) == len(set(volumes))
    mounted = {each["name"] for each in sidecar_of(pod)["volumeMounts"]}
    assert mounted <= set(volumes)
    ports = [
        (port["containerPort"], port.get("protocol", "TCP"))
        for each in all_containers(pod)
        for port in each.get("ports", [])
    ]
    assert len(ports) == len(set(ports))


@every_injected
def test_in_port_mode_the_sidecar_alone_has_the_ports_name(case: Case) -> None:
    capture, pod = case.inject().capture, injected(case)
    assert capture is not None
    if capture.mode != "port":
        return
    holders = [
        each["name"]
        for each in all_containers(pod)
        for port in each.get("ports", [])
        if port.get("name") == capture.target.port_name
    ]
    assert holders == [names.SIDECAR]


@every_injected
@pytest.mark.parametrize("pod_ip", ["10.1.2.3", "fd00::17"])
def test_sidecar_run_accepts_the_environment_in_both_families(case: Case, pod_ip: str) -> None:
    pod = injected(case)
    found = settings(pod, pod_ip)
    capture = case.inject().capture
    assert capture is not None
    (route,) = found.routes
    assert (route.upstream.host, route.upstream.port) == (pod_ip, capture.target.port)
    assert route.listen.port == capture.listen
    known = {setting.variable for setting in TABLE} | {"POD_IP", "POD_NAME"}
    assert environment(pod).keys() <= known


@every_injected
def test_the_journal_takes_three_quarters_of_its_volume(case: Case) -> None:
    pod = injected(case)
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == names.JOURNAL_VOLUME]
    limit = amount(volume["emptyDir"]["sizeLimit"]) if "emptyDir" in volume else case.read()[0].max_bytes
    assert settings(pod).journal_max_bytes == limit * 3 / 4
    folder = next(each for each in sidecar_of(pod)["volumeMounts"] if each["name"] == names.JOURNAL_VOLUME)
    assert settings(pod).journal.startswith(folder["mountPath"])


@every_injected
def test_shutting_down_fits_into_the_pods_grace_period(case: Case) -> None:
    found = settings(injected(case))
    period = case.pod["spec"].get("terminationGracePeriodSeconds", 30)
    assert found.drain_delay_s + found.grace_s + found.ship_timeout_s <= period


@every_injected
def test_the_analyst_fits_below_the_containers_memory_limit(case: Case) -> None:
    pod = injected(case)
    limit = sidecar_of(pod)["resources"].get("limits", {}).get("memory")
    found = settings(pod)
    assert limit is None or found.analyst_memory + found.capture_memory < amount(limit)


def quality_of_service(pod: dict[str, Any]) -> str:
    """As Kubernetes defines it, over all containers (pod-level resources aside)."""
    found = set()
    for each in all_containers(pod):
        resources = each.get("resources", {})
        limits = resources.get("limits", {})
        requests = {**limits, **resources.get("requests", {})}
        pairs = [(limits.get(name), requests.get(name)) for name in ("cpu", "memory")]
        if all(limit is not None and amount(limit) == amount(request) for limit, request in pairs):
            found.add("Guaranteed")
        elif any(request is not None for _, request in pairs):
            found.add("Burstable")
        else:
            found.add("BestEffort")
    return found.pop() if len(found) == 1 else "Burstable"


@every_injected
def test_a_guaranteed_pod_stays_guaranteed_and_requests_are_always_set(case: Case) -> None:
    pod = injected(case)
    if quality_of_service(case.pod) == "Guaranteed":
        assert quality_of_service(pod) == "Guaranteed"
    for each in all_containers(pod):
        if each["name"] in OURS:
            requests, limits = each["resources"]["requests"], each["resources"].get("limits", {})
            assert {"cpu", "memory"} <= requests.keys()
            for name in limits.keys() & requests.keys():
                assert amount(requests[name]) <= amount(limits[name])


@every_injected
def test_storage_is_limited_only_where_it_is_limited_already(case: Case) -> None:
    def limits(pod: dict[str, Any]) -> int:
        return sum(
            "ephemeral-storage" in each.get("resources", {}).get("limits", {}) for each in all_containers(pod)
        )

    pod = injected(case)
    assert limits(pod) == (limits(case.pod) + 1 if limits(case.pod) else 0)


@every_injected
def test_the_sidecar_meets_the_restricted_level(case: Case) -> None:
    pod = injected(case)
    context = sidecar_of(pod)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context.get("runAsUser") == (None if case.given.get("openshift") else 65532)
    has_rights = [each["name"] for each in all_containers(pod) if each["name"] == names.INTERCEPT]
    assert bool(has_rights) == (case.expect["mode"] == "redirect")
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    if case.given.get("pod_security", "privileged") == "privileged":
        # Where it is asked for, the journal lies on the node; see test_journal_volume.
        allowed.add("hostPath")
    assert all(each.keys() & allowed for each in pod["spec"]["volumes"])


@every_injected
def test_a_pod_that_ends_by_itself_gets_a_native_sidecar(case: Case) -> None:
    if case.pod["spec"].get("restartPolicy", "Always") != "Always":
        assert sidecar_of(injected(case))["restartPolicy"] == "Always"


def test_probes_that_istio_took_over_are_led_past_the_recorder_too() -> None:
    (case,) = [each for each in CASES if each.name == "82-istio-rewrote-the-probes"]
    (before,), (after,) = (
        [
            json.loads(variable["value"])
            for each in pod["spec"]["containers"]
            for variable in each.get("env", [])
            if variable["name"] == ISTIO_PROBERS
        ]
        for pod in (case.pod, injected(case))
    )
    for path, probe in before.items():
        (kind,) = probe.keys() & {"httpGet", "tcpSocket", "grpc"}
        led = names.PROBE_PORT if probe[kind]["port"] == 8080 else probe[kind]["port"]
        assert after[path] == {**probe, kind: {**probe[kind], "port": led}}

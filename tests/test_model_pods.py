"""What labels, annotations, Services and meshes make of a pod, with the real injection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cluster.coverage import Asked
from sidecar.inject.policy import LEFT_OUT
from sidecar.inject.review import Namespace
from sidecar.inject.surroundings import Surroundings
from sidecar.model_pods import KNOWN_MARKS, FollowedModelPods, Mark, ModelPods, parse_mark
from tests.support.model_pods import bare_pod, image_id, injected_pod, running

Object = dict[str, Any]
INJECT, DIGEST, STATUS = (f"sidecar.dev/{key}" for key in ("inject", "digest", "status"))


@dataclass
class Known:
    """A cluster of one namespace, `risk`."""

    labels: Mapping[str, str] = field(default_factory=dict)
    services: Sequence[Object] = ()
    settings: Mapping[str, str] = field(default_factory=lambda: {"store": "s3://evidence"})
    image: str = "sidecar:1"
    version: str = "1"
    around: Surroundings = field(default_factory=Surroundings)

    @property
    def cluster_defaults(self) -> Mapping[str, str]:
        return self.settings

    def namespace(self, name: str) -> Namespace | None:
        return Namespace(self.labels, {}, None, tuple(self.services)) if name == "risk" else None

    def defaults(self) -> Iterator[tuple[str, Mapping[str, str], str]]:
        yield "sidecar-system", self.settings, "uid-1"


def judge(known: Known | None = None, marks: Sequence[Mark] = KNOWN_MARKS) -> FollowedModelPods:
    known = known or Known()
    return FollowedModelPods(known, known, marks, "sidecar-system")


def asked(pod: Object, known: Known | None = None) -> Asked:
    found = judge(known).asked(pod)
    assert found is not None
    return found


def labelled(value: str | None, **more: str) -> Object:
    pod = bare_pod("p")
    pod["metadata"]["labels"] |= {INJECT: value} if value is not None else {}
    pod["metadata"]["labels"] |= more
    return pod


@pytest.mark.parametrize(
    ("on_pod", "on_namespace", "wanted", "left_out", "words"),
    [
        ("enabled", None, True, False, None),
        (None, "enabled", True, False, None),
        ("enabled", "disabled", True, False, None),
        ("disabled", "enabled", False, True, "on the pod"),
        ("disabled", None, False, True, "on the pod"),
        ("true", "enabled", True, False, None),
        ("true", None, False, False, "on the pod: 'true' is neither enabled nor disabled"),
        (None, "yes", False, False, "on its namespace: 'yes' is neither enabled nor disabled"),
    ],
)
def test_the_pods_label_wins_over_its_namespaces_and_a_wrong_one_is_told(
    on_pod: str | None, on_namespace: str | None, wanted: bool, left_out: bool, words: str | None
) -> None:
    known = Known({INJECT: on_namespace} if on_namespace else {})
    found = asked(labelled(on_pod), known)
    assert (found.wanted, found.left_out) == (wanted, left_out)
    assert words is None or words in (found.why_not or "")


def test_what_nobody_asked_for_is_no_model_unless_a_known_label_says_so() -> None:
    assert judge().asked(labelled(None)) is None
    kserve = bare_pod("p")
    kserve["metadata"]["labels"]["serving.kserve.io/inferenceservice"] = "fraud"
    assert asked(kserve).why_not == (
        "label serving.kserve.io/inferenceservice says that it is a model, and no sidecar.dev/inject is set"
    )
    assert judge(marks=()).asked(kserve) is None
    assert judge(marks=(Mark("app", "fraud"),)).asked(labelled(None)) is not None
    assert judge(marks=(Mark("app", "other"),)).asked(labelled(None)) is None
    assert asked(kserve, Known({INJECT: "disabled"})).left_out


@pytest.mark.parametrize("name", LEFT_OUT)
def test_system_namespaces_have_no_models(name: str) -> None:
    pod = labelled("enabled")
    pod["metadata"]["namespace"] = name
    assert judge().asked(pod) is None


def test_a_namespace_that_injection_serves_is_seen_whatever_its_name() -> None:
    pod = labelled("enabled")
    pod["metadata"]["namespace"] = "kube-models"
    assert judge().asked(pod) is not None


@pytest.mark.parametrize(("mode", "passed_by"), [("port", True), ("shift", True), ("redirect", False)])
def test_a_port_of_the_node_leads_past_the_sidecar_but_where_rules_catch_it(
    mode: str, passed_by: bool
) -> None:
    pod = injected_pod("p", mode=mode, listen_port="15100")
    pod["spec"]["containers"][0]["ports"][0]["hostPort"] = 30_080
    assert (asked(pod).bypass == "hostPort 30080 leads to port 8080, the model's: take it out") == passed_by


def test_why_there_can_be_no_sidecar_is_injections_own_reason() -> None:
    pod = labelled("enabled")
    assert asked(pod).why_not is None
    pod["spec"]["hostNetwork"] = True
    assert (asked(pod).why_not or "").startswith("hostNetwork: the port is the node's")
    assert "no store: set `store`" in (asked(labelled("enabled"), Known(settings={})).why_not or "")


def test_a_status_without_a_sidecar_is_not_believed() -> None:
    pod = bare_pod("p")
    pod["metadata"]["annotations"][STATUS] = injected_pod("q")["metadata"]["annotations"][STATUS]
    found = asked(pod)
    assert (found.mode, found.wanted) == (None, False)
    assert "tells of a sidecar that it has not" in (found.why_not or "")
    pod = injected_pod("q")
    pod["metadata"]["annotations"][STATUS] = '{"mode": ["x"], "container": 3}'
    assert (asked(pod).mode, asked(pod).container) == ("?", None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
said = st.dictionaries(st.sampled_from(["mode", "container", "port", "listen", "mesh", "x"]), json_values)


@given(
    status=said, digest=json_values | st.text(max_size=9), mode=st.sampled_from(["redirect", "shift", "x"])
)
def test_whatever_a_pods_annotations_say_it_is_judged(status: Object, digest: Any, mode: str) -> None:
    pod = injected_pod("p")
    for text in (
        json.dumps(status),
        json.dumps({"mode": mode, "container": "model"} | status),
        "[" * 100_000,
    ):
        pod["metadata"]["annotations"] |= {STATUS: text, DIGEST: json.dumps(digest)}
        judging = judge(Known({INJECT: "enabled"}, services=[service(8080)]))
        assert judging.asked(pod) is not None
        judging.annotation(pod)
        judging.ignored(pod)


def service(target: int | str, **selector: str) -> Object:
    spec = {"selector": selector or {"app": "fraud"}, "ports": [{"port": 80, "targetPort": target}]}
    return {"metadata": {"name": "s", "namespace": "risk"}, "spec": spec}


@pytest.mark.parametrize(
    ("mode", "target", "bypassed"),
    [
        ("redirect", 8080, False),
        ("port", 8080, True),
        ("port", "http", False),
        ("shift", 8080, True),
        ("shift", "http", True),
        ("shift", 9000, False),
    ],
)
def test_a_service_that_leads_past_the_sidecar_is_seen(mode: str, target: int | str, bypassed: bool) -> None:
    settings = {"listen_port": "9000"} if mode == "shift" else {}
    pod = injected_pod("p", mode=mode, **settings)
    found = asked(pod, Known(services=[service(target)])).bypass
    assert (found is not None) == bypassed
    assert not bypassed or f"Service s targets {target}" in (found or "")
    assert asked(pod, Known(services=[service(target, app="other")])).bypass is None


def test_a_mesh_whose_proxy_came_after_injection_is_a_way_past_it() -> None:
    pod = injected_pod("p")
    assert asked(pod).bypass is None
    pod["spec"]["containers"].append({"name": "istio-proxy"})
    assert "istio's proxy came after injection" in (asked(pod).bypass or "")
    status = json.loads(pod["metadata"]["annotations"][STATUS]) | {"mesh": "istio"}
    pod["metadata"]["annotations"][STATUS] = json.dumps(status)
    assert asked(pod).bypass is None
    # The namespace promised a mesh that never came: the rules wait for a proxy, and lead nothing else.
    pod["spec"]["containers"].pop()
    assert "the proxy of istio, which the pod does not have" in (asked(pod).bypass or "")


def test_the_digest_is_known_for_the_container_that_runs_now() -> None:
    pod = injected_pod("p")
    assert asked(pod).digest is None
    text = judge().annotation(pod)
    assert text is not None
    pod["metadata"]["annotations"][DIGEST] = text
    assert asked(pod).digest == image_id("a")
    assert judge().annotation(pod) is None, "it is there"
    pod["status"]["containerStatuses"] = [running("model", "b", 9, 1)]
    assert asked(pod).digest is None, "the annotation tells of the container before"
    pinned = "registry.example/fraud@sha256:" + "c" * 64
    pod["spec"]["containers"][0]["image"] = pinned
    assert asked(pod).digest == "sha256:" + "c" * 64


def test_only_injected_pods_get_an_annotation() -> None:
    assert judge().annotation(bare_pod("p")) is None
    assert judge().annotation({"metadata": {"name": "p", "namespace": "risk"}}) is None


def test_settings_that_are_not_heeded_are_those_of_the_pod_alone() -> None:
    known = Known(settings={"store": "s3://evidence", "polcy": "open", "locked": "durability"})
    pod = labelled("on")
    pod["metadata"]["annotations"] |= {
        "sidecar.dev/mode": "magic",
        "sidecar.dev/durability": "relaxed",
        "example.com/mode": "x",
    }
    found = [line.partition(":")[0] for line in judge(known).ignored(pod)]
    assert found == [
        "label sidecar.dev/inject on the pod",
        "annotation sidecar.dev/durability",
        "annotation sidecar.dev/mode",
    ]
    (notice,) = judge(known).ignored_defaults()
    assert (notice.kind, notice.namespace, notice.name, notice.uid) == (
        "ConfigMap",
        "sidecar-system",
        "sidecar-defaults",
        "uid-1",
    )
    pod["metadata"]["labels"][INJECT] = "disabled"
    assert judge(known).ignored(pod) == ()


def test_of_pods_that_are_no_models_only_the_name_is_held() -> None:
    found = judge().keep(bare_pod("p"))
    assert found == {"metadata": {"namespace": "risk", "name": "p"}}
    found = judge().keep(injected_pod("q"))
    assert found["spec"]
    assert "managedFields" not in found["metadata"]


@pytest.mark.parametrize("text", ["", "=x", "a b", "-a", "a/b/c", "a=b c", "UPPER/a"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no label"):
        parse_mark(text)


def test_a_mark_is_a_key_or_a_key_and_a_value() -> None:
    assert parse_mark("example.com/a=b") == Mark("example.com/a", "b")
    assert str(parse_mark("a")) == "a"
    assert parse_mark("a=").fits({"a": ""})
    assert not parse_mark("a=").fits({"a": "x"})


def test_a_judge_of_one_look_needs_no_config_maps() -> None:
    assert ModelPods(Known(), (), "sidecar-system").asked(injected_pod("p")) is not None

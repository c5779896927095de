"""What injection tells the sidecar of where its model's identity is to be learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubernetes_validate import utils  # type: ignore[import-untyped]

from sidecar.config import load
from sidecar.identifying import check_identity
from sidecar.inject import names
from sidecar.inject.json_patch import apply
from sidecar.inject.patch import inject
from tests.support.corpus import CASES

PLAIN = next(case for case in CASES if case.name.startswith("01-"))
DIGEST = "sha256:" + "ab" * 32
FIELDS = {
    "status.podIP": "10.0.0.7",
    "metadata.namespace": "risk",
    "metadata.name": "m-0",
    "metadata.uid": "u",
}


def injected(identity: str, image: str = "registry.example/m:1") -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod, and the sidecar's container."""
    given = apply(PLAIN.pod, [{"op": "replace", "path": "/spec/containers/0/image", "value": image}])
    settings = replace(PLAIN.read()[0], identity=identity, passed=(("SIDECAR_STORE", "s3://b/x"),))
    pod: dict[str, Any] = apply(given, inject(given, settings, PLAIN.around, "9.0").patch)
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    (container,) = [each for each in every if each["name"] == names.SIDECAR]
    return pod, container


def environment(container: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in container["env"]:
        value = each.get("value") or FIELDS[each["valueFrom"]["fieldRef"]["fieldPath"]]
        found[each["name"]] = value.replace("$(POD_IP)", found.get("POD_IP", "")).replace("$$", "$")
    found.pop("POD_IP")
    return found | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize("identity", ["downward", "pod", "static"])
def test_the_sidecar_has_all_that_its_source_of_identity_needs(identity: str) -> None:
    pod, container = injected(identity)
    settings = load({}, environment(container))
    assert settings.identity == identity
    check_identity(settings, environment(container))
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    if identity == "downward":
        assert settings.identity_file == f"{names.POD_FOLDER}/annotations"
        assert mounts[names.POD_FOLDER] in volumes
    assert (names.TOKEN_FOLDER in mounts) == (identity == "pod")
    if identity == "pod":
        assert (settings.pod_name, settings.namespace, settings.pod_uid) == ("m-0", "risk", "u")
        assert settings.identity_token == names.TOKEN_FOLDER
        files = volumes[mounts[names.TOKEN_FOLDER]]["projected"]["sources"]
        assert files[0]["serviceAccountToken"]["path"] == "token"
        assert files[1]["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    for version in ("1.29", "1.37"):
        assert utils.validate(pod, version, strict=True) == version


def test_a_digest_that_the_spec_pins_is_known_at_admission() -> None:
    _, container = injected("downward", f"registry.example/m@{DIGEST}")
    assert load({}, environment(container)).routes[0].image_digest == DIGEST
    _, container = injected("downward", f"registry.example/m:1@{DIGEST}")
    assert load({}, environment(container)).routes[0].image_digest == DIGEST
    _, container = injected("downward", "registry.example/m:1")
    assert load({}, environment(container)).routes[0].image_digest is None

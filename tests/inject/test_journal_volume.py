"""Where the journal lies: what `journal-volume` makes of volume, mount and resources."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.inject import names
from sidecar.inject.json_patch import apply
from sidecar.inject.keys import BY_NAME
from sidecar.inject.patch import inject
from tests.support.corpus import CASES, Case

PLAIN = next(case for case in CASES if case.name.startswith("01-"))


def with_volume(name: str, case: Case = PLAIN, **around: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The injected pod with that `journal-volume`, and the warnings."""
    settings = replace(case.read()[0], journal_volume=BY_NAME["journal-volume"].parse(name))
    outcome = inject(case.pod, settings, replace(case.around, **around), "9.0")
    pod: dict[str, Any] = apply(case.pod, outcome.patch)
    return pod, outcome.warnings


def parts(pod: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The sidecar's container, the journal's volume and its mount."""
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    (container,) = [each for each in every if each["name"] == names.SIDECAR]
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == names.JOURNAL_VOLUME]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == names.JOURNAL_VOLUME]
    return container, volume, mount


def test_without_the_key_the_journal_goes_with_the_pod() -> None:
    _, volume, mount = parts(with_volume("emptyDir")[0])
    assert volume["emptyDir"] == {"sizeLimit": "1Gi"}
    assert "subPathExpr" not in mount


def test_on_the_node_each_pod_has_a_folder_by_its_uid() -> None:
    pod, warnings = with_volume("hostPath:/var/lib/journals")
    container, volume, mount = parts(pod)
    assert volume == {
        "name": names.JOURNAL_VOLUME,
        "hostPath": {"path": "/var/lib/journals", "type": "Directory"},
    }
    assert mount["subPathExpr"] == "$(SIDECAR_NAMESPACE)_$(POD_NAME)_$(SIDECAR_POD_UID)"
    variables = {each["name"] for each in container["env"]}
    assert variables >= {"SIDECAR_NAMESPACE", "POD_NAME", "SIDECAR_POD_UID"}
    assert "ephemeral-storage" not in container["resources"]["requests"]
    assert warnings == ()


def test_on_a_claim_the_folder_is_the_pods_name_so_that_the_next_pod_of_that_name_finds_it() -> None:
    pod, (warning,) = with_volume("pvc:journals")
    _, volume, mount = parts(pod)
    assert volume["persistentVolumeClaim"] == {"claimName": "journals"}
    assert mount["subPathExpr"] == "$(SIDECAR_NAMESPACE)_$(POD_NAME)"
    assert "without an fsGroup in the pod" in warning


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_where_pod_security_forbids_folders_of_the_node_the_pod_is_still_accepted(level: str) -> None:
    pod, warnings = with_volume("hostPath:/var/lib/journals", pod_security=level)
    _, volume, mount = parts(pod)
    assert "emptyDir" in volume
    assert "subPathExpr" not in mount
    assert any(f"Pod Security level {level} forbids it" in each for each in warnings)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "emptyDir:/x",
        "hostPath",
        "hostPath:",
        "hostPath:/",
        "hostPath:var",
        "hostPath:/a/../b",
        "hostPath:/a b",
        "pvc:",
        "pvc:A_b",
        "nfs:/x",
    ],
)
def test_what_is_no_volume_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="none of emptyDir"):
        BY_NAME["journal-volume"].parse(text)

"""Whose a folder is, and whether that pod is gone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.drain.folder import ASIDE, DONE, PodFolder, pod_folder
from sidecar.drain.judgement import Pods, Verdict, judge, pods_of

FOLDER = PodFolder("risk_fraud-0_u-1", "risk", "fraud-0", "u-1")
BY_NAME = PodFolder("risk_fraud-0", "risk", "fraud-0", None)
AFTER_S = 900.0


def pod(uid: str = "u-1", name: str = "fraud-0", phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": uid, "name": name, "namespace": "risk", **metadata},
        "status": {"phase": phase},
    }


@pytest.mark.parametrize("folder", [FOLDER, BY_NAME])
def test_a_name_leads_back_to_its_pod(folder: PodFolder) -> None:
    assert pod_folder(folder.name) == folder


@pytest.mark.parametrize(
    "name",
    ["", "lost+found", "risk", ".snapshot", "a_b_c_d", "Risk_x_u", "risk__u", "risk_x_", "risk_x_u/..", "a_b_..",
     DONE + FOLDER.name, ASIDE + FOLDER.name, ASIDE + BY_NAME.name, "risk_fraud\n", "-a_b_c"],
)  # fmt: skip
def test_other_names_are_no_pods(name: str) -> None:
    assert pod_folder(name) is None


@given(st.text())
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    found = pod_folder(name)
    assert found is None or ("/" not in found.name and not found.name.startswith("."))


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_a_pod_that_the_api_lists_is_alive_however_quiet_it_is(phase: str) -> None:
    pods = pods_of([pod(phase=phase)])
    assert judge(FOLDER, pods, 1e9, AFTER_S) is Verdict.ALIVE
    assert judge(BY_NAME, pods, 1e9, AFTER_S) is Verdict.ALIVE


def test_a_pod_that_is_being_deleted_is_alive_until_it_is_gone() -> None:
    pods = pods_of([pod(deletionTimestamp="2026-11-25T09:00:00Z")])
    assert judge(FOLDER, pods, 1e9, AFTER_S) is Verdict.ALIVE


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_whose_containers_never_run_again_is_gone(phase: str) -> None:
    assert judge(FOLDER, pods_of([pod(phase=phase)]), 0.0, AFTER_S) is Verdict.GONE


def test_a_successor_of_the_same_name_is_another_pod() -> None:
    pods = pods_of([pod(uid="u-2")])
    assert judge(FOLDER, pods, 0.0, AFTER_S) is Verdict.GONE
    assert judge(BY_NAME, pods, 0.0, AFTER_S) is Verdict.ALIVE, "it takes the folder over itself"


def test_a_folder_that_the_next_pod_of_the_name_takes_over_must_have_been_quiet_too() -> None:
    assert judge(BY_NAME, pods_of([]), AFTER_S - 1, AFTER_S) is Verdict.QUIET
    assert judge(BY_NAME, pods_of([]), AFTER_S, AFTER_S) is Verdict.GONE
    assert judge(FOLDER, pods_of([]), 0.0, AFTER_S) is Verdict.GONE


def test_without_the_api_only_time_tells() -> None:
    assert judge(FOLDER, None, AFTER_S - 1, AFTER_S) is Verdict.QUIET
    assert judge(FOLDER, None, AFTER_S, AFTER_S) is Verdict.GONE


@pytest.mark.parametrize("odd", [{}, {"metadata": None}, {"metadata": {}, "status": None}])
def test_odd_objects_of_the_api_do_not_stop_it(odd: dict[str, Any]) -> None:
    assert isinstance(pods_of([odd]), Pods)

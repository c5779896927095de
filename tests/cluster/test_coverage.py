"""The judgement of a pod: one state, one reason, in an order that names the first thing to mend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cluster.coverage import Answer, Asked, Reason, Row, State, row, summary
from sidecar.cluster.report import Report, parse
from sidecar.coverage_table import lines
from tests.support.model_pods import bare_pod, injected_pod, running

Object = dict[str, Any]
DOCS = Path(__file__).parents[2] / "docs" / "kubernetes-coverage.md"
WITH = Asked(True, container="model", mode="redirect", digest="sha256:" + "a" * 64)


def status(**changes: Any) -> Object:
    """What a sidecar answers that has seen a little of everything."""
    route = {
        "started": 10,
        "readable_bytes": 600,
        "opaque": {"bytes": 200, "tls": 2, "http2": 0},
    }
    return {
        "version": "1",
        "mode": "record",
        "journal": {"shedding": False},
        "store": {"lag_seconds": 2.5, "lag_records": 3, "error": None},
        "gaps": {"disk_full": {"gaps": 1, "exchanges": 7}},
        "routes": {"default": route, "b": route},
        **changes,
    }


def report(**changes: Any) -> Report:
    return parse(json.dumps(status(**changes)).encode())


def judged(pod: Object, asked: Asked, answer: Answer) -> tuple[State, Reason | None, str]:
    made = row(pod, "sidecar", asked, answer)
    assert made is not None
    return made.state, made.reason, made.detail


def test_a_report_adds_the_routes_up() -> None:
    seen = report()
    assert (seen.exchanges, seen.readable_bytes, seen.opaque_bytes, seen.opaque_tls) == (20, 1200, 400, 4)
    assert (seen.opaque_ratio, seen.ship_lag_s, seen.ship_lag_records) == (0.25, 2.5, 3)
    assert (seen.gaps, seen.gap_exchanges, seen.recording, seen.shedding) == (1, 7, True, False)


def test_what_an_older_sidecar_does_not_say_is_unknown_and_not_nought() -> None:
    seen = report(routes={"default": {"started": 4}})
    assert (seen.exchanges, seen.opaque_bytes, seen.opaque_ratio) == (4, None, None)
    assert judged(injected_pod("a"), WITH, seen)[0] is State.COVERED


@pytest.mark.parametrize(("said", "known"), [({}, True), ({"known": 1}, True), ({"known": 0}, False)])
def test_a_digest_is_known_when_the_sidecar_has_heard_of_it(said: Object, known: bool) -> None:
    made = row(injected_pod("a"), "sidecar", WITH, report(identity=said))
    assert made is not None
    assert (made.digest is not None) == known
    assert made.state is State.COVERED


@pytest.mark.parametrize("number", ["Infinity", "-1", "NaN", "1e400", '"3"', "true"])
def test_a_number_that_is_none_counts_as_nought(number: str) -> None:
    store = f'{{"lag_seconds": {number}, "lag_records": {number}}}'
    seen = parse(f'{{"mode": "record", "store": {store}}}'.encode())
    assert (seen.ship_lag_s, seen.ship_lag_records) == (0, 0)


def test_an_answer_that_is_nested_without_end_is_no_status() -> None:
    with pytest.raises(ValueError, match="is no JSON"):
        parse(b"[" * 1_000_000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*status(), "x"]), json_values), json_values)
def test_whatever_answers_is_a_report_or_a_reason(changes: Object, route: Any) -> None:
    for value in (status(**changes), status(routes={"default": route}), status(gaps={"x": route}), route):
        try:
            seen = parse(json.dumps(value).encode())
        except ValueError as error:
            assert str(error).startswith("is no ")
        else:
            assert min(seen.exchanges, seen.gaps, seen.opaque_tls, seen.ship_lag_s) >= 0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(True), (State.UNCOVERED, Reason.NOT_INJECTED)),
        (Asked(True, why_not="hostNetwork"), (State.UNCOVERED, Reason.NOT_INJECTABLE)),
        (Asked(False, why_not="no label"), (State.UNCOVERED, Reason.NOT_OPTED_IN)),
        (Asked(False, left_out=True, why_not="label"), (State.LEFT_OUT, None)),
    ],
)
def test_without_a_sidecar_the_labels_say_which(asked: Asked, expected: tuple[State, Reason | None]) -> None:
    assert judged(bare_pod("a"), asked, None)[:2] == expected


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({}, None, ""),
        ({"routes": {}}, None, "no traffic yet"),
        ({"mode": "splice_only"}, Reason.SWITCHED_OFF, "the kill switch is on"),
        ({"journal": {"shedding": True}, "store": {"error": "denied"}}, Reason.JOURNAL_FULL, "denied"),
        (
            {"routes": {"a": {"readable_bytes": 0, "opaque": {"bytes": 90_000, "tls": 3, "http2": 1}}}},
            Reason.OPAQUE,
            "TLS connections: 3, HTTP/2 connections: 1",
        ),
        (
            {"routes": {"a": {"readable_bytes": 0, "opaque": {"bytes": 90_000, "tls": 0, "http2": 0}}}},
            Reason.OPAQUE,
            "no HTTP/1 that could be read",
        ),
        (  # A model that speaks TLS, whose server told a scanner so in plain HTTP.
            {"routes": {"a": {"readable_bytes": 400, "opaque": {"bytes": 90_000, "tls": 20, "http2": 0}}}},
            Reason.OPAQUE,
            "TLS connections: 20",
        ),
        (  # An idle model that a port scan has found.
            {"routes": {"a": {"readable_bytes": 0, "opaque": {"bytes": 900, "tls": 1, "http2": 0}}}},
            None,
            "hardly any traffic yet, and none to read: TLS connections: 1",
        ),
        (
            {"routes": {"a": {"readable_bytes": 9_000, "opaque": {"bytes": 90_000, "tls": 20, "http2": 0}}}},
            None,
            "no traffic yet",
        ),
    ],
)
def test_what_a_sidecar_says_decides(changes: Object, reason: Reason | None, detail: str) -> None:
    state = State.COVERED if reason is None else State.UNCOVERED
    assert judged(injected_pod("a"), WITH, report(**changes)) == (state, reason, detail)


def test_one_that_does_not_answer_is_not_covered_and_one_not_asked_is_not_judged() -> None:
    assert judged(injected_pod("a"), WITH, "refused") == (State.UNCOVERED, Reason.SIDECAR_SILENT, "refused")
    assert judged(injected_pod("a"), WITH, None)[0] is State.STARTING


def test_a_sidecar_that_is_down_comes_before_what_it_says_and_a_model_that_is_down_before_both() -> None:
    pod = injected_pod("a")
    bypassed = Asked(True, container="model", mode="port", bypass="Service s")
    assert judged(pod, bypassed, report())[1:] == (Reason.BYPASSED, "Service s")
    sidecar = pod["status"]["initContainerStatuses"][0]
    sidecar["ready"] = False
    assert judged(pod, bypassed, "no")[1:] == (Reason.SIDECAR_DOWN, "it runs and is not ready")
    for state, detail in (
        ({"waiting": {"reason": "CrashLoopBackOff"}}, "CrashLoopBackOff"),
        ({"terminated": {"exitCode": 137}}, "ended with exit code 137"),
        ({}, "it is not started yet"),
    ):
        sidecar["state"] = state
        assert judged(pod, bypassed, "no")[1:] == (Reason.SIDECAR_DOWN, detail)
    pod["status"]["containerStatuses"] = [
        running("model", "a") | {"state": {"waiting": {"reason": "Pulling"}}}
    ]
    assert judged(pod, bypassed, "no") == (State.STARTING, None, "the model does not run: Pulling")
    pod["status"] = {"phase": "Pending"}
    assert judged(pod, bypassed, "no")[0] is State.STARTING


def test_a_plain_container_as_sidecar_is_found_too() -> None:
    pod = injected_pod("a")
    pod["status"]["containerStatuses"] += pod["status"].pop("initContainerStatuses")
    assert judged(pod, WITH, report())[0] is State.COVERED


@pytest.mark.parametrize("end", [{"phase": "Succeeded"}, {"phase": "Failed"}, "deleted"])
def test_a_pod_that_has_ended_is_no_row(end: Any) -> None:
    pod = injected_pod("a")
    if end == "deleted":
        pod["metadata"]["deletionTimestamp"] = "2026-11-25T09:00:00Z"
    else:
        pod["status"] |= end
    assert row(pod, "sidecar", WITH, report()) is None


def rows() -> list[Row]:
    made = [
        row(injected_pod("a"), "sidecar", WITH, report()),
        row(
            injected_pod("b"),
            "sidecar",
            Asked(True, container="model", mode="port"),
            report(store={"error": "x"}),
        ),
        row(bare_pod("c\x1b[31m"), "sidecar", Asked(True), None),
        row(bare_pod("d"), "sidecar", Asked(False, left_out=True), None),
    ]
    return [each for each in made if each is not None]


def test_the_summary_counts_states_reasons_and_unknown_digests() -> None:
    assert summary(rows()) == {
        "pods": 4,
        "covered": 2,
        "uncovered": 1,
        "starting": 0,
        "left_out": 1,
        "reasons": {"not_injected": 1},
        "digest_unknown": 1,
    }
    assert json.loads(json.dumps(rows()[0].as_json()))["sidecar"]["gap_exchanges"] == 7


def test_the_table_has_a_line_for_each_and_controls_never_reach_the_terminal() -> None:
    shown = lines(rows())
    assert [line.split()[:8] for line in shown[1:3]] == [
        ["risk", "a", "yes", "redirect", "25.0", "%", "aaaaaaaaaaaa", "2.5"],
        ["risk", "b", "yes", "port", "25.0", "%", "unknown", "0.0"],
    ]
    assert "(store down)" in shown[2]
    assert "\x1b" not in "\n".join(shown)
    assert shown[-1] == "4 model pods: 2 covered, 1 not covered, 1 left out"
    assert lines([]) == []


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    name = "fraud-predictor-default-00001-deployment-7d9c5b6f47-x2kq8"
    host = row(
        bare_pod(name), "sidecar", Asked(True, why_not="hostNetwork: the port is the node's " * 4), None
    )
    assert host is not None
    every = [*rows(), host]
    wide = lines(every)
    assert max(map(len, wide)) > 140
    shown = lines(every, width)
    assert max(map(len, shown)) <= width
    # Nothing is lost.
    assert "".join(shown).count("hostNetwork:") == 4
    words = {word for line in wide[1:] for word in line.split()}
    assert words <= {word for line in shown for word in line.replace("/", " ").split()}
    assert lines(every, 1000) == wide


@pytest.mark.parametrize(
    ("opaque", "shown"), [(1, "0.1 %"), (999_999, "99.9 %"), (0, "0.0 %"), (500_000, "50.0 %")]
)
def test_a_share_is_never_rounded_to_none_or_all(opaque: int, shown: str) -> None:
    route = {"readable_bytes": 1_000_000 - opaque, "opaque": {"bytes": opaque, "tls": 0, "http2": 0}}
    made = row(injected_pod("a"), "sidecar", WITH, report(routes={"x": route}))
    assert made is not None
    assert shown in lines([made])[1]


def test_the_documented_json_is_what_there_is() -> None:
    told = re.search(r"<!-- json -->(.*?)<!-- /json -->", DOCS.read_text(), re.DOTALL)
    assert told is not None
    written = [
        name
        for line in told[1].splitlines()
        for name in re.findall(r"`([a-z_\[\].0-9]+)`", line.split("|")[1] if line.startswith("|") else "")
    ]
    pod, counted = rows()[0].as_json(), summary(rows())
    there = [f"pods[].{key}" for key in pod] + [f"pods[].sidecar.{key}" for key in pod["sidecar"]]
    assert sorted(written) == sorted([*there, "summary", "remarks"])
    counts = next(line for line in told[1].splitlines() if line.startswith("| `summary`"))
    assert set(re.findall(r"`([a-z_]+)`", counts)) == {*counted, "summary"}

"""Forms of imageID, statuses of pods and the annotation → epochs of the model's container."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.identity.configuration import configuration_digest
from sidecar.identity.kubernetes import (
    ANNOTATED,
    ImageId,
    annotation_for,
    answering,
    containers_of,
    digest_text,
    format_time,
    merged,
    parse_digest_text,
    parse_image_id,
    parse_time,
)
from sidecar.records import Container

HEX = "0123456789abcdef" * 4
DIGEST = "sha256:" + HEX
KEY = "sidecar.dev/digest"
S = 1_000_000


def ran(
    name: str, started_s: float, finished_s: float | None = None, image: str | None = None, restarts: int = 0
) -> Container:
    finished_us = None if finished_s is None else int(finished_s * S)
    image_id = f"sha256:{(image or name).encode().hex().rjust(64, '0')}" if image != "" else ""
    return Container("i", image_id, name, restarts, int(started_s * S), finished_us)


# imageID


@pytest.mark.parametrize(
    ("raw", "kind", "digest"),
    [
        (f"docker-pullable://r.example:5000/a/b@{DIGEST}", "manifest", DIGEST),
        (f"registry.k8s.io/pause@{DIGEST}", "manifest", DIGEST),
        (DIGEST, "config", DIGEST),
        (f"docker://{DIGEST}", "config", DIGEST),
        ("", "unknown", None),
        ("sha256:" + HEX[:-1], "unknown", None),
        ("sha256:" + HEX.upper(), "unknown", None),
        ("sha512:" + HEX * 2, "unknown", None),
        (f"@{DIGEST}", "unknown", None),
        (f"repo:tag {DIGEST}", "unknown", None),
        (f"repo@{DIGEST}\n", "unknown", None),
    ],
)
def test_each_form_of_image_id_is_read_and_kept_raw(raw: str, kind: str, digest: str | None) -> None:
    found = parse_image_id(raw)
    assert (found.raw, found.kind, found.digest) == (raw, kind, digest)


@given(st.text())
def test_no_image_id_is_refused(raw: str) -> None:
    found = parse_image_id(raw)
    assert found.raw == raw
    assert (found.digest is None) == (found.kind == "unknown")
    assert isinstance(found, ImageId)


# statuses


def status(**changes: Any) -> dict[str, Any]:
    found = {
        "name": "model",
        "image": "registry.example/m:latest",
        "imageID": f"registry.example/m@{DIGEST}",
        "containerID": "containerd://b",
        "restartCount": 1,
        "state": {"running": {"startedAt": "2026-11-25T09:10:00Z"}},
        "lastState": {
            "terminated": {
                "containerID": "containerd://a",
                "startedAt": "2026-11-25T09:00:00Z",
                "finishedAt": "2026-11-25T09:09:59Z",
            }
        },
    }
    return {**found, **changes}


def pod(each: dict[str, Any], key: str = "containerStatuses", **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": annotations},
        "status": {key: [{"name": "proxy", "imageID": "x"}, each]},
    }


@pytest.mark.parametrize("key", ["containerStatuses", "initContainerStatuses"])
def test_a_status_tells_of_this_run_and_of_the_one_before(key: str) -> None:
    before, now = containers_of(pod(status(), key), "model")
    assert (before.container_id, before.restart_count, before.image_id) == ("containerd://a", 0, "")
    assert before.finished_us == parse_time("2026-11-25T09:09:59Z")
    assert now == Container(
        "registry.example/m:latest",
        f"registry.example/m@{DIGEST}",
        "containerd://b",
        1,
        parse_time("2026-11-25T09:10:00Z") or 0,
    )


def test_of_a_container_that_waits_for_its_restart_the_image_is_known() -> None:
    ended = {
        "containerID": "containerd://b",
        "startedAt": "2026-11-25T09:10:00Z",
        "finishedAt": "2026-11-25T09:11:00Z",
    }
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    (found,) = containers_of(pod(status(state=waiting, lastState={"terminated": ended})), "model")
    assert (found.container_id, found.image_id) == ("containerd://b", f"registry.example/m@{DIGEST}")
    (found,) = containers_of(pod(status(state={"terminated": ended}, lastState={})), "model")
    assert found.finished_us == parse_time("2026-11-25T09:11:00Z")


def test_spec_and_status_need_not_agree() -> None:
    spec = {"containers": [{"name": "model", "image": "registry.example/m@sha256:" + "0" * 64}]}
    told = pod(status(image=DIGEST, imageID=DIGEST)) | {"spec": spec}
    assert containers_of(told, "model")[-1].image_id == DIGEST


def test_a_run_is_told_with_how_it_was_told_to_run() -> None:
    container = {"name": "model", "args": ["-v"], "env": [{"name": "A", "value": "1"}]}
    told = pod(status()) | {"spec": {"containers": [container]}}
    plain = {each.configuration for each in containers_of(told, "model")}
    assert plain == {configuration_digest(container)}
    keyed = {each.configuration for each in containers_of(told, "model", b"k" * 32)}
    assert keyed == {configuration_digest(container, b"k" * 32)}
    text = annotation_for(told, "model", KEY)
    assert text is not None
    assert {each.configuration for each in parse_digest_text(text)[1]} == plain


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"status": None},
        {"status": {"containerStatuses": None}},
        {"status": {"containerStatuses": [None, {"name": "model"}]}},
        pod(status(state=None, lastState=None)),
        pod(status(state={"running": {"startedAt": None}}, lastState={"terminated": None})),
        pod(status(containerID=None, lastState={})),
        pod(status(name="other")),
    ],
)
def test_a_container_that_never_ran_has_no_epochs(broken: dict[str, Any]) -> None:
    assert containers_of(broken, "model") == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*status(), "running", "terminated", "startedAt"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*status()]), json_values))
def test_no_status_makes_it_fail(changes: dict[str, Any]) -> None:
    containers_of(pod(status(**changes)), "model")


# news in any order

containers = st.builds(
    Container,
    st.just("image"),
    st.sampled_from([DIGEST, f"r@{DIGEST}"]),
    st.sampled_from("abcdef"),
    st.integers(0, 5),
    st.integers(0, 50).map(lambda second: second * S),
    st.none() | st.integers(50, 90).map(lambda second: second * S),
)


@given(st.lists(containers, unique_by=lambda each: each.container_id), st.data())
def test_late_repeated_and_shuffled_news_ends_in_the_same_knowledge(
    whole: list[Container], data: st.DataObject
) -> None:
    partial = [
        Container(c.image, c.image_id if keep else "", c.container_id, c.restart_count, c.started_us, None)
        for c in whole
        for keep in (True, False)
    ]
    news = data.draw(st.permutations([*whole, *whole, *partial]))
    known: tuple[Container, ...] = ()
    for each in news:
        known = merged(known, [each])
    assert known == merged((), whole)


# which one answered


def test_the_latest_container_that_had_started_is_the_one_that_answered() -> None:
    told = [ran("a", 10), ran("b", 20), ran("c", 30)]
    assert answering(told, 0, 25 * S) == told[1]
    assert answering(told, 0, 9 * S) is None


def test_a_container_of_before_the_change_is_not_the_new_one_however_late_the_news() -> None:
    told = [ran("a", 10)]
    assert answering(told, int(20.7 * S), 25 * S) is None
    new = ran("b", 20, restarts=1)
    assert answering([*told, new], int(20.7 * S), 25 * S) == new


def test_one_that_ended_before_it_could_answer_is_passed_over() -> None:
    assert answering([ran("a", 10, 12)], 0, 20 * S) is None


def test_in_the_second_of_a_start_nothing_is_said_unless_it_is_certain() -> None:
    old, new = ran("a", 10), ran("b", 20, restarts=1)
    answered_us = int(20.5 * S)
    assert answering([old, new], 0, answered_us) is None
    assert answering([old, new], int(19.9 * S), answered_us) == new
    assert answering([old, new], 0, answered_us, others=["b"]) == old
    again = ran("a.2", 20, image="a", restarts=1)
    assert answering([old, again], 0, answered_us) in (old, again), "either way it is the same image"


def test_in_the_second_of_a_start_the_run_before_it_must_be_known() -> None:
    """Of the run that answered the news may be missing, and this one have started behind the answer."""
    new = ran("b", 20, restarts=1)
    assert answering([new], 0, int(20.5 * S)) is None
    assert answering([new], int(20.3 * S), int(27 * S)) is None, "it may have started before the change"
    assert answering([ran("a", 10), new], int(20.3 * S), int(27 * S), others=["a"]) == new
    assert answering([new], int(19.9 * S), int(21 * S)) == new


def test_a_container_whose_image_is_not_told_is_still_the_one_that_answered() -> None:
    silent = ran("b", 15, image="", restarts=1)
    assert answering([ran("a", 10), silent], 0, 20 * S) == silent


# the annotation


@given(st.lists(containers, unique_by=lambda each: each.container_id, max_size=6))
def test_the_annotation_gives_back_what_went_in(told: list[Container]) -> None:
    assert parse_digest_text(digest_text("model", told)) == ("model", list(merged((), told)))


def test_the_annotation_is_the_agreed_one_and_written_only_when_something_is_new() -> None:
    text = annotation_for(pod(status()), "model", KEY)
    assert text is not None
    value = json.loads(text)
    assert (value["v"], value["container"]) == (1, "model")
    assert value["epochs"][1] == {
        "image": "registry.example/m:latest",
        "image_id": f"registry.example/m@{DIGEST}",
        "container_id": "containerd://b",
        "restart_count": 1,
        "started_at": "2026-11-25T09:10:00Z",
    }
    assert annotation_for(pod(status(), **{KEY: text}), "model", KEY) is None
    assert annotation_for(pod(status(state={}, lastState={}), **{KEY: text}), "model", KEY) is None
    assert annotation_for(pod(status(state={}, lastState={})), "model", KEY) is None
    assert annotation_for(pod(status(), **{KEY: "no JSON"}), "model", KEY) == text


def test_a_run_keeps_its_image_in_the_annotation_when_the_status_has_gone_on() -> None:
    running = {"running": {"startedAt": "2026-11-25T09:00:00Z"}}
    first = annotation_for(
        pod(status(containerID="containerd://a", state=running, lastState={})), "model", KEY
    )
    assert first is not None
    second = annotation_for(pod(status(imageID="sha256:" + "1" * 64), **{KEY: first}), "model", KEY)
    assert second is not None
    before, now = parse_digest_text(second)[1]
    assert (before.image_id, now.image_id) == (f"registry.example/m@{DIGEST}", "sha256:" + "1" * 64)
    assert before.finished_us is not None


def test_the_annotation_stays_bounded() -> None:
    told = [ran(str(number), number) for number in range(100)]
    _, found = parse_digest_text(digest_text("model", told))
    assert found == told[-ANNOTATED:]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"v":2,"container":"m","epochs":[]}', '{"v":1,"container":1,"epochs":[]}',
        '{"v":1,"container":"m","epochs":{}}', '{"v":1,"container":"m","epochs":[1]}',
        '{"v":1,"container":"m","epochs":[{"container_id":"x"}]}', "[" * 100_000,
        '{"v":1,"container":"m","epochs":[{"container_id":"x","started_at":"yesterday"}]}',
    ],
)  # fmt: skip
def test_an_annotation_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|is not|has "):
        parse_digest_text(text)


# times


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01T00:00:01Z", S),
        ("1970-01-01T01:00:01+01:00", S),
        ("1970-01-01T00:00:01.5Z", S + S // 2),
        ("1970-01-01T00:00:01", None),
        ("", None),
        (None, None),
        (1, None),
        ("0001-01-01T00:00:00Z", -62135596800 * S),
        ("9999-99-99T00:00:00Z", None),
    ],
)
def test_times_are_read_as_the_api_writes_them(text: object, time_us: int | None) -> None:
    assert parse_time(text) == time_us


@given(st.integers(0, 4_000_000_000 * S))
def test_a_time_comes_back_as_it_was_written(time_us: int) -> None:
    assert parse_time(format_time(time_us)) == time_us

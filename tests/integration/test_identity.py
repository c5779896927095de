"""`sidecar run` in front of a container that is replaced: each stored record has the digest that answered it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sidecar.counters import Global
from sidecar.identity.kubernetes import annotation_for
from sidecar.inject.names import DIGEST
from tests.support.kube_api import KubeApi
from tests.support.kubelet import write_atomically
from tests.support.model_pod import Asking, ModelPod, digest_of
from tests.support.running import SIDECAR, Sidecar, fetch, running_sidecar, until
from tests.support.stored import stored_rows

Row = dict[str, Any]


@pytest.fixture
def pod() -> Iterator[ModelPod]:
    pod = ModelPod()
    yield pod
    pod.end()


class Annotations:
    """The pod's annotations: the controller's part, and kubelet's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.text: str | None = None
        self.write()

    @property
    def file(self) -> Path:
        return self.folder / "annotations"

    def annotate(self, pod: ModelPod) -> str:
        """What the controller makes of the pod now; nobody sees it before it is written."""
        held = {} if self.text is None else {DIGEST: self.text}
        self.text = annotation_for(pod.object(held), "model", DIGEST) or self.text
        assert self.text is not None
        return self.text

    def write(self, text: str | None = None) -> None:
        value = text if text is not None else self.text
        lines = 'kubernetes.io/config.source="api"\n'
        lines += f"{DIGEST}={json.dumps(value)}\n" if value is not None else ""
        write_atomically(self.folder, {"annotations": lines.encode()}, 0o644)

    def followed(self, pod: ModelPod, wait: str) -> AbstractContextManager[Sidecar]:
        """A sidecar before the pod's model that reads these."""
        return running_sidecar(
            self.folder.parent,
            pod.port,
            identity="downward",
            identity_file=str(self.file),
            identity_wait=wait,
        )

    def tell(self, pod: ModelPod) -> None:
        """The controller's part and kubelet's, one right after the other."""
        self.annotate(pod)
        self.write()


def exchanges(store: Path) -> list[Row]:
    return [row for row in stored_rows(store) if row["kind"] == "exchange"]


def labels(store: Path) -> Counter[tuple[str, str | None]]:
    """Counts of stored answers by the model that gave them and the digest that they are stored under."""
    answered = [row for row in exchanges(store) if row["status"] == 200]
    return Counter((json.loads(row["response_body"])["model"], row["image_digest"]) for row in answered)


def leaves(store: Path) -> list[Row]:
    rows = [row for row in stored_rows(store) if row["kind"] == "identity"]
    return [json.loads(row["details"]) for row in sorted(rows, key=lambda row: int(row["leaf_index"]))]


def verified(store: Path) -> None:
    done = subprocess.run([*SIDECAR, "verify", "--store", str(store)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def metric(running: Sidecar, name: str) -> float:
    text = fetch(running.ports["admin"], "/metrics")[1].decode()
    match = re.search(rf"^{name} (\S+)$", text, re.M)
    return float(match[1]) if match else -1.0


def true_to(labels: Counter[tuple[str, str | None]], asking: Asking) -> None:
    """Every answer is stored, under the digest of the model that gave it."""
    assert {name: count for (name, _), count in labels.items()} == asking.answers
    assert {digest for (name, digest) in labels if digest != digest_of(name)} == set()


def test_every_record_has_the_digest_that_answered_it_though_news_comes_late_twice_and_in_any_order(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    with told.followed(pod, "40s") as running:
        pod.start("a")
        with Asking(running.port) as asking:
            asking.until_more("a")
            assert metric(running, "sidecar_identity_known") == 0
            time.sleep(1)
            first = told.annotate(pod)
            told.write()
            until(lambda: metric(running, "sidecar_identity_known") == 1, "the first news")
            # Another image, and the news of it late.
            pod.restart("b")
            asking.until_more("b")
            until(lambda: metric(running, "sidecar_identity_waiting") == 1, "records to wait")
            time.sleep(1.5)
            told.write(first)
            second = told.annotate(pod)
            told.write()
            until(lambda: metric(running, "sidecar_identity_waiting") == 0, "the news of b")
            # The same image again; old news comes again, and what follows is told only with what follows that.
            pod.restart("b.2")
            told.write(first)
            asking.until_more("b.2")
            told.annotate(pod)
            told.write(second)
            pod.restart("c")
            asking.until_more("c")
            told.tell(pod)
            told.write()
            asking.until_more("c")
            # A new digest is a new series of statistics.
            digests = {digest_of(name) for name in "abc"}
            until(
                lambda: {each["digest"] for each in running.status()["models"]} >= digests, "statistics of c"
            )
        assert metric(running, "sidecar_identity_unreadable_total") == 0
        assert running.stop() == 0
    true_to(labels(running.store), asking)
    by_name = {
        json.loads(row["response_body"])["model"]: (row["epoch"], row["identity_source"])
        for row in exchanges(running.store)
        if row["status"] == 200
    }
    assert by_name == {name: (number, "kubernetes") for number, name in enumerate(("a", "b", "b.2", "c"))}
    last = {leaf["number"]: leaf for leaf in leaves(running.store)}
    assert {n: leaf["container_id"] for n, leaf in last.items()} == {
        0: "containerd://a",
        1: "containerd://b",
        2: "containerd://b.2",
        3: "containerd://c",
    }
    assert last[1]["image_id"] == f"registry.example/m@{digest_of('b')}"
    assert (last[1]["digest_kind"], last[1]["image"]) == ("manifest", "registry.example/b:latest")
    assert not running.tracebacks()
    verified(running.store)


def test_what_nobody_told_in_time_is_sealed_as_unknown_and_said_in_a_later_leaf(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    with told.followed(pod, "1s") as running:
        pod.start("a")
        told.tell(pod)
        with Asking(running.port) as asking:
            asking.until_more("a")
            pod.restart("b")
            asking.until_more("b")
            until(lambda: ("b", None) in labels(running.store), "records of b under no digest")
            assert metric(running, "sidecar_identity_known") == 0
            told.tell(pod)
            until(lambda: ("b", digest_of("b")) in labels(running.store), "records of b under its digest")
        assert running.stop() == 0
    found = labels(running.store)
    assert {(name, digest) for name, digest in found if digest is not None} == {
        ("a", digest_of("a")),
        ("b", digest_of("b")),
    }
    of_b = [leaf for leaf in leaves(running.store) if leaf["number"] == 1]
    assert [leaf["image_digest"] for leaf in of_b] == [None, digest_of("b")]
    assert of_b[1]["since_us"] % 1_000_000 == 0
    assert of_b[1]["source"] == "kubernetes"
    verified(running.store)


def test_where_the_model_cannot_be_seen_its_start_decides_and_what_is_not_sealed_is_labelled_anew(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    with running_sidecar(
        tmp_path,
        pod.port,
        # Not an address as the kernel writes it: whatever it leads to, it need not be in this namespace.
        upstream=f"http://0x7f000001:{pod.port}",
        identity="downward",
        identity_file=str(told.file),
        batch_age="60s",
    ) as running:
        pod.start("a")
        told.tell(pod)
        assert running.says("cannot be seen")
        with Asking(running.port) as asking:
            asking.until_more("a")
            pod.stop()
            # So that the seconds of one's end and the other's start differ.
            time.sleep(1.5)
            pod.start("b")
            asking.until_more("b")
            until(lambda: running.status()["analyst"]["exchanges"] >= sum(asking.answers.values()), "reading")
            told.tell(pod)
            until(lambda: metric(running, "sidecar_identity_epochs_total") == 2, "the news of b")
            asking.until_more("b")
        assert running.stop() == 0
    true_to(labels(running.store), asking)
    verified(running.store)


class ApiServer:
    """A scripted API server over TLS in a thread of its own; its methods may be called from any other."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.folder = folder
        self.api = KubeApi(folder)

    def __enter__(self) -> ApiServer:
        self.folder.mkdir()
        self._thread.start()
        self.wait(self.api.__aenter__())
        (self.folder / "ca.crt").write_bytes((self.folder / "api-ca.crt").read_bytes())
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self.api.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def wait(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def put(self, pod: Row) -> None:
        self.wait(self.api.put("/api/v1/pods", pod))

    def do(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            work()

        self.wait(run())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "token") as server:
        yield server


def test_the_pod_is_followed_through_the_api_whatever_becomes_of_its_watch(
    tmp_path: Path, pod: ModelPod, server: ApiServer
) -> None:
    api = server.api
    api.fail(web.Response(status=503), part="/pods")
    with running_sidecar(
        tmp_path,
        pod.port,
        identity="pod",
        identity_api=api.access.url,
        identity_token=str(server.folder),
        namespace="risk",
        pod_name="mortgage-0",
        pod_uid="u-1",
        model_container="model",
        identity_wait="20s",
    ) as running:
        # A pod of this name that is gone, and another one beside.
        other = pod.object()
        other["metadata"]["name"] = "mortgage-1"
        server.put(other)
        pod.start("a")
        gone = pod.object()
        gone["metadata"]["uid"] = "u-0"
        gone["status"]["containerStatuses"][0]["imageID"] = f"registry.example/m@{digest_of('z')}"
        gone["status"]["containerStatuses"][0]["containerID"] = "containerd://z"
        server.put(gone)
        with Asking(running.port) as asking:
            asking.until_more("a")
            first = pod.object()
            server.put(first)
            until(lambda: metric(running, "sidecar_identity_known") == 1, "the first news")
            # The watch is cut, and what happens meanwhile is forgotten: 410, and the pod is listed again.
            server.do(lambda: api.fail("cut", part="watch=1", times=2))
            server.do(api.cut_watches)
            pod.restart("b")
            asking.until_more("b")
            until(lambda: metric(running, "sidecar_identity_waiting") == 1, "records to wait")
            server.put(pod.object())
            server.do(api.compact)
            until(lambda: metric(running, "sidecar_identity_waiting") == 0, "the news of b")
            asking.until_more("b")
            # Old news comes after new, and twice; the API is away while the container is replaced.
            server.put(first)
            server.put(first)
            server.do(lambda: api.fail(web.Response(status=429), part="/pods", times=2))
            server.do(api.cut_watches)
            pod.restart("b.2")
            asking.until_more("b.2")
            pod.restart("c")
            asking.until_more("c")
            server.put(pod.object())
            until(lambda: metric(running, "sidecar_identity_epochs_total") == 4, "c to be read")
            until(lambda: metric(running, "sidecar_identity_known") == 1, "the news of c")
            asking.until_more("c")
        assert running.stop() == 0
    found = labels(running.store)
    # Of b.2 nobody said which image it was: not the image of the one before, and not that of the next.
    assert {digest for (name, digest) in found if name == "b.2"} == {None}
    assert {digest for (name, digest) in found if name != "b.2" and digest != digest_of(name)} == set()
    assert sum(found.values()) == sum(asking.answers.values())
    assert any(query.get("watch") for _, _, query in api.requests)
    assert all(query.get("fieldSelector") == "metadata.name=mortgage-0" for _, _, query in api.requests)
    assert not running.tracebacks()
    verified(running.store)


def test_whoever_dies_while_the_container_is_replaced_no_record_gets_the_others_digest(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    with told.followed(pod, "40s") as running:
        pod.start("a")
        told.tell(pod)
        with Asking(running.port) as asking:
            asking.until_more("a")
            time.sleep(1.1)  # statuses tell seconds: what lies within one cannot be told apart
            # The recorder is dead from before one's end until after the other's start.
            pod.stop()
            assert running.kill(Global.RECORDER_PID)
            pod.start("b")
            asking.until_more("b")
            assert running.kill(Global.ANALYST_PID)
            asking.until_more("b")
            told.tell(pod)
            until(lambda: ("b", digest_of("b")) in labels(running.store), "records of b")
            assert running.kill(Global.ANALYST_PID)
            asking.until_more("b")
        assert running.stop() == 0
    found = labels(running.store)
    assert {(name, digest) for name, digest in found} == {("a", digest_of("a")), ("b", digest_of("b"))}
    verified(running.store)


def test_a_container_replaced_while_no_sidecar_ran_is_not_taken_for_the_one_before(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    pod.start("a")
    told.tell(pod)
    running = Sidecar(
        tmp_path, pod.port, identity="downward", identity_file=str(told.file), identity_wait="1s"
    )
    try:
        with Asking(running.start().port) as asking:
            asking.until_more("a")
            until(lambda: ("a", digest_of("a")) in labels(running.store), "records of a")
        running.kill_group()
        pod.restart("b")
        with Asking(running.start().port) as asking:
            asking.until_more("b")
            until(lambda: ("b", None) in labels(running.store), "records of b, of which nobody told")
            told.tell(pod)
            until(lambda: ("b", digest_of("b")) in labels(running.store), "records of b")
        assert running.stop() == 0
    finally:
        running.end()
    assert {name for name, digest in labels(running.store) if digest == digest_of("a")} == {"a"}


def test_a_pinned_digest_holds_until_the_container_is_another(tmp_path: Path, pod: ModelPod) -> None:
    told = Annotations(tmp_path / "pod")
    with running_sidecar(
        tmp_path,
        pod.port,
        identity="downward",
        identity_file=str(told.file),
        identity_wait="1s",
        image_digest=digest_of("a"),
    ) as running:
        pod.start("a")
        with Asking(running.port) as asking:
            asking.until_more("a")
            until(lambda: ("a", digest_of("a")) in labels(running.store), "records without any news")
            pod.restart("b")
            asking.until_more("b")
            until(lambda: ("b", None) in labels(running.store), "records that nobody told of")
        assert running.stop() == 0
    assert set(labels(running.store)) == {("a", digest_of("a")), ("b", None)}
    verified(running.store)


def test_a_model_that_fails_until_its_image_is_another_gives_that_ones_answers_no_digest(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    with running_sidecar(
        tmp_path,
        pod.port,
        identity="downward",
        identity_file=str(told.file),
        identity_wait="1s",
        batch_age="1s",
        image_digest=digest_of("a"),
    ) as running:
        for name in ("a", "a.2"):
            pod.fail(name)
            told.tell(pod)
        until(lambda: metric(running, "sidecar_identity_news_total") >= 1, "the news of the failures")
        time.sleep(2.1)  # statuses tell seconds
        pod.start("b")
        with Asking(running.port) as asking:
            asking.until_more("b")
            until(lambda: ("b", None) in labels(running.store), "answers of which nobody told")
            told.tell(pod)
            until(lambda: ("b", digest_of("b")) in labels(running.store), "answers of which was told")
            pod.restart("c")
            asking.until_more("c")
            until(lambda: ("c", None) in labels(running.store), "answers of the next model")
        assert running.stop() == 0
    wrong = {
        (name, digest) for name, digest in labels(running.store) if digest not in (None, digest_of(name))
    }
    assert wrong == set()
    verified(running.store)


def test_the_pinned_digest_is_not_that_of_a_later_container_for_the_next_boot_either(
    tmp_path: Path, pod: ModelPod
) -> None:
    told = Annotations(tmp_path / "pod")
    running = Sidecar(
        tmp_path,
        pod.port,
        identity="downward",
        identity_file=str(told.file),
        identity_wait="1s",
        image_digest=digest_of("a"),
    )
    try:
        pod.start("a")
        with Asking(running.start().port) as asking:
            asking.until_more("a")
            pod.restart("b")
            asking.until_more("b")
        assert running.stop() == 0
        with Asking(running.start().port) as asking:
            asking.until_more("b")
        assert running.stop() == 0
    finally:
        running.end()
    assert set(labels(running.store)) == {("a", digest_of("a")), ("b", None)}

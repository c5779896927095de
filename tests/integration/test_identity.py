"""`sidecar run` in front of a container that is replaced: each stored record has the digest that answered it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.identity.kubernetes import annotation_for
from sidecar.inject.names import DIGEST
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
    with running_sidecar(
        tmp_path, pod.port, identity="downward", identity_file=str(told.file), identity_wait="40s"
    ) as running:
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
            told.annotate(pod)
            told.write()
            told.write()
            asking.until_more("c")
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
    with running_sidecar(
        tmp_path, pod.port, identity="downward", identity_file=str(told.file), identity_wait="1s"
    ) as running:
        pod.start("a")
        told.annotate(pod)
        told.write()
        with Asking(running.port) as asking:
            asking.until_more("a")
            pod.restart("b")
            asking.until_more("b")
            until(lambda: ("b", None) in labels(running.store), "records of b under no digest")
            assert metric(running, "sidecar_identity_known") == 0
            told.annotate(pod)
            told.write()
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

"""Pods with their journal on the node: recorded by the real sidecar, then killed, or left alive."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidecar.counters import Route
from sidecar.ledger.note import SigningKey
from tests.support.commands import sidecar
from tests.support.evidence import Evidence, read_evidence
from tests.support.load import Load
from tests.support.running import ROOT, SIDECAR, Sidecar, until

ENROL = SigningKey("enrolment.example", b"e" * 32)
PATIENCE_S = 120.0


class Node:
    """A node's folder of journals, and the store that its pods ship to."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.folder = folder
        self.journals = folder / "journals"
        self.store = folder / "records"
        self.enrolment = folder / "enrolment.key"
        self.journals.mkdir()
        self.store.mkdir()
        self.enrolment.write_text(ENROL.private_text())
        self.enrolment.chmod(0o600)
        self._upstream_port = upstream_port
        self._started: list[Sidecar] = []

    def pod(self, uid: str, namespace: str = "risk", **settings: str) -> Sidecar:
        """A pod's sidecar as injection sets it up, not started. Nothing is shipped unless settings say so."""
        place = self.place(uid, namespace)
        place.mkdir(exist_ok=True)
        home = self.folder / uid
        home.mkdir(exist_ok=True)
        given: dict[str, Any] = {
            "batch_age": "10m",
            "namespace": namespace,
            "pod_uid": uid,
            "workload": "fraud",
            "model": "fraud",
            "image_digest": "sha256:" + "ab" * 32,
            "enrolment_key": str(self.enrolment),
            "store": str(self.store),
            "journal": str(place / "journal"),
        }
        made = Sidecar(home, self._upstream_port, **{**given, **settings})
        self._started.append(made)
        return made

    def place(self, uid: str, namespace: str = "risk") -> Path:
        return self.journals / f"{namespace}_fraud-{uid}_{uid}"

    def dead(self, uid: str, requests: int = 50, **settings: str) -> set[str]:
        """A pod that answered so many requests and was killed: their ids."""
        pod = self.pod(uid, **settings).start()
        answered = self.load(pod, uid, requests)
        pod.kill_group()
        return answered

    def load(self, pod: Sidecar, prefix: str, requests: int) -> set[str]:
        """Ids of requests answered, all of them in the journal by now."""
        with Load(pod.port, 4, prefix=prefix) as load:
            load.more(requests)
        assert load.failed == []
        counters = pod.counters()
        try:
            until(
                lambda: (
                    counters.route("default", Route.COMMITTED_SEQ) == counters.route("default", Route.STARTED)
                    or None
                ),
                "the records committed",
            )
        finally:
            counters.close()
        return set(load.answered)

    def command(self, *arguments: str) -> list[str]:
        """`sidecar drain` with what it needs; every pod without a lock counts as gone."""
        return [
            *(*SIDECAR, "drain", "--journals", str(self.journals), "--store", str(self.store)),
            *("--after", "0s", "--enrolment-key", str(self.enrolment), "--log-format", "json"),
            *arguments,
        ]

    def drain(self, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        """One round, to its end. `path` is a folder whose `sitecustomize` is loaded first."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment(path),
            check=False,
        )

    def start_drain(self, *arguments: str, path: str = "") -> subprocess.Popen[bytes]:
        """In a process group of its own, logging to drain.log. `path` as for `drain`."""
        with (self.folder / "drain.log").open("ab") as log:
            return subprocess.Popen(
                self.command(*arguments),
                env=environment(path),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def evidence(self) -> Evidence:
        found = read_evidence(self.store)
        found.check_single()
        found.check_sequences()
        return found

    def verify(self) -> dict[str, Any]:
        """The report of `sidecar verify`, which must be content."""
        trust = self.folder / "trusted.pub"
        trust.write_text(str(ENROL.verifier) + "\n")
        ran = sidecar("verify", "--store", self.store, "--trust", trust, "--json")
        report: dict[str, Any] = json.loads(ran.out)
        assert ran.code == 0, report
        return report

    def left(self) -> Sequence[str]:
        return sorted(path.name for path in self.journals.iterdir())

    def end(self) -> None:
        for pod in self._started:
            pod.end()


def environment(path: str = "") -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return {**inherited, "PYTHONPATH": f"{path}:{ROOT}" if path else str(ROOT)}

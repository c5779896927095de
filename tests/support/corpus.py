"""The corpus of pods: what each is, its surroundings, and what injection must make of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sidecar.inject.patch import Outcome, inject
from sidecar.inject.pod import annotations_of
from sidecar.inject.settings import InjectSettings, Source, from_annotations, read
from sidecar.inject.surroundings import Surroundings

FOLDER = Path(__file__).parent.parent / "k8s" / "corpus"
IMAGE = "registry.example/sidecar:9"
STORE = Source("ConfigMap sidecar-system/sidecar-defaults", {"store": "s3://evidence/records"})


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    name: str
    given: dict[str, Any]
    expect: dict[str, str]
    pod: dict[str, Any]

    @property
    def around(self) -> Surroundings:
        nodes = tuple(self.given.get("nodes", (1, 33)))
        services = self.given.get("services")
        return Surroundings(
            oldest_node=nodes,
            server=nodes,
            openshift=self.given.get("openshift", False),
            pod_security=self.given.get("pod_security"),
            mesh=self.given.get("mesh"),
            services=tuple(services) if services is not None else None,
        )

    def read(self) -> tuple[InjectSettings, list[str]]:
        return read((STORE, from_annotations(annotations_of(self.pod))), IMAGE)

    def inject(self, pod: dict[str, Any] | None = None) -> Outcome:
        return inject(pod or self.pod, self.read()[0], self.around, "9.0")


def cases() -> list[Case]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        about, pod = yaml.safe_load_all(path.read_text())
        found.append(Case(path.stem, about.get("given", {}), about["expect"], pod))
    return found


CASES = cases()
INJECTED = [case for case in CASES if "mode" in case.expect]
REFUSED = [case for case in CASES if "refused" in case.expect]

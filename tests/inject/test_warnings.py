"""What is said beside a patch, though the pod is injected."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.inject.patch import inject
from sidecar.inject.settings import Source, read
from sidecar.inject.surroundings import Surroundings

SETTINGS, _ = read((Source("defaults", {"store": "s3://evidence/all"}),), "sidecar:9")


def service(target: int | str, app: str = "fraud") -> dict[str, Any]:
    ports = [{"port": 443, "targetPort": target}]
    return {"metadata": {"name": "s"}, "spec": {"selector": {"app": app}, "ports": ports}}


def warnings(*services: dict[str, Any], level: str = "privileged") -> list[str]:
    """Of a model behind a proxy for signing in, in the same pod."""
    model = {"name": "model", "image": "m", "ports": [{"name": "http", "containerPort": 8080}]}
    proxy = {"name": "oauth-proxy", "image": "p", "ports": [{"name": "https", "containerPort": 8443}]}
    annotations = {"kubectl.kubernetes.io/default-container": "model"}
    pod = {
        "metadata": {"labels": {"app": "fraud"}, "annotations": annotations},
        "spec": {"containers": [model, proxy]},
    }
    outcome = inject(pod, SETTINGS, Surroundings(pod_security=level, services=services), "9")
    assert outcome.capture is not None
    return [each for each in outcome.warnings if "no Service" in each]


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([], None),
        ([service(8080)], None),
        ([service("http")], None),
        ([service("https"), service(8080)], None),
        ([service("https", app="other")], None),
        ([service("https")], "they target https"),
        ([service(8443), service("metrics")], "they target 8443, metrics"),
    ],
)
def test_services_that_all_lead_past_the_captured_port_are_told(
    services: list[dict[str, Any]], said: str | None
) -> None:
    found = warnings(*services)
    assert found == [] if said is None else said in found[0]


def test_a_name_that_the_sidecar_takes_over_is_still_targeted() -> None:
    assert warnings(service("http"), level="restricted") == []
    assert "port 8080, which is captured" in warnings(service("https"), level="restricted")[0]

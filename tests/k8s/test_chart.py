"""The Helm chart: rendered, it is what the overlays are made of, with its values filled in."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from sidecar import __version__
from sidecar.inject.names import DEFAULTS
from tests.support.kubernetes_files import (
    K8S,
    VERSIONS,
    Object,
    built,
    containers,
    invalid,
    one,
    program,
    rendered,
    templates,
)

CHART = K8S / "chart"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EVERYTHING = (
    "--set=drainer.enabled=true,monitoring.enabled=true,witness.enabled=true,retention.enabled=true",
    "--set=defaults.store=s3://evidence/records,defaults.store-region=eu-central-1",
    "--set=image.repository=registry.example/sidecar,image.pullSecrets={registry}",
    "--set=webhook.replicas=3,webhook.failurePolicy=Fail,monitoring.namespace=prometheus",
    '--set-json=serviceAccountAnnotations={"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/x"}',
)


def keyed(objects: Any) -> dict[tuple[str, str, str], Object]:
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in objects
    }


def test_helm_finds_nothing_wrong() -> None:
    done = subprocess.run(
        [program("helm"), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arguments", [(), EVERYTHING], ids=["default", "everything"])
def test_what_it_renders_is_valid(arguments: tuple[str, ...], version: str) -> None:
    assert not invalid(rendered(*arguments), version)


def test_by_default_it_renders_the_objects_of_the_overlays() -> None:
    made = keyed(rendered())
    source = keyed(built(K8S / "overlays" / "s3"))
    without = {
        key for key in source if key[0] in ("PodMonitor", "PrometheusRule") or key[2] == "sidecar-dashboard"
    }
    assert made.keys() == source.keys() - without
    for key, each in made.items():
        other = json.loads(json.dumps(source[key]))
        other["metadata"].pop("annotations", None)
        for _, template in templates([each]):
            for container in containers(template):
                assert container.pop("imagePullPolicy") == VALUES["image"]["pullPolicy"]
        if key[2] == DEFAULTS:
            assert each["data"] == {"image": f"sidecar:{__version__}", "image-pull-policy": "IfNotPresent"}
        else:
            assert each == other, key


def test_values_are_filled_in() -> None:
    made = rendered(*EVERYTHING)
    image = f"registry.example/sidecar:{__version__}"
    for _, template in templates(made):
        assert {each["image"] for each in containers(template)} == {image}
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert one(made, "Deployment", "sidecar-webhook")["spec"]["replicas"] == 3
    webhooks = one(made, "MutatingWebhookConfiguration", "sidecar-webhook")["webhooks"]
    assert {each["failurePolicy"] for each in webhooks} == {"Fail"}
    assert one(made, "ConfigMap", DEFAULTS)["data"] == {
        "image": image,
        "image-pull-policy": "IfNotPresent",
        "journal-volume": "hostPath:/var/lib/sidecar-journals",
        "store": "s3://evidence/records",
        "store-region": "eu-central-1",
    }
    drain = one(made, "ConfigMap", "sidecar-drain")["data"]
    assert drain == {"store": "s3://evidence/records", "store-region": "eu-central-1"}
    for name in ("watch", "drain", "witness", "retention"):
        annotations = one(made, "ServiceAccount", f"sidecar-{name}")["metadata"]["annotations"]
        assert annotations == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    for each in made:
        if (each["kind"], each["metadata"]["name"]) == ("NetworkPolicy", "sidecar-metrics"):
            (source,) = each["spec"]["ingress"][0]["from"]
            labels = source["namespaceSelector"]["matchLabels"]
            assert labels == {"kubernetes.io/metadata.name": "prometheus"}
    text = one(made, "ConfigMap", "sidecar-dashboard")["data"]["sidecar.json"]
    assert json.loads(text) == json.loads((K8S / "components/monitoring/dashboard.json").read_text())
    assert len(keyed(made)) == len(made), "nothing twice"


def test_a_digest_is_set_behind_an_at_sign() -> None:
    made = rendered(f"--set=image.tag=sha256:{'a' * 64}")
    assert one(made, "ConfigMap", DEFAULTS)["data"]["image"] == f"sidecar@sha256:{'a' * 64}"


def test_the_namespace_may_be_there_already() -> None:
    assert "Namespace" not in {each["kind"] for each in rendered("--set=createNamespace=false")}


def test_the_schema_knows_every_value_and_its_kind() -> None:
    # The draft that every Helm 3 knows, too.
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert set(VALUES) == set(SCHEMA["required"])
    for wrong in (
        {"drainer": {"enable": True}},
        {"webhook": {**VALUES["webhook"], "replicas": 0}},
        {"more": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(VALUES | wrong, SCHEMA)


def test_its_version_is_the_products() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VALUES["image"]["tag"] == __version__


def test_templates_hold_no_object_of_their_own_but_two_files() -> None:
    text = (CHART / "templates" / "manifests.yaml").read_text()
    assert re.findall(r"^kind: (\w+)", text, re.MULTILINE) == ["ConfigMap", "ConfigMap"]

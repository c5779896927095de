"""Command, arguments and environment of a container → one digest."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.identity.configuration import configuration_digest, configuration_of

KEY = b"k" * 32
CONTAINER: dict[str, Any] = {
    "name": "model",
    "command": ["serve"],
    "args": ["--threads=2", "naïve"],
    "env": [
        {"name": "PASSWORD", "value": "hunter2"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
    "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
}


def independent(values: str = "") -> str:
    text = (
        '{"args":["--threads=2","naïve"],"command":["serve"],"environment":["B","PASSWORD"],'
        f'"from":[["configMapRef","c","P_"]]{values}}}'
    )
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_anybody_can_compute_it_from_the_spec() -> None:
    assert configuration_digest(CONTAINER) == independent()
    value = hmac.new(KEY, b"environment\0PASSWORD\0hunter2", "sha256").hexdigest()
    assert configuration_digest(CONTAINER, KEY) == independent(f',"values":{{"PASSWORD":"{value}"}}')


@pytest.mark.parametrize(
    ("change", "seen", "seen_with_key"),
    [
        ({"image": "other"}, False, False),
        ({"args": ["--threads=3", "naïve"]}, True, True),
        ({"command": None}, True, True),
        ({"env": [CONTAINER["env"][1], CONTAINER["env"][0]]}, False, False),
        ({"env": [{"name": "PASSWORD", "value": "hunter3"}, CONTAINER["env"][1]]}, False, True),
        ({"env": CONTAINER["env"][:1]}, True, True),
        ({"envFrom": []}, True, True),
    ],
)
def test_it_changes_with_what_the_model_is_told_and_values_count_only_under_a_key(
    change: dict[str, Any], seen: bool, seen_with_key: bool
) -> None:
    changed = {**CONTAINER, **change}
    assert (configuration_digest(changed) != configuration_digest(CONTAINER)) is seen
    assert (configuration_digest(changed, KEY) != configuration_digest(CONTAINER, KEY)) is seen_with_key


@pytest.mark.parametrize("part", ["containers", "initContainers"])
def test_the_container_is_found_by_its_name(part: str) -> None:
    pod = {"spec": {part: [{"name": "other"}, CONTAINER]}}
    assert configuration_of(pod, "model") == independent()
    assert configuration_of(pod, "none") is None


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CONTAINER, "value"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*CONTAINER]), values))
def test_no_spec_makes_it_fail(container: dict[str, Any]) -> None:
    json.dumps(configuration_digest(container, KEY))

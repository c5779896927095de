"""Keys, settings and examples in the docs are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from sidecar.inject.keys import PASSED, markdown
from sidecar.inject.settings import from_annotations, read

DOCUMENT = Path(__file__).parents[2] / "docs" / "kubernetes-injection.md"


def test_the_documented_keys_are_those_of_the_code() -> None:
    table = DOCUMENT.read_text().split("<!-- keys -->\n")[1].split("\n<!-- /keys -->")[0]
    assert table == markdown().rstrip("\n")


def test_the_documented_settings_of_the_sidecar_are_those_that_injection_takes() -> None:
    listed = DOCUMENT.read_text().split("<!-- passed -->\n")[1].split("\n<!-- /passed -->")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) <= PASSED.keys()


def test_the_documented_annotations_are_understood() -> None:
    example = yaml.safe_load(DOCUMENT.read_text().split("```yaml\n")[1].split("```")[0])
    settings, warnings = read((from_annotations(example["metadata"]["annotations"]),), "sidecar:9")
    assert warnings == []
    assert len(settings.passed) == 3

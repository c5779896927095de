"""The table of keys in the docs is the one in the code."""

from __future__ import annotations

from pathlib import Path

from sidecar.inject.keys import markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "kubernetes-injection.md"


def test_the_documented_keys_are_those_of_the_code() -> None:
    table = DOCUMENT.read_text().split("<!-- keys -->\n")[1].split("\n<!-- /keys -->")[0]
    assert table == markdown().rstrip("\n")

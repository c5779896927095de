from __future__ import annotations

import re
from pathlib import Path

from sidecar.schema import COLUMN_TYPES

DOCS = Path(__file__).parents[2] / "docs" / "records.md"
TYPES = {"utf8": "string", "map": "map"}


def test_the_docs_list_every_column_in_order_with_its_type() -> None:
    section = DOCS.read_text().split("## Columns")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([a-z0-9_]+)` \| ([a-z0-9]+)", section, re.MULTILINE)
    assert documented == [(name, TYPES.get(kind, kind)) for name, kind in COLUMN_TYPES.items()]

from __future__ import annotations

import re
from pathlib import Path

from sidecar.shipping.rows import COLUMNS

DOCS = Path(__file__).parents[2] / "docs" / "records.md"
TYPES = {"Utf8": "string", "Binary": "binary", "Int64": "int64", "Int32": "int32", "Boolean": "bool"}


def test_the_docs_list_every_column_in_order_with_its_type() -> None:
    section = DOCS.read_text().split("## Columns")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([a-z0-9_]+)` \| ([a-z0-9]+)", section, re.MULTILINE)
    named = [
        (name, next(t for key, t in TYPES.items() if key in repr(kind))) for name, kind in COLUMNS.items()
    ]
    assert documented == named

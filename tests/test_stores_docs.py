"""docs/stores.md gives rights that keep sidecars from replacing anything that they may put."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TEXT = (Path(__file__).parent.parent / "docs" / "stores.md").read_text()


def policies() -> list[dict[str, Any]]:
    rights = TEXT.partition("\n### S3\n")[2].partition("\n### ")[0]
    return [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", rights, re.DOTALL | re.MULTILINE)
    ]


def resources(statements: list[dict[str, Any]]) -> set[str]:
    listed = [each["Resource"] for each in statements]
    return {name for each in listed for name in ([each] if isinstance(each, str) else each)}


def test_whatever_the_sidecars_role_may_put_it_may_only_put_if_it_is_not_there() -> None:
    allowed, denied = (each["Statement"] for each in policies())
    assert {each["Effect"] for each in allowed} == {"Allow"}
    put = ("records", "subjects", "statistics/plans", "statistics/panes", "statistics/labels")
    assert resources(allowed) == {f"arn:aws:s3:::BUCKET/FOLDER/{each}/*" for each in put}
    for each in denied:
        assert (each["Effect"], each["Action"]) == ("Deny", "s3:PutObject")
        assert each["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert resources(allowed) <= resources(denied)


def test_erasing_may_replace_key_objects() -> None:
    _, denied = (each["Statement"] for each in policies())
    for each in denied:
        if any("/subjects/" in name for name in resources([each])):
            assert each["Principal"] != "*"

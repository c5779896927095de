from __future__ import annotations

import pytest

from sidecar.archive.when import parse, readable

NOW_US = 1_795_475_700_123_456


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T23:15:00Z", 1_795_475_700_000_000),
        ("2026-11-23T23:15:00", 1_795_475_700_000_000),
        ("2026-11-24T00:15:00+01:00", 1_795_475_700_000_000),
        ("2026-11-23 23:15:00.000001", 1_795_475_700_000_001),
        ("2026-11-23", 1_795_392_000_000_000),
        ("1795475700", 1_795_475_700_000_000),
        ("1795475700.5", 1_795_475_700_500_000),
        ("2h", NOW_US - 7_200_000_000),
        ("1.5m", NOW_US - 90_000_000),
        ("0s", NOW_US),
        ("1w", NOW_US - 604_800_000_000),
    ],
)
def test_times_as_people_write_them(text: str, expected: int) -> None:
    assert parse(text, NOW_US) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2h ago", "-2h", "2026-13-01", "h", "9" * 400, "9" * 400 + "d"]
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        parse(text, NOW_US)


def test_a_time_is_shown_in_utc_with_milliseconds() -> None:
    assert readable(NOW_US) == "2026-11-23 23:15:00.123Z"
    assert readable(None) == "-"
    assert "µs" in readable(1 << 62)

"""`sidecar baseline create --by hour-of-week`: three weeks or a clear line; what it costs; which panes are taken."""

from __future__ import annotations

import csv
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.baselining import read_baseline
from sidecar.config import Settings, load
from sidecar.errors import ConfigError
from sidecar.hourly_baselines import SomePanes
from sidecar.monitoring import monitoring
from sidecar.records import Observation, Sample
from sidecar.statistics.hours import HOUR_US, HOURS, unpacked
from sidecar.statistics.monitor import Monitor
from tests.support.commands import sidecar

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
PER_HOUR = 60


def settings(**given: str) -> Settings:
    return load({"upstream": "http://model:1", "listen": "127.0.0.1:8080", "store": "s", **given}, {})


def table(path: Path, hours: int, columns: int = 1) -> Path:
    chance = random.Random(1)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["when", *(f"x{number}" for number in range(columns))])
        for number in range(hours * PER_HOUR):
            when = MONDAY + timedelta(minutes=number)
            swing = 2 * math.sin(2 * math.pi * when.hour / 24)
            rows.writerow([when.isoformat(), *(round(chance.gauss(swing, 1), 3) for _ in range(columns))])
    return path


def create(tmp_path: Path, file: Path, *arguments: str) -> tuple[int, str]:
    ran = sidecar(
        "baseline",
        "create",
        "--from",
        file,
        "--out",
        tmp_path / "made.json",
        "--by",
        "hour-of-week",
        *arguments,
    )
    return ran.code, ran.err


def test_three_weeks_make_a_baseline_by_hour(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", 3 * HOURS)
    assert create(tmp_path, file, "--time", "when") == (0, "")
    made = read_baseline(tmp_path / "made.json")
    assert made.by_hour
    (field,) = made.inputs
    counts = unpacked(field.hours)
    assert counts.sum(axis=0).tolist() == field.counts
    assert counts.sum(axis=1).tolist() == [3 * PER_HOUR] * HOURS
    middle = field.own_slots // 2
    assert counts[18, :middle].sum() > 3 * counts[6, :middle].sum()


@pytest.mark.parametrize(
    ("hours", "arguments", "words"),
    [
        (2 * HOURS, ("--time", "when"), "2 whole weeks are there, of 3 that it takes"),
        (HOURS, ("--time", "when"), "1 whole week is there"),
        (3 * HOURS, ("--drop", "when"), "the rows have no times: name their column with --time"),
        (3 * HOURS, ("--time", "when", "--pane", "7m"), "--pane must divide an hour"),
    ],
)
def test_what_cannot_be_by_hour_is_refused_in_one_line(
    tmp_path: Path, hours: int, arguments: tuple[str, ...], words: str
) -> None:
    code, said = create(tmp_path, table(tmp_path / "t.csv", hours), *arguments)
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "made.json").exists()


def test_more_fields_than_the_memory_allows_are_refused_with_their_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.hourly_baselines.MOST_BYTES", 3 << 10)
    code, said = create(tmp_path, table(tmp_path / "t.csv", 3 * HOURS, 3), "--time", "when")
    assert code == 2
    assert "its counts take" in said
    assert "3 are the most" in said


def test_hours_that_some_weeks_lack_are_counted_aloud(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", 3 * HOURS)
    lines = file.read_text().splitlines(keepends=True)
    del lines[1 + 50 * PER_HOUR : 1 + 52 * PER_HOUR]
    file.write_text("".join(lines))
    code, said = create(tmp_path, file, "--time", "when")
    assert (code, said) == (0, "sidecar: 2 of 168 hours of the week have traffic in fewer than 3 weeks\n")


def test_a_monitor_counts_and_tells_distances_against_the_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An hour of so small a baseline would be told as insufficient.
    monkeypatch.setattr("sidecar.statistics.summary.MAX_NOISE", 10.0)
    create(tmp_path, table(tmp_path / "t.csv", 3 * HOURS), "--time", "when")
    told = monitoring(settings(baseline_file=str(tmp_path / "made.json")))
    monitor = Monitor(told.settings, read_baseline(tmp_path / "made.json"))
    chance = random.Random(2)
    start = int(MONDAY.timestamp() * 1e6) + 3 * HOURS * HOUR_US + 6 * HOUR_US
    values = [round(chance.gauss(2, 1), 3) for _ in range(1_800)]
    monitor.add(
        [
            Sample(
                f"b.default.{n}",
                start + n * 1_000_000,
                200,
                0,
                1,
                Observation("test", 1, {"x0": [value]}, {}),
            )
            for n, value in enumerate(values)
        ]
    )
    said = monitor.summary()
    assert said["window"]["features"]["x0"]["psi"] < 0.5 < said["features"]["x0"]["psi"]
    assert Monitor.restore(monitor.state()).state() == monitor.state()


def test_panes_that_do_not_divide_an_hour_are_refused_with_such_a_baseline(tmp_path: Path) -> None:
    create(tmp_path, table(tmp_path / "t.csv", 3 * HOURS), "--time", "when")
    with pytest.raises(ConfigError, match="does not divide an hour"):
        monitoring(settings(baseline_file=str(tmp_path / "made.json"), pane="7m"))


def test_some_panes_are_whole_and_spread_over_all_of_the_span() -> None:
    some = SomePanes(500, 60_000_000)
    for number in range(20_000):
        some.add(Sample(f"b.r.{number}", number * 6_000_000, 200, 0, 1, Observation("t", 1, {"x": [1]}, {})))
    assert 100 <= len(some.samples) <= 500
    panes: dict[int, int] = {}
    for sample in some.samples:
        panes[sample.t_us // 60_000_000] = panes.get(sample.t_us // 60_000_000, 0) + 1
    assert set(panes.values()) == {10}
    assert min(panes) < 400
    assert max(panes) > 1_600

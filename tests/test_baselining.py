"""`sidecar baseline`: made of files and stores, shown, compared, and used by a monitor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from sidecar.baselining import baseline, read_baseline
from sidecar.cli import main
from sidecar.config import Address, RouteSettings, Settings
from sidecar.console.metrics import FAMILIES
from sidecar.console.snapshot import Snapshot
from sidecar.errors import ConfigError
from sidecar.late_monitor import LOOK_EVERY_US
from sidecar.monitoring import monitoring
from sidecar.pane_shipping import PaneSource
from sidecar.records import Observation, Sample
from sidecar.statistics.monitor import Monitor
from tests.support.commands import sidecar
from tests.support.journaled import EPOCH, exchange
from tests.test_guarding import Rig


def run(*arguments: str | Path) -> str:
    found = CliRunner().invoke(baseline, [*map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def rows(count: int, shift: float = 0.0) -> list[dict[str, Any]]:
    source = np.random.default_rng(1)
    return [
        {
            "x": float(source.normal(shift)),
            "word": str(source.choice(["a", "b"])),
            "y": int(source.integers(2)),
        }
        for _ in range(count)
    ]


def written_csv(path: Path, table: list[dict[str, Any]]) -> Path:
    lines = ["x,word,y", *(f"{row['x']!r},{row['word']},{row['y']}" for row in table)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_csv_file_and_a_parquet_file_of_the_same_rows_give_the_same_fields(tmp_path: Path) -> None:
    table = rows(500)
    run(
        "create",
        "--from",
        written_csv(tmp_path / "t.csv", table),
        "--outputs",
        "y",
        "--out",
        tmp_path / "c.json",
    )
    duckdb = pytest.importorskip("duckdb")
    duckdb.sql(f"copy (select * from '{tmp_path}/t.csv') to '{tmp_path}/t.parquet' (format parquet)")
    run("create", "--from", tmp_path / "t.parquet", "--outputs", "y", "--out", tmp_path / "p.json")
    first, second = (read_baseline(tmp_path / name) for name in ("c.json", "p.json"))
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    assert [field.name for field in first.outputs] == ["y"]
    assert first.inputs[0].mean == pytest.approx(np.mean([row["x"] for row in table]))


def test_a_span_of_a_store_gives_what_its_exchanges_were(tmp_path: Path) -> None:
    table = rows(300)
    made = [
        exchange(number, orjson.dumps({"x": row["x"], "word": row["word"]}), orjson.dumps({"y": row["y"]}))
        for number, row in enumerate(table, 1)
    ]
    Rig(tmp_path).run(made)
    said = json.loads(
        run(
            "create",
            "--store",
            tmp_path / "store",
            "--model",
            EPOCH.model,
            "--out",
            tmp_path / "b.json",
            "--json",
        )
    )
    found = read_baseline(tmp_path / "b.json")
    assert (said["digest"], said["rows"]) == (found.digest, 300)
    assert {field.name: sum(field.counts) for field in found.inputs} == {"x": 300, "word": 300}
    words = dict(zip(found.inputs[1].labels(), found.inputs[1].counts, strict=False))
    assert words == {word: sum(row["word"] == word for row in table) for word in "ab"}
    assert found.exchange[0].name == "result"
    assert found.t_from_us > 0


def test_show_and_diff_say_what_is_there_and_what_moved(tmp_path: Path) -> None:
    for name, shift in (("one", 0.0), ("two", 2.0)):
        source = written_csv(tmp_path / f"{name}.csv", rows(1000, shift))
        run("create", "--from", source, "--outputs", "y", "--out", tmp_path / f"{name}.json")
    assert "inputs.x" in run("show", tmp_path / "one.json")
    assert json.loads(run("show", tmp_path / "one.json", "--json"))["rows"] == 1000
    report = json.loads(run("diff", tmp_path / "one.json", tmp_path / "two.json", "--json"))
    assert report["fields"]["inputs.x"]["psi"] > 1.0
    assert report["fields"]["inputs.word"]["psi"] == 0.0
    assert run("diff", tmp_path / "one.json", tmp_path / "two.json").startswith("inputs.x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--out", "b.json"], "give either --from FILE, or --store"),
        (["create", "--from", "nowhere.csv", "--out", "b.json"], "nowhere.csv: No such file"),
        (["show", "nowhere.json"], "nowhere.json: No such file"),
        (
            ["create", "--from", "t.csv", "--outputs", "z", "--out", "b.json"],
            "no column 'z': it has x, word, y",
        ),
        (["create", "--from", "odd.csv", "--out", "b.json"], "line 2 has 2 values for 3 columns"),
        (["show", "t.csv"], "is no baseline"),
        (["show", "deep.json"], "is no baseline"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIDECAR_STORE", raising=False)
    written_csv(tmp_path / "t.csv", rows(5))
    (tmp_path / "odd.csv").write_text("a,b,c\n1,2\n")
    (tmp_path / "deep.json").write_text('{"a":' * 50_000)
    with pytest.raises(SystemExit) as ended:
        main(["baseline", *arguments])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in said
    assert len(said.splitlines()) == 1


def settings(**told: Any) -> Settings:
    routes = (RouteSettings("default", Address("127.0.0.1", 1), Address("127.0.0.1", 2)),)
    return Settings(routes=routes, store="s", **told)


def test_a_monitor_watches_from_the_first_exchange_with_a_given_baseline(tmp_path: Path) -> None:
    run(
        "create",
        "--from",
        written_csv(tmp_path / "t.csv", rows(400)),
        "--outputs",
        "y",
        "--out",
        tmp_path / "b.json",
    )
    told = monitoring(settings(baseline_file=str(tmp_path / "b.json")))
    monitor = told.begin(("default", ""))
    assert isinstance(monitor, Monitor)
    assert monitor.summary()["state"] == "watching"
    assert monitor.summary()["baseline"]["digest"] == read_baseline(tmp_path / "b.json").digest


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        ("feature: []", "unknown key 'feature': takes decision"),
        ("bands: [{name: a, shar: decision}]", "unknown key 'shar'"),
        ("false_alarms: often", "false_alarms: 'often' is no budget"),
        ("decision: outputs.y >", "decision: rule"),
        ("a: [", "is no YAML in line"),
        ("a: " + 20_000 * "[", "nested too deep"),
        ("false_alarms: 1 per " + 400 * "9" + "w", "1,000 years"),
    ],
)
def test_a_watch_file_that_is_wrong_is_one_line(tmp_path: Path, watch: str, words: str) -> None:
    (tmp_path / "watch.yaml").write_text(watch)
    with pytest.raises(ConfigError) as raised:
        monitoring(settings(watch_file=str(tmp_path / "watch.yaml")))
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_numbers_that_are_moments_can_be_said_to_be(tmp_path: Path) -> None:
    training = tmp_path / "training.csv"
    training.write_text(
        "seen,score\n" + "".join(f"{10**12 + number},{number % 7}\n" for number in range(200))
    )
    made = tmp_path / "baseline.json"
    ran = sidecar("baseline", "create", "--from", training, "--epoch", "inputs.seen=ms", "--out", made)
    assert ran.code == 0, ran.err
    (field,) = (each for each in read_baseline(made).inputs if each.name == "seen")
    assert (field.kind, field.epoch) == ("timestamp", "ms")
    for wrong in ("seen=ms", "inputs.seen=weeks", "inputs.nothing=ms"):
        ran = sidecar("baseline", "create", "--from", training, "--epoch", wrong, "--out", made)
        assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err
        assert "--epoch" in ran.err


ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Baselines of one digest and of one route."""
    found = tmp_path / "baselines"
    found.mkdir()
    for name, shift in ((ONE.replace(":", "-"), 0.0), ("pricing", 5.0)):
        table = written_csv(tmp_path / f"{name}.csv", rows(300, shift))
        run("create", "--from", table, "--outputs", "y", "--out", found / f"{name}.json")
    return found


def samples(count: int, at_us: int = 10**15) -> list[Sample]:
    table = rows(count)
    return [
        Sample(f"b.r.{n}", at_us + n, 200, 0, 9, Observation("t", 1, {"x": [each["x"]]}, {"y": [each["y"]]}))
        for n, each in enumerate(table)
    ]


def test_each_digest_or_else_route_has_its_own_baseline(folder: Path) -> None:
    told = monitoring(settings(baseline_file=str(folder)))
    means = {}
    for key in (("default", ONE), ("pricing", OTHER), ("pricing", ""), ("pricing", ONE)):
        found = told.begin(key).baseline
        means[key] = round(next(each.mean for each in found.inputs if each.name == "x"))
    assert means == {("default", ONE): 0, ("pricing", OTHER): 5, ("pricing", ""): 5, ("pricing", ONE): 0}


def test_a_digest_without_a_file_is_not_watched_until_there_is_one(folder: Path) -> None:
    told = monitoring(settings(baseline_file=str(folder)))
    key = ("default", OTHER)
    monitor = told.begin(key)
    monitor.add(samples(30))
    said = monitor.summary()
    assert (said["state"], said["passed_exchanges"], said["exchanges"]) == ("no_baseline", 30, 0)
    assert f"sha256-{'2' * 64}.json or default.json is not in {folder}" in said["trouble"]
    again = told.restore(key, monitor.state())
    assert again.summary()["passed_exchanges"] == 30, "over a restart"
    (folder / "default.json").write_bytes((folder / "pricing.json").read_bytes())
    again.advance(10**15 + LOOK_EVERY_US)
    again.add(samples(20))
    now = again.summary()
    assert (now["state"], now["exchanges"]) == ("watching", 20)
    assert now["baseline"]["digest"] == read_baseline(folder / "pricing.json").digest
    kept = told.restore(key, again.state())
    assert kept.summary()["exchanges"] == 20
    assert isinstance(kept, Monitor)


def test_the_first_exchanges_make_no_baseline_where_there_is_a_folder(folder: Path) -> None:
    monitor = monitoring(settings(baseline_file=str(folder), baseline_exchanges=5)).begin(("default", OTHER))
    monitor.add(samples(50))
    assert monitor.baseline is None


def test_a_file_that_is_wrong_when_it_comes_is_said_and_looked_at_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = monitoring(settings(baseline_file=str(folder))).begin(("default", OTHER))
    (folder / "default.json").write_text("{")
    monitor.advance(2 * LOOK_EVERY_US)
    assert "is no baseline" in monitor.summary()["trouble"]
    assert [each.levelname for each in caplog.records if "is no baseline" in each.message] == ["ERROR"]
    (folder / "default.json").write_bytes((folder / "pricing.json").read_bytes())
    monitor.advance(4 * LOOK_EVERY_US)
    assert monitor.baseline is not None


def test_a_folder_with_a_wrong_file_is_refused_at_the_start(folder: Path, tmp_path: Path) -> None:
    (folder / "..data").mkdir()
    (folder / "notes.txt").write_text("no baseline, and not looked at")
    monitoring(settings(baseline_file=str(folder)))
    (tmp_path / "watch.yaml").write_text("means: [{of: inputs.nothing, tolerance: 1}]")
    with pytest.raises(ConfigError, match=r"baseline_file: .*\.json: watch_file: means"):
        monitoring(settings(baseline_file=str(folder), watch_file=str(tmp_path / "watch.yaml")))
    (folder / "x.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"baseline_file: .*x\.json: is no baseline"):
        monitoring(settings(baseline_file=str(folder)))


def test_a_model_without_a_baseline_is_in_the_metrics_and_ships_no_panes(folder: Path) -> None:
    monitor = monitoring(settings(baseline_file=str(folder))).begin(("default", OTHER))
    assert isinstance(monitor, PaneSource)
    assert (monitor.plan, monitor.take_closed(10**15), list(monitor.alarms())) == (None, [], [])
    (family,) = (each for each in FAMILIES if each.name == "sidecar_baseline_missing")
    key = ("default", OTHER)

    class Seen:
        def summaries(self) -> Any:
            return [(key, monitor.summary()), (("pricing", ONE), {"state": "watching"})]

    assert family.samples(Seen(), Snapshot()) == [(key, 1), (("pricing", ONE), 0)]  # type: ignore[arg-type]


def test_a_file_that_is_damaged_later_stops_no_running_monitor(folder: Path) -> None:
    told = monitoring(settings(baseline_file=str(folder)))
    key = ("pricing", OTHER)
    monitor = told.begin(key)
    monitor.add(samples(20))
    (folder / "pricing.json").write_text("{")
    again = told.restore(key, monitor.state())
    assert (again.summary()["state"], again.summary()["exchanges"]) == ("watching", 20)

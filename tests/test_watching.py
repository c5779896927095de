"""`sidecar watch`, `drift`, `alarms` and `alert test` over panes that real monitors counted."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.alerting.courier import Courier
from sidecar.alerting.outbox import Rate
from sidecar.alerting.target import parse_target
from sidecar.clock import ManualClock, SystemClock
from sidecar.console.metrics import FAMILIES
from sidecar.fleet.naming import parse
from sidecar.objects import Store, open_store
from sidecar.series_run import SeriesRun
from sidecar.watch_metrics import exposition
from sidecar.watcher import Watcher
from tests.support.commands import sidecar
from tests.support.fleet import DIGEST, MINUTE_US, T0_US, Pod, baseline, traffic
from tests.support.receiver import Receiver

SINCE = ("--since", "2026-09-01")
SHIFT_AT = 60
MINUTES = 100


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pods, one baseline, income half a deviation higher from minute 60."""
    root = tmp_path_factory.mktemp("fleet") / "store"
    root.mkdir()
    store, under = open_store(str(root)), baseline()
    pods = [Pod(f"pod-{number}", under, store) for number in range(3)]
    traffic(pods, MINUTES, lambda minute: 0.5 if minute >= SHIFT_AT else 0.0)
    return root


@pytest.fixture
def store(shifted: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    shutil.copytree(shifted, tmp_path / "store")
    return tmp_path / "store"


def watcher(store: Store, clock: ManualClock, **changed: object) -> Watcher:
    given = {"name": "watch", "instance": "one", "since_us": T0_US, "wait_us": 10 * MINUTE_US}
    return Watcher(store, clock, None, **{**given, **changed})  # type: ignore[arg-type]


def scraped(made: Watcher) -> str:
    sender = Courier([parse_target("webhook+http://h/secret")], Rate(1, 1.0), SystemClock())
    return exposition(made, sender).decode()


def outline(made: Watcher) -> list[tuple[str, str, str, int, int]]:
    return [
        (alarm.id, alarm.quantity, alarm.state, alarm.since_us, alarm.opened_us) for _, alarm in made.alarms()
    ]


def test_the_one_alarm_that_should_be_raised_is_raised(store: Path) -> None:
    ran = sidecar("watch", "--store", store, "--once", *SINCE)
    assert ran.code == 0, ran.err
    (line,) = sidecar("alarms", "--store", store, "--json").out.splitlines()
    found = json.loads(line)
    alarm = found["alarm"]
    assert (found["model"], found["digest"], alarm["quantity"]) == ("mortgage", DIGEST, "inputs.income")
    assert alarm["advisory"] is False
    assert abs(alarm["since_us"] - (T0_US + SHIFT_AT * MINUTE_US)) <= 5 * MINUTE_US
    assert 0 < alarm["opened_us"] - (T0_US + SHIFT_AT * MINUTE_US) <= 15 * MINUTE_US
    assert alarm["before"]["words"] == "mean 50.1"


def test_nothing_is_raised_where_nothing_moved(tmp_path: Path) -> None:
    root = tmp_path / "still"
    root.mkdir()
    pods = [Pod(f"pod-{number}", baseline(), open_store(str(root))) for number in range(2)]
    traffic(pods, MINUTES)
    assert sidecar("watch", "--store", root, "--once", *SINCE).code == 0
    assert sidecar("alarms", "--store", root, "--json", "--all").out == ""


def test_the_sum_over_pods_is_what_one_process_would_have_counted(tmp_path: Path) -> None:
    """The same rows through three pods and through one: the fleet's panes are equal, count by count."""
    sums = {}
    for count in (1, 3):
        root = tmp_path / str(count)
        root.mkdir()
        pods = [Pod(f"pod-{number}", baseline(), open_store(str(root))) for number in range(count)]
        chance = random.Random(5)
        for minute in range(12):
            rows = [
                (round(chance.gauss(50, 10), 2), chance.choice("abc"), chance.random()) for _ in range(60)
            ]
            for index, pod in enumerate(pods):
                pod.minute(minute, rows[index::count])
        for pod in pods:
            pod.ship(final=True)
        seen: dict[int, list[int]] = {}

        def noting(
            run: SeriesRun, pane: object, seen: dict[int, list[int]] = seen, keep: object = SeriesRun.step
        ) -> object:
            counts = run.vector(pane)  # type: ignore[arg-type]
            assert counts is not None
            seen[pane.start_us] = counts.tolist()  # type: ignore[attr-defined]
            return keep(run, pane)  # type: ignore[operator]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SeriesRun, "step", noting)
            watcher(open_store(str(root)), ManualClock(T0_US + 60 * MINUTE_US)).look()
        sums[count] = seen
    assert len(sums[1]) == 12
    assert sums[1] == sums[3]


def test_a_watcher_that_is_restarted_at_every_look_ends_where_one_that_lives_does(
    store: Path, tmp_path: Path
) -> None:
    """Files arrive as they were shipped; after each look the process dies."""
    once = tmp_path / "once"
    shutil.copytree(store, once)
    lived = watcher(open_store(str(once)), ManualClock(T0_US + 200 * MINUTE_US))
    lived.look()
    arriving = tmp_path / "arriving"
    shutil.copytree(store / "statistics" / "plans", arriving / "statistics" / "plans")
    files = [(parse(str(path.relative_to(store))), path) for path in store.rglob("*.parquet")]
    files.sort(key=lambda pair: pair[0].order if pair[0] else ("", "", 0))
    clock = ManualClock(T0_US)
    died = None
    for name, path in files:
        assert name is not None
        target = arriving / name.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        clock.advance(100)
        died = watcher(open_store(str(arriving)), clock)
        died.look()
    assert died is not None
    assert outline(died) == outline(lived)
    (run,) = died.runs.values()
    (other,) = lived.runs.values()
    assert run.assembly.tallied.on_time == other.assembly.tallied.on_time == MINUTES * 120
    assert run.assembly.tallied.overdue == 0


def test_a_kill_before_the_state_is_kept_changes_nothing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_store(str(store))
    clock = ManualClock(T0_US + 200 * MINUTE_US)
    killed = watcher(opened, clock)
    monkeypatch.setattr(killed, "_save", lambda: None)
    killed.look()
    again = watcher(opened, clock)
    again.look()
    assert outline(again) == outline(killed)
    assert len(list(store.rglob("statistics/alarms/**/*.json"))) == 1


def test_the_state_may_be_kept_in_a_folder(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    for _ in range(2):
        ran = sidecar("watch", "--store", store, "--once", "--state", folder, *SINCE)
        assert ran.code == 0, ran.err
    assert (folder / "watch.state").exists()
    assert not (store / "statistics" / "watch").exists()
    assert len(sidecar("alarms", "--store", store).out.splitlines()) >= 2


def test_two_watchers_raise_one_alarm_and_tell_it_once(store: Path) -> None:
    with Receiver() as receiver:
        for name in ("east", "west"):
            ran = sidecar("watch", "--store", store, "--once", "--name", name, *SINCE,
                          "--alert-url", f"webhook+{receiver.url}")  # fmt: skip
            assert ran.code == 0, ran.err
        told = [json.loads(each.body) for each in receiver.received]
    assert [(each["state"], each["quantity"]) for each in told] == [("open", "inputs.income")]
    assert len(sidecar("alarms", "--store", store, "--json").out.splitlines()) == 1


def test_an_alert_that_nobody_took_is_told_by_the_next_run(
    store: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.watching.DRAIN_S", 1.0)
    dead = sidecar("watch", "--store", store, "--once", *SINCE, "--alert-url", "webhook+http://127.0.0.1:9/x")
    assert dead.code == 0
    assert "not every alert was taken" in capfd.readouterr().err
    # The claim of the process that died lapses after two minutes; nobody waits for that here.
    for path in store.rglob("*.told.json"):
        claim = json.loads(path.read_text())
        assert claim["done"] is False
        path.write_text(json.dumps({**claim, "at_us": claim["at_us"] - 10 * MINUTE_US}))
    with Receiver() as receiver:
        url = f"webhook+{receiver.url}"
        assert sidecar("watch", "--store", store, "--once", "--alert-url", url).code == 0
        assert len(receiver.received) == 1
        assert sidecar("watch", "--store", store, "--once", "--alert-url", url).code == 0
        assert len(receiver.received) == 1


def test_an_acknowledged_alarm_stays_quiet_and_says_who_knows(store: Path) -> None:
    sidecar("watch", "--store", store, "--once", *SINCE)
    (line,) = sidecar("alarms", "--store", store, "--json").out.splitlines()
    name = json.loads(line)["alarm"]["id"]
    done = sidecar("alarms", "--store", store, "--ack", name, "--by", "anna", "--reason", "a campaign")
    assert done.code == 0, done.err
    assert sidecar("watch", "--store", store, "--once").code == 0
    (line,) = sidecar("alarms", "--store", store, "--json").out.splitlines()
    found = json.loads(line)
    assert (found["alarm"]["state"], found["acknowledged"]["by"]) == ("acknowledged", "anna")
    twice = sidecar("alarms", "--store", store, "--ack", name, "--by", "ben")
    assert (twice.code, "anna" in twice.err, len(twice.err.splitlines())) == (1, True, 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--ack", "ffff", "--by", "a"), 1), (("--ack", "ffff"), 2), (("--by", "a"), 2)],
)
def test_mistakes_of_acknowledging_are_one_line(store: Path, arguments: tuple[str, ...], code: int) -> None:
    ran = sidecar("alarms", "--store", store, *arguments)
    assert (ran.code, len(ran.err.splitlines())) == (code, 1)


def test_find_drifted_reads_the_spans(store: Path) -> None:
    from sidecar.archive.drift import drifted_spans
    from sidecar.lookup import open_source

    sidecar("watch", "--store", store, "--once", *SINCE)
    (span,) = drifted_spans(open_source(str(store)))
    assert (span.model, span.digest) == ("mortgage", DIGEST)
    assert abs(span.from_us - (T0_US + SHIFT_AT * MINUTE_US)) <= 5 * MINUTE_US
    assert span.to_us == T0_US + MINUTES * MINUTE_US
    assert sidecar("find", "--store", store, "--drifted").code == 0


def test_drift_says_what_moved_and_checks(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    ran = sidecar("drift", "--store", store, "--model", "mortgage", "--by", "pod", "--json", "--html", page)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    (series,) = told["series"]
    by_name = {each["quantity"]: each for each in series["quantities"]}
    assert told["drifted"]
    assert series["exchanges"] == MINUTES * 120
    assert [name for name, each in by_name.items() if each["alarm"]] == ["inputs.income"]
    assert by_name["inputs.income"]["effect"]["psi"] > 3 * by_name["outputs.score"]["effect"]["psi"]
    assert set(series["sources"]) == {"pod-0", "pod-1", "pod-2"}
    assert sidecar("drift", "--store", store, "--check").code == 1
    before = ("--until", "2026-09-21T15:10:00Z")
    assert sidecar("drift", "--store", store, "--check", *before).code == 0
    text = page.read_text()
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert text.count("<svg role=") == 2 * len(by_name)
    assert text.count("aria-label=") == 2 * len(by_name)


def test_what_the_model_answers_comes_before_what_it_was_asked(tmp_path: Path) -> None:
    """Incomes move further and first, scores later: on the page, in the text and in the JSON alike."""
    root = tmp_path / "both"
    root.mkdir()
    pod, chance = Pod("pod-0", baseline(), open_store(str(root))), random.Random(8)
    for minute in range(60):
        moved = 30 if minute >= 20 else 0
        scores = 0.4 if minute >= 25 else 0.0
        pod.minute(
            minute,
            [
                (
                    round(chance.gauss(50 + moved, 10), 2),
                    "north" if n % 2 else "south",
                    chance.random() ** (1 - scores),
                )
                for n in range(60)
            ],
        )
    pod.ship(final=True)
    page = tmp_path / "drift.html"
    ran = sidecar("drift", "--store", root, "--json", "--html", page)
    (series,) = json.loads(ran.out)["series"]
    found = [(each["severity"], each["quantity"]) for each in series["alarms"]]
    assert [name for severity, name in found if severity == "critical"][:2] == [
        "outputs.score",
        "inputs.income",
    ]
    ids = [each["id"] for each in series["alarms"]]
    text, html = sidecar("drift", "--store", root).out, page.read_text()
    for shown in (text, html):
        places = [shown.index(each) for each in ids]
        assert places == sorted(places)
    assert html.index("<h3><span>outputs.score<") < html.index("<h3><span>inputs.income<")


def test_a_span_counts_the_panes_that_begin_in_it(store: Path) -> None:
    since, until = T0_US + 10 * MINUTE_US, T0_US + 25 * MINUTE_US
    ran = sidecar(
        "drift", "--store", store, "--json", "--since", str(since / 1e6), "--until", str(until / 1e6)
    )
    (series,) = json.loads(ran.out)["series"]
    assert (series["panes"], series["exchanges"]) == (15, 15 * 120)
    assert (series["first_us"], series["last_us"]) == (since, until)


def test_different_plans_are_kept_apart_and_said(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    opened = open_store(str(root))
    traffic([Pod("a", baseline(0), opened), Pod("b", baseline(1), opened)], 12)
    ran = sidecar("drift", "--store", root)
    assert ran.code == 0, ran.err
    assert len([line for line in ran.out.splitlines() if line.startswith("mortgage")]) == 2
    assert "do not add" in ran.err


def test_a_damaged_file_is_named_and_the_rest_goes_on(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = next(iter(sorted(store.rglob("*.parquet"))))
    damaged.write_bytes(damaged.read_bytes()[:100])
    ran = sidecar("drift", "--store", store, "--json")
    assert ran.code == 1
    assert damaged.name in ran.err
    assert json.loads(ran.out)["series"][0]["panes"] == MINUTES
    watched = sidecar("watch", "--store", store, "--once", *SINCE)
    assert watched.code == 0
    assert damaged.name in capfd.readouterr().err


def test_a_store_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    for command in (("drift",), ("watch", "--once"), ("alarms",)):
        ran = sidecar(*command, "--store", tmp_path / "nowhere")
        assert (ran.code, len(ran.err.splitlines())) == (1, 1), (command, ran.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ("alert", "test"),
        ("alert", "test", "--alert-url", "http://h"),
        ("alert", "test", "--alert-url", "webhook+http://h", "--alert-rate", "often"),
        ("alert", "test", "--alert-url", "webhook+http://h", "--alert-secret-file", "/nowhere/secret"),
        ("watch", "--store", ".", "--once", "--interval", "0"),
        ("watch", "--store", ".", "--once", "--name", "a/b"),
    ],
)
def test_usage_mistakes_are_one_line(arguments: tuple[str, ...]) -> None:
    ran = sidecar(*arguments)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def test_alert_test_says_what_came_back(receiver: Receiver) -> None:
    ran = sidecar(
        "alert",
        "test",
        "--alert-url",
        f"webhook+{receiver.url}",
        "--alert-url",
        f"cloudevents+{receiver.url}",
    )
    assert ran.code == 0, ran.err
    assert ran.out.count("taken, 202") == 2
    receiver.otherwise = 500
    failed = sidecar("alert", "test", "--alert-url", f"webhook+{receiver.url}")
    assert (failed.code, "answered 500" in failed.out) == (1, True)
    gone = sidecar("alert", "test", "--alert-url", "webhook+http://127.0.0.1:9/x", "--json")
    assert (gone.code, json.loads(gone.out)["taken"]) == (1, False)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_the_rules_are_rules() -> None:
    rules = Path(__file__).parents[1] / "k8s" / "prometheus-rules.yaml"
    ran = subprocess.run(
        ["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_metrics_of_the_rules_exist(store: Path) -> None:
    made = watcher(open_store(str(store)), ManualClock(T0_US + 200 * MINUTE_US))
    made.look()
    text = scraped(made)
    known = set(re.findall(r"^(sidecar_\w+)", text, re.M)) | {family.name for family in FAMILIES}
    rules = (Path(__file__).parents[1] / "k8s" / "prometheus-rules.yaml").read_text()
    used = {
        name
        for expr in re.findall(r"expr: (.*)", rules)
        for name in re.findall(r"sidecar_(?:watch|alerts)_\w+", expr)
    }
    assert used
    assert used <= known, used - known
    assert "secret" not in text
    if shutil.which("promtool"):
        ran = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_file_that_is_stored_twice_is_counted_once_and_said(store: Path) -> None:
    path = next(iter(sorted(store.rglob("statistics/panes/**/*.parquet"))))
    stamp, _, rest = path.name.partition("-")
    path.with_name(f"{int(stamp[:8]):08d}{stamp[8:15]}999-{rest}").write_bytes(path.read_bytes())
    made = watcher(open_store(str(store)), ManualClock(T0_US + 200 * MINUTE_US))
    made.look()
    (run,) = made.runs.values()
    assert run.assembly.tallied.on_time == MINUTES * 120
    assert "sidecar_watch_repeated_files_total 1.0" in scraped(made)

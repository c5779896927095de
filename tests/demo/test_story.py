"""What the demo says: lines, panels, promises, commands, errors."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from docs.demo.acceptance import Ending, promises
from docs.demo.latency import Latency, Pairs
from docs.demo.performance import Report
from docs.demo.readings import Alarmed, Move, Reading, Share
from docs.demo.scene import Look, Scene, plain_line
from docs.demo.screen import Screen, bar
from docs.demo.serving import next_folder
from docs.demo.setup_steps import diagnosis, server_for
from docs.demo.story import _duration, look_at

CALM = Reading(
    boot="20261123T231500-9f3c2a71b0",
    exchanges=1200,
    journaled=1200,
    shipped=1150,
    shed=0,
    waiting=50,
    unread=0,
    store_error="",
    decode_errors=0,
    watching=True,
    baseline_exchanges=1000,
    baseline_wanted=1000,
    watched=200,
    recent=200,
    shares=(Share("approved", 0.88, 0.87), Share("denied", 0.12, 0.13)),
    moves=(Move("ccs", "consumer credit score", 0.05, "mean 2.1 → 2.2", 0.1),),
)
SHIFTED = replace(
    CALM,
    shares=(Share("approved", 0.88, 0.45), Share("denied", 0.12, 0.55)),
    moves=(
        Move("lvr", "loan / value", 1.4, "mean 0.737 → 0.853", 1.0),
        Move("uria", "unemployment in trade", None, "mean 3.77 → 3.8", 0.1),
    ),
    alarms=(
        Alarmed("exchange.latency_ms", "latency moved up"),
        Alarmed("inputs.lvr", "lvr moved up: mean 0.737 → 0.853"),
        Alarmed("outputs.predict", "predict moved up: denied 12 % → 55 %"),
    ),
)
LATENCY = Latency(600, 8.1, 12.0, 8.3, 12.5)
RECORD = "20261123T231500-9f3c2a71b0.default.1150"
LOOK = Look(
    ".demo/run-12/records",
    ".venv/bin/sidecar find --store .demo/run-12/records --limit 5",
    f".venv/bin/sidecar show {RECORD}",
    "--store .demo/run-12/records",
)
SCENE = Scene(61.0, 120.0, 60.0, 60.5, SHIFTED, 49.8, LATENCY, "", LOOK, "mlserver 1.7.1")
GOOD = Ending(Report(1200, 0, "", LATENCY), CALM, SHIFTED, 0, 1200, True, True)


def drawn(scene: Scene, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, height=60, force_terminal=False).print(Screen(scene))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_panels_fit_the_width_and_show_everything(width: int) -> None:
    lines = drawn(SCENE, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    shown = (
        "49.8",
        "1,200",
        "1,150",
        "+0.20",
        "+0.50",
        "55.0%",
        "12.0%",
        "outside 10–20 %",
        "lvr",
        "1.40",
        "too few",
    )
    for wanted in shown:
        assert wanted in text
    assert "…" not in text


def test_the_panels_fit_a_terminal_of_24_lines() -> None:
    assert len(drawn(SCENE, 80)) <= 24


def test_commands_stand_on_lines_of_their_own_so_that_they_can_be_copied() -> None:
    lines = drawn(SCENE, 80)
    assert lines[-3:] == [LOOK.find, f"{LOOK.show} \\", f"    {LOOK.store_option}"]


def test_the_panels_keep_their_height_from_the_first_moment_on() -> None:
    nothing = replace(CALM, watching=False, baseline_exchanges=7, recent=0, shares=(), moves=())
    early = replace(SCENE, reading=nothing, latency=None, shifted_at_s=None)
    assert len(drawn(early, 80)) == len(drawn(SCENE, 80))
    assert "learning the baseline: 7 of 1,000" in "\n".join(drawn(early, 80))


def test_panels_side_by_side_end_together() -> None:
    nothing = replace(SCENE, reading=replace(CALM, watching=False, shares=(), moves=()))
    for scene in (SCENE, nothing):
        assert drawn(scene, 140)[-5].count("╯") == 2


def test_few_exchanges_are_not_called_an_outlier() -> None:
    few = replace(SCENE, reading=replace(SHIFTED, recent=8))
    assert "outside" not in "\n".join(drawn(few, 80))
    assert "(!)" not in plain_line(few)


def test_the_plain_line_has_the_same_numbers() -> None:
    line = plain_line(SCENE)
    for wanted in (
        "01:01",
        "49.8 exchanges/s",
        "p50 +0.20 ms",
        "p99 +0.50 ms",
        "journaled 1,200",
        "shipped 1,150",
    ):
        assert wanted in line
    assert "denied 12.0% -> 55.0% (!)" in line
    assert "lvr 1.40" in line


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.0, "    "), (0.5, "██  "), (1.0, "████"), (2.0, "████"), (0.125, "▌   ")]
)
def test_a_bar_is_as_wide_as_asked(share: float, wanted: str) -> None:
    assert bar(share, 4) == wanted


def test_added_latency_is_the_difference_of_quantiles() -> None:
    pairs = Pairs()
    assert pairs.latency() is None
    for number in range(100):
        pairs.add(number / 1e3, (number + 2) / 1e3)
    latency = pairs.latency()
    assert latency is not None
    assert latency.pairs == 100
    assert latency.added_p50_ms == pytest.approx(2)
    assert latency.added_p99_ms == pytest.approx(2)


def test_all_promises_are_kept_when_all_went_well() -> None:
    assert all(promise.kept for promise in promises(GOOD, watched=True))


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"report": Report(1200, 3, "status 500", LATENCY)}, "3 failed, the last with: status 500"),
        ({"report": Report()}, "0 applications"),
        ({"stored": 1199}, "1,199 records in the store"),
        ({"shown": False}, "show"),
        ({"verified": False}, "verify"),
        ({"exit_code": 1}, "exit code 1"),
        ({"report": Report(1200, 0, "", None)}, "added latency"),
        ({"before_shift": None}, "before the shift"),
        ({"before_shift": replace(CALM, shares=())}, "before the shift"),
        ({"at_end": CALM}, "outside"),
        ({"at_end": replace(SHIFTED, moves=())}, "drifted (PSI): none"),
        ({"at_end": None}, "outside"),
        ({"at_end": replace(SHIFTED, alarms=())}, "alarms after it: 0"),
        ({"at_end": replace(SHIFTED, alarms=SHIFTED.alarms[:2])}, "alarms after it: 1"),
        ({"before_shift": replace(CALM, alarms=SHIFTED.alarms)}, "alarms before the shift: lvr moved up"),
    ],
)
def test_a_broken_promise_is_named(changes: dict[str, object], broken: str) -> None:
    made = promises(replace(GOOD, **changes), watched=True)  # type: ignore[arg-type]
    assert any(broken in promise.text for promise in made if not promise.kept)


def test_after_ctrl_c_only_recording_is_promised() -> None:
    early = replace(GOOD, before_shift=None, at_end=None)
    assert all(promise.kept for promise in promises(early, watched=False))


def test_commands_are_relative_to_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    look = look_at(tmp_path / ".demo" / "run-1" / "records", "b.default.1")
    assert look.store == ".demo/run-1/records"
    assert look.lines()[0].endswith("find --store .demo/run-1/records --limit 5")
    assert look_at(Path("/elsewhere/records"), "").store == "/elsewhere/records"


def test_without_a_record_there_is_nothing_to_show_yet(tmp_path: Path) -> None:
    assert len(look_at(tmp_path / "records", "").lines()) == 1


def test_each_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "run-9").mkdir()
    (tmp_path / "run-old").mkdir()
    assert [next_folder(tmp_path).name for _ in range(2)] == ["run-10", "run-11"]


@pytest.mark.parametrize(("text", "wanted"), [("", None), (" ", None), ("60", 60.0), ("60s", 60.0)])
def test_an_empty_duration_is_the_endless_form(text: str, wanted: float | None) -> None:
    assert _duration(["--duration", text]) == wanted
    assert _duration([]) is None


@pytest.mark.parametrize("text", ["5", "-1", "soon", "1.5"])
def test_a_wrong_duration_is_one_line_and_exit_2(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        _duration([f"--duration={text}"])
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("x\nOSError: [Errno 28] No space left on device\n", "the disk is full"),
        ("WARNING: Retrying (… NewConnectionError …)\nERROR: No matching distribution", "cannot be reached"),
        (
            "The virtual environment was not created because ensurepip is not available.",
            "install python3-venv",
        ),
        ("line\nERROR: Cannot install a and b\nmore", "exit code 1: ERROR: Cannot install a and b"),
        ("", "it said nothing"),
    ],
)
def test_a_failed_step_is_one_line_with_the_reason(output: str, wanted: str) -> None:
    line = diagnosis("pip", 1, output, Path("setup.log"))
    assert wanted in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("python", "server"),
    [((3, 11), "mlserver"), ((3, 12), "mlserver"), ((3, 13), "mlflow"), ((3, 14), "mlflow")],
)
def test_the_model_server_is_one_that_this_python_can_have(python: tuple[int, int], server: str) -> None:
    assert server_for(python) == server

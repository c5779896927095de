"""The supervisor with fake children: they are started by the same exec, get the same handover and signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.boot import boot_id
from sidecar.config import Address, Handover, RouteSettings, Settings
from sidecar.control import ask
from sidecar.counters import Counters, Global, Mode, find_all
from sidecar.errors import ConfigError, SidecarError
from sidecar.run import check_store, epochs
from sidecar.supervisor import Backoff

PROGRAM = Path(__file__).parent / "support" / "supervised.py"
PATIENCE_S = 20.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value; fails the test when none comes."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


class Running:
    """One supervisor process on a folder of its own."""

    def __init__(self, folder: Path, recorder: str, analyst: str, settings: dict[str, str]) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        flags = {
            "listen": "127.0.0.1:0",
            "health": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "upstream": "http://127.0.0.1:1",
            "store": str(folder / "records"),
            "journal": str(self.journal),
            "grace": "0",
            "ship_timeout": "0",
            **settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(flags), recorder, analyst],
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self, role: str) -> list[str]:
        path = self.folder / f"{role}.log"
        return path.read_text().splitlines() if path.exists() else []

    def starts(self, role: str) -> list[int]:
        return [int(line.split()[1]) for line in self.log(role) if line.startswith("start")]

    def ready(self) -> Running:
        until(lambda: "ready" in self.log("recorder") and "ready" in self.log("analyst"), "both children")
        return self

    def status(self) -> dict[str, Any]:
        return ask(self.journal, {"do": "status"})

    def address(self) -> tuple[str, int]:
        """Where the route listens, from the handover's own words in the log of open files."""
        for line in Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[9]) == self.listener_inode():
                return "127.0.0.1", int(fields[1].split(":")[1], 16)
        raise AssertionError("the route does not listen")

    def listener_inode(self) -> int:
        handover = self.handover("recorder")
        descriptor = handover.listeners["default"][0]
        target = Path(f"/proc/{self.starts('recorder')[-1]}/fd/{descriptor}").readlink()
        return int(str(target).removeprefix("socket:[").removesuffix("]"))

    def handover(self, role: str) -> Handover:
        pid = self.starts(role)[-1]
        descriptor = int(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2])
        with Path(f"/proc/{pid}/fd/{descriptor}").open("rb") as file:
            return Handover.read(file.fileno())

    def counters(self) -> Counters:
        return Counters.open(find_all(self.journal)[-1])

    def finish(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, text = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, text

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(recorder: str = "serve", analyst: str = "serve", **settings: str) -> Running:
        running.append(Running(tmp_path, recorder, analyst, settings))
        return running[-1]

    yield start
    for each in running:
        each.kill()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_recorder_is_started_again_on_the_same_socket(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    address = sidecar.address()
    first = sidecar.starts("recorder")[0]
    os.kill(first, signal.SIGKILL)
    # This connection may come while nobody accepts: it waits in the backlog and is never refused.
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        answered_by = int(connection.recv(100))
    assert answered_by != first
    assert answered_by == sidecar.starts("recorder")[1]
    assert sidecar.status()["starts"] == {"recorder": 2, "analyst": 1}


def test_a_killed_analyst_is_started_again_and_the_recorder_stays(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    os.kill(sidecar.starts("analyst")[0], signal.SIGKILL)
    until(lambda: sidecar.log("analyst").count("ready") == 2, "a second analyst")
    assert len(sidecar.starts("recorder")) == 1
    assert sidecar.finish()[0] == 0


def test_a_recorder_that_always_crashes_is_tried_again_and_again(supervise: Callable[..., Running]) -> None:
    sidecar = supervise(recorder="crash")
    until(lambda: len(sidecar.starts("recorder")) >= 5, "five starts")
    code, text = sidecar.finish()
    assert code == 0
    assert "recorder exited with 3" in text


def test_sigterm_ends_the_recorder_first_and_then_the_analyst(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    code, text = sidecar.finish()
    assert code == 0
    assert sidecar.log("recorder")[-2:] == sidecar.log("analyst")[-2:] == ["term", "end"]
    assert text.index("recorder exited") < text.index("analyst exited")
    assert not (sidecar.journal / "control.sock").exists()


def test_a_child_that_does_not_end_in_time_is_killed_and_the_exit_code_says_so(
    supervise: Callable[..., Running],
) -> None:
    sidecar = supervise(analyst="stubborn").ready()
    code, text = sidecar.finish()
    assert code == 1
    assert "analyst did not end in time" in text


def test_an_analyst_that_is_down_at_the_end_is_started_once_to_ship(
    supervise: Callable[..., Running],
) -> None:
    sidecar = supervise(analyst="mended")
    # By now it waits for more than a second between two starts.
    until(lambda: "ready" in sidecar.log("recorder") and len(sidecar.starts("analyst")) >= 9, "quick deaths")
    (sidecar.folder / "mended").touch()
    code, text = sidecar.finish()
    assert code == 0
    assert sorted(sidecar.log("analyst")[-3:]) == ["end", "ready", "term"]
    assert text.index("recorder exited with 0") < text.rindex("analyst started")


def test_an_analyst_that_cannot_live_does_not_keep_the_end_waiting(supervise: Callable[..., Running]) -> None:
    sidecar = supervise(analyst="crash", ship_timeout="1h")
    until(lambda: "ready" in sidecar.log("recorder") and len(sidecar.starts("analyst")) >= 3, "quick deaths")
    code, text = sidecar.finish()
    assert code == 0
    assert text.rindex("analyst exited with 3") > text.index("recorder exited with 0")


def test_an_analyst_that_dies_of_being_told_to_ship_is_started_once_more(
    supervise: Callable[..., Running],
) -> None:
    sidecar = supervise(analyst="fragile").ready()
    code, text = sidecar.finish()
    assert code == 0
    assert len(sidecar.starts("analyst")) == 2
    assert "analyst exited with 4" in text
    assert sidecar.log("analyst")[-1] == "end"


def test_a_second_interrupt_ends_the_waiting(supervise: Callable[..., Running]) -> None:
    sidecar = supervise(recorder="stubborn", analyst="stubborn", grace="1h", ship_timeout="1h").ready()
    sidecar.process.send_signal(signal.SIGINT)
    until(lambda: "term" in sidecar.log("recorder"), "the recorder's SIGTERM")
    code, _ = sidecar.finish(signal.SIGINT)
    assert code == 1


def test_an_interrupt_of_the_whole_terminal_reaches_only_the_supervisor(
    supervise: Callable[..., Running],
) -> None:
    sidecar = supervise().ready()
    for pid in (*sidecar.starts("recorder"), *sidecar.starts("analyst")):
        os.kill(pid, signal.SIGINT)
    assert sidecar.finish(signal.SIGINT)[0] == 0
    assert "int" not in sidecar.log("recorder") + sidecar.log("analyst")


def test_children_end_when_the_supervisor_is_killed_and_the_lock_is_free_again(
    supervise: Callable[..., Running],
) -> None:
    sidecar = supervise().ready()
    pids = sidecar.starts("recorder") + sidecar.starts("analyst")
    sidecar.process.kill()
    until(lambda: not any(map(alive, pids)), "the end of both children")
    second = supervise()
    until(lambda: second.log("recorder").count("ready") == 2, "the next boot")
    assert second.finish()[0] == 0


def test_while_one_sidecar_runs_a_second_cannot_take_its_journal(
    supervise: Callable[..., Running], tmp_path: Path
) -> None:
    first = supervise().ready()
    second = supervise()
    code, text = second.wait()
    assert code == 1
    assert len(text.splitlines()) == 1
    assert str(first.journal) in text
    assert str(first.process.pid) in text
    assert first.status()["phase"] == "running"


def test_each_child_gets_only_its_own_sockets(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    recorder, analyst = sidecar.handover("recorder"), sidecar.handover("analyst")
    assert recorder.boot == analyst.boot
    assert (recorder.admin_fds, analyst.health_fds, analyst.listeners) == ([], [], {})
    route_socket = f"socket:[{sidecar.listener_inode()}]"
    assert route_socket in (sidecar.folder / "recorder.fds").read_text().splitlines()
    analysts = (sidecar.folder / "analyst.fds").read_text().splitlines()
    assert route_socket not in analysts
    assert str(sidecar.journal / "lock") in analysts


def test_counters_tell_pids_and_starts(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    counters = sidecar.counters()
    assert counters.get(Global.SUPERVISOR_PID) == sidecar.process.pid
    assert counters.get(Global.RECORDER_PID) == sidecar.starts("recorder")[0]
    assert counters.get(Global.ANALYST_PID) == sidecar.starts("analyst")[0]
    assert counters.get(Global.RECORDER_STARTS) == 1
    counters.close()


def test_ctl_switches_the_recording_mode_in_the_counters(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    counters = sidecar.counters()
    assert ask(sidecar.journal, {"do": "mode", "mode": "splice-only"})["mode"] == "splice-only"
    assert counters.get(Global.MODE) == Mode.SPLICE_ONLY
    assert ask(sidecar.journal, {"do": "mode", "mode": "record"})["mode"] == "record"
    assert counters.get(Global.MODE) == Mode.RECORD
    counters.close()


def test_ctl_refuses_what_it_does_not_know_and_the_supervisor_lives_on(
    supervise: Callable[..., Running],
) -> None:
    sidecar = supervise().ready()
    for request in ({"do": "dance"}, {"do": "mode", "mode": "loud"}, {"do": "mode", "mode": []}, {}):
        with pytest.raises(SidecarError):
            ask(sidecar.journal, request)
    assert sidecar.status()["phase"] == "running"


def test_silent_ctl_connections_do_not_shut_others_out(supervise: Callable[..., Running]) -> None:
    sidecar = supervise().ready()
    idle = []
    for _ in range(40):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(sidecar.journal / "control.sock"))
        idle.append(connection)
    assert sidecar.status()["phase"] == "running"
    for connection in idle:
        connection.close()


def test_ctl_works_below_a_path_that_is_too_long_for_a_socket(
    supervise: Callable[..., Running], tmp_path: Path
) -> None:
    journal = tmp_path / ("deep-" * 20) / ("er-" * 30)
    sidecar = supervise(journal=str(journal))

    def answers() -> bool:
        with contextlib.suppress(SidecarError):  # the socket is bound a moment before it listens
            return bool(ask(journal, {"do": "status"})["processes"]["supervisor"] == sidecar.process.pid)
        return False

    until(answers, "the control socket")


def test_ctl_says_when_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(SidecarError, match="no sidecar runs"):
        ask(tmp_path, {"do": "status"})
    with pytest.raises(SidecarError, match="no sidecar runs"):
        ask(tmp_path / "absent", {"do": "status"})


def test_unknown_identity_is_warned_of_once(supervise: Callable[..., Running]) -> None:
    _, text = supervise().ready().finish()
    assert text.count("is unknown") == 1


def test_a_known_identity_is_not_warned_of(supervise: Callable[..., Running]) -> None:
    sidecar = supervise(image_digest="sha256:" + "ab" * 32).ready()
    (epoch,) = sidecar.handover("analyst").epochs
    assert (epoch.source, epoch.digest) == ("flag", "sha256:" + "ab" * 32)
    assert "is unknown" not in sidecar.finish()[1]


def test_an_artifact_is_hashed_into_the_identity(supervise: Callable[..., Running], tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    sidecar = supervise(artifact=str(model)).ready()
    (epoch,) = sidecar.handover("recorder").epochs
    expected = subprocess.run(["sha256sum", str(model)], capture_output=True, text=True, check=True).stdout[
        :64
    ]
    assert epoch.artifact_digest == f"sha256:{expected}"
    assert epoch.source == "artifact"


def test_a_taken_address_is_one_line_and_exit_1(supervise: Callable[..., Running]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sidecar = supervise(listen=f"127.0.0.1:{port}")
        code, text = sidecar.wait()
    assert code == 1
    assert text.splitlines() == [
        f"sidecar: listen: 127.0.0.1:{port}: Address already in use: "
        "stop what listens there or choose another port"
    ]
    assert not sidecar.log("recorder")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"artifact": "/no/such/model"}, "artifact: cannot read /no/such/model"),
        ({"journal": "/proc/nowhere"}, "journal /proc/nowhere"),
        ({"journal": "/dev/null"}, "journal /dev/null"),
        ({"store": "/proc/nowhere"}, "store: /proc/nowhere cannot be made"),
        ({"store": "/dev/null"}, "store: /dev/null is not a folder"),
        ({"store": "/dev/null/below"}, "store: /dev/null/below"),
        ({"listen": "no-such-host.invalid:80"}, "listen: no-such-host.invalid:80"),
    ],
)
def test_a_mistake_ends_with_one_line_and_exit_2_before_any_child_starts(
    supervise: Callable[..., Running], settings: dict[str, str], words: str
) -> None:
    sidecar = supervise(**settings)
    code, text = sidecar.wait()
    assert code == 2
    assert len(text.splitlines()) == 1
    assert words in text
    assert not sidecar.log("recorder")


def test_a_store_that_is_read_only_for_a_while_does_not_stop_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    check_store(tmp_path)
    assert "records wait in the journal" in caplog.text


def test_looking_at_a_store_that_is_not_there_yet_leaves_nothing_behind(tmp_path: Path) -> None:
    check_store(tmp_path / "absent" / "store")
    assert list(tmp_path.iterdir()) == []


def test_boot_ids_sort_by_time() -> None:
    assert boot_id(1_795_475_700_000_000, bytes(5)) == "20261123T231500-0000000000"
    assert boot_id(1_795_475_701_000_000, bytes(5)) > boot_id(1_795_475_700_999_999, b"\xff" * 5)


def test_every_route_has_an_epoch_of_its_own() -> None:
    settings = Settings(
        routes=(
            RouteSettings(
                "a", Address("127.0.0.1", 1), Address("h", 2), "m1", image_digest="sha256:" + "0" * 64
            ),
            RouteSettings(
                "b", Address("127.0.0.1", 3), Address("h", 4), "m2", artifact_digest="sha256:" + "1" * 64
            ),
            RouteSettings("c", Address("127.0.0.1", 5), Address("h", 6)),
        ),
        store="/s",
    )
    found = epochs(settings, 7)
    assert [(e.route, e.number, e.model, e.source, e.since_us) for e in found] == [
        ("a", 0, "m1", "flag", 7),
        ("b", 0, "m2", "artifact", 7),
        ("c", 0, "default", "unknown", 7),
    ]


def test_a_child_that_lives_is_restarted_at_once_and_quick_deaths_wait_longer_up_to_a_limit() -> None:
    backoff = Backoff(0.5)
    waits = [backoff.after(0.1) for _ in range(50)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == 0.5
    assert backoff.after(5.0) == 0
    assert backoff.after(0.1) == 0


def test_a_handover_survives_its_file_and_can_be_read_twice() -> None:
    settings = Settings(
        routes=(RouteSettings("a", Address("::1", 1), Address("h", 2), artifact=("x",)),), store="/s"
    )
    handover = Handover(settings, "b", 5, "/c", {"a": [7, 8]}, [9], [], 10, 11, epochs(settings, 1))
    descriptor = handover.write()
    assert Handover.read(descriptor) == handover
    assert Handover.read(descriptor) == handover
    os.close(descriptor)
    with pytest.raises(ConfigError, match="no handover"):
        Handover.read(descriptor)

"""A single sidecar's own alarms, told by `sidecar run` itself: advice, once, and at nobody's cost."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.advising import KEYS_KEPT, Adviser, ToldStates
from sidecar.alerting.courier import Courier
from sidecar.alerting.notice import Notice, signature
from sidecar.alerting.outbox import MOST_WAITING, Rate
from sidecar.alerting.target import parse_target
from sidecar.clock import SystemClock
from sidecar.config import Address, Handover, RouteSettings, Settings
from sidecar.monitors import OwnAlarm
from sidecar.pipeline import boot_facts
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.monitor import Monitor
from tests.support.fleet import MINUTE_US, SETTINGS, T0_US, baseline, row, sample
from tests.support.receiver import Receiver
from tests.support.running import Sidecar, model_server, running_sidecar, until

WATCH = "bands:\n- {name: refusals, share: inputs.score > 0.5, low: 0.0, high: 0.3}\n"
SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def alarm() -> Alarm:
    """One that a real monitor raised."""
    monitor, chance = Monitor(SETTINGS, baseline()), random.Random(1)
    for minute in range(40):
        monitor.add([sample(n, T0_US + minute * MINUTE_US + n * 1000, row(chance, 2.0)) for n in range(100)])
        monitor.advance(T0_US + minute * MINUTE_US)
    (found, *_) = monitor.alarms()
    return found


def own(alarm: Alarm, route: str = "default", **changed: Any) -> OwnAlarm:
    return OwnAlarm(route, "mortgage", "", "p" * 64, msgspec.structs.replace(alarm, **changed))


def adviser(path: Path, alarms: list[OwnAlarm], *urls: str, rate: Rate = Rate(1000, 60.0)) -> Adviser:  # noqa: B008
    def make(done: Callable[[Notice], None]) -> Courier:
        return Courier([parse_target(url) for url in urls], rate, SystemClock(), SECRET, done)

    return Adviser(make, "pod-1", ToldStates(path), lambda: alarms)


async def test_each_state_is_told_once_over_restarts(tmp_path: Path, alarm: Alarm) -> None:
    told = tmp_path / "told.json"
    with Receiver() as receiver:
        for state in ("open", "open", "resolved", "resolved"):
            made = adviser(told, [own(alarm, state=state)], f"webhook+{receiver.url}")
            await made.end(5.0)
        states = [json.loads(each.body)["state"] for each in receiver.received]
    assert states == ["open", "resolved"]


async def test_what_one_receiver_has_not_taken_is_told_again_after_a_restart(
    tmp_path: Path, alarm: Alarm
) -> None:
    told = tmp_path / "told.json"
    with Receiver() as up, Receiver() as down:
        down.otherwise = 503
        urls = f"webhook+{up.url}", f"webhook+{down.url}"
        await adviser(told, [own(alarm)], *urls).end(0.5)
        down.otherwise = 202
        await adviser(told, [own(alarm)], *urls).end(5.0)
        keys = {json.loads(each.body)["notice"] for each in up.received}
        assert (len(down.received), len(keys)) == (1, 1)
        await adviser(told, [own(alarm)], *urls).end(0.2)
        assert len(down.received) == 1


async def test_pods_and_routes_do_not_speak_for_each_other(tmp_path: Path, alarm: Alarm) -> None:
    alarms = [own(alarm), own(alarm, "other")]
    with Receiver() as receiver:
        await adviser(tmp_path / "told", alarms, f"webhook+{receiver.url}").end(5.0)
        bodies = [json.loads(each.body) for each in receiver.received]
    assert len({body["alarm_id"] for body in bodies}) == 2
    assert {body["sidecar"] for body in bodies} == {"pod-1/default", "pod-1/other"}


async def test_more_than_there_is_room_for_is_dropped_and_counted_once(tmp_path: Path, alarm: Alarm) -> None:
    many = [own(alarm, id=f"{number}") for number in range(MOST_WAITING + 7)]
    made = adviser(tmp_path / "told", many, "webhook+http://127.0.0.1:9/x")
    for _ in range(3):
        made.look()
    assert made.counts() == {
        "webhook+http://127.0.0.1:9": {
            "sent": 0, "failed": 0, "refused": 0, "dropped": 7, "waiting": MOST_WAITING, "error": None,
        }
    }  # fmt: skip


async def test_looking_waits_for_no_receiver(tmp_path: Path, alarm: Alarm) -> None:
    """A receiver that takes ten seconds for each answer: the loop goes on, and so does looking."""
    with Receiver() as receiver:
        receiver.delay_s = 10.0
        made = adviser(tmp_path / "told", [own(alarm)], f"webhook+{receiver.url}")
        running = asyncio.ensure_future(made.run())
        await asyncio.sleep(0.2)
        started = time.monotonic()
        for _ in range(50):
            made.look()
            await asyncio.sleep(0)
        assert time.monotonic() - started < 1.0
        running.cancel()
        await asyncio.wait([running])


def test_told_states_are_bounded_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "told.json"
    path.write_bytes(b"[1, 2")
    told = ToldStates(path)
    for number in range(KEYS_KEPT + 5):
        told.add(f"k{number}")
    again = ToldStates(path)
    assert ("k4" in again, "k5" in again, f"k{KEYS_KEPT + 4}" in again) == (False, True, True)


def test_a_sealed_leaf_does_not_hold_a_receivers_path(tmp_path: Path) -> None:
    route = RouteSettings("default", Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    settings = Settings((route,), str(tmp_path), alert_url=("webhook+https://h.example/services/T0/secret",))
    facts = boot_facts(Handover(settings, "boot", T0_US, "", {}, [], [], -1, -1))
    assert facts.settings["alert_url"] == ["webhook+https://h.example"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alert_url": "http://h/services/hush"}, "says no kind of receiver"),
        ({"alert_url": "webhook+http://h/x", "alert_secret_file": "/nowhere"}, "alert_secret_file: /nowhere"),
        ({"alert_url": "webhook+http://h/x", "alert_rate": "often"}, "is no rate"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    code, lines = Sidecar(tmp_path, 9, **settings).refuses()
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]
    assert "hush" not in lines[0]


def post(port: int, score: float) -> None:
    body = json.dumps({"score": score}).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(asked, timeout=20).read()


def test_a_running_sidecar_tells_of_its_own_alarm_and_a_slow_receiver_costs_nothing(tmp_path: Path) -> None:
    """Real processes: one receiver answers, one hangs; traffic, counting and the first go on."""
    (tmp_path / "watch.yaml").write_text(WATCH)
    (tmp_path / "secret").write_bytes(SECRET)
    with Receiver() as receiver, Receiver() as slow, model_server() as server:
        slow.delay_s = 30.0
        settings = {
            "watch_file": str(tmp_path / "watch.yaml"),
            "baseline_exchanges": "40",
            "pane": "200ms",
            "watermark": "200ms",
            "false_alarms": "1 per 1m",
            "alert_secret_file": str(tmp_path / "secret"),
            "pod_uid": "pod-7",
            "ship_timeout": "10s",
        }
        urls = ("--alert-url", f"webhook+{receiver.url}", "--alert-url", f"webhook+{slow.url}")
        with running_sidecar(tmp_path, server.port, *urls, **settings) as running:
            chance = random.Random(2)
            for _ in range(60):
                post(running.port, 0.2 * chance.random())
            longest = 0.0

            def told() -> bool:
                nonlocal longest
                for _ in range(20):
                    started = time.monotonic()
                    post(running.port, 0.9)
                    longest = max(longest, time.monotonic() - started)
                return bool(receiver.received)

            until(told, "an alert", every_s=0.05)
            assert longest < 5.0, "the receiver that hangs for 30 s is nothing to the traffic"
            found = json.loads(receiver.received[0].body)
            headers = receiver.received[0].headers
            assert found["advisory"] is True
            assert found["sidecar"] == "pod-7/default"
            assert found["alarm"]["advisory"] is True
            assert "advisory: of what this one sidecar has seen" in found["alarm"]["promise"]
            sent_s = headers["sidecar-timestamp"]
            signed = signature(SECRET, sent_s, receiver.received[0].body)
            assert headers["sidecar-signature"] == f"v1={signed}"
            (model,) = running.status()["models"]
            assert found["quantity"] in {alarm["quantity"] for alarm in model["alarms"]}
            shown = until(lambda: running.status()["alerts"], "alerts in the status")
            assert sum(each["sent"] for each in shown.values()) >= 1
            keys = {json.loads(each.body)["notice"] for each in receiver.received}
            assert len(keys) == len(receiver.received), "each state once"
            assert not running.tracebacks()
        assert slow.received == []

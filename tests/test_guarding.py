"""Redaction, business keys and encryption, from the journal to the stored files and the status."""

from __future__ import annotations

import hmac
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from sidecar.analyst import Analyst, Limits, LiveBoot
from sidecar.clock import ManualClock
from sidecar.config import Address, Handover, RouteSettings, Settings
from sidecar.decode.registry import Decoding
from sidecar.errors import ConfigError
from sidecar.guarding import BLIND, UNTOLD, guard_of
from sidecar.intake import Analysis
from sidecar.journal.reader import JournalReader
from sidecar.pipeline import Worker, more_computing
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import read_master_key
from sidecar.privacy.opening import open_record
from sidecar.records import Exchange, Message, Observation
from sidecar.run import _announce
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.knowledge import Knowledge
from sidecar.shipping.state import AnalystState
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.suspects import Suspects
from tests.support.chains import logs_of
from tests.support.journaled import BOOT, EPOCH, START_US, exchange, fill
from tests.support.sealing import sealer_of
from tests.support.stored import stored_rows

SECRET = "Ada-Lovelace-1815"


class Rig:
    """An analyst with the real decoders, statistics and guard of some settings."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.state: AnalystState | None = None
        routes = (RouteSettings("default", Address("127.0.0.1", 1), Address("127.0.0.1", 2)),)
        self.settings = Settings(routes=routes, store=str(self.store), **settings)

    def run(self, exchanges: list[Exchange]) -> Analyst:
        self.fill(exchanges)
        analyst = self.start()
        assert analyst.finish(10**12)
        return analyst

    def fill(self, exchanges: list[Exchange]) -> None:
        fill(self.folder / "journal", exchanges)

    def start(self, decoder: Any = None) -> Analyst:
        """An analyst that begins where the last one's commit left off."""
        if self.state is not None:
            self.state.close()
        journal, clock = self.folder / "journal", ManualClock(wall_us=START_US)
        self.state = AnalystState.open(journal / "analyst")
        return Analyst(
            JournalReader(journal, BOOT),
            self.state,
            DirectorySink(self.store, create=True),
            Analysis(
                decoder or Decoding(),
                lambda key: Monitor(MonitorSettings(2)),
                lambda key, state: Monitor.restore(state),
                guard_of(self.settings),
            ),
            sealer_of(BOOT, clock),
            Suspects(journal / "marker.bin"),
            Limits(),
            clock,
            LiveBoot(BOOT, (EPOCH,)),
        )

    def again(self, **settings: Any) -> Rig:
        """The same journal and store under other settings."""
        other = Rig(self.folder, **settings)
        other.state, self.state = self.state, None
        return other

    def kept(self) -> bytes:
        """The analyst's state as it lies on the disk."""
        return (self.folder / "journal" / "analyst" / "data.mdb").read_bytes()

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in stored_rows(self.store) if row["kind"] == "exchange"]

    def bytes_of_everything(self) -> bytes:
        """Every stored value, and every object that is no Parquet."""
        values = [
            str(row).encode() + b"".join(v for v in row.values() if isinstance(v, bytes))
            for row in stored_rows(self.store)
        ]
        others = [
            path.read_bytes()
            for path in self.store.rglob("*")
            if path.is_file() and path.suffix != ".parquet"
        ]
        return b"".join(values + others)


def key_file(folder: Path, name: str, byte: int) -> str:
    path = folder / name
    path.write_text(bytes([byte] * 32).hex())
    path.chmod(0o400)
    return str(path)


def people(count: int = 6) -> list[Exchange]:
    """Everybody has the same secret name, and each a number."""
    return [
        exchange(
            number,
            orjson.dumps({"name": SECRET, "income": 10 * number, "person": f"p{number % 3}"}),
            b'{"deny": "yes"}',
        )
        for number in range(1, count + 1)
    ]


def test_a_redacted_field_is_counted_and_never_shown_or_stored(tmp_path: Path) -> None:
    rig = Rig(tmp_path, redact=("request.body:$.name=mask",))
    analyst = rig.run(people())
    assert SECRET.encode() not in rig.bytes_of_everything()
    rows = rig.rows()
    assert len(rows) == 6
    assert orjson.loads(rows[0]["inputs"])["income"] == [10]
    assert orjson.loads(rows[0]["redacted"])["rules"] == ["request.body:$.name=mask"]
    ((_, summary),) = analyst.summaries()
    assert SECRET not in str(summary)
    name = summary["window"]["features"]["name"]  # type: ignore[index]
    assert name["redacted"] is True
    assert name["count"] == 4
    assert "p1" in str(summary["window"]["features"]["person"])  # type: ignore[index]
    logs_of(rig.store)


@pytest.mark.parametrize(
    ("action", "stored"),
    [
        ("drop", None),
        ("mask", "***"),
        ("hash", hmac.new(bytes(range(32)), b"2001:db8::7", "sha256").hexdigest()),
    ],
)
def test_the_address_of_a_client_is_under_rules_too(tmp_path: Path, action: str, stored: str | None) -> None:
    made = people(2)
    for each in made:
        each.client = "2001:db8::7:4711"
    # Heads that were seen before take a shorter way, and a body of no rule's is not looked at.
    for rule in ("header:x-nobody=mask", "request.body:$.name=mask"):
        folder = tmp_path / rule[:4]
        folder.mkdir()
        key = folder / "hash.key"
        key.write_bytes(bytes(range(32)))
        key.chmod(0o400)
        rig = Rig(folder, redact=(f"client={action}", rule), hash_key=str(key))
        rig.fill(made)
        assert rig.start().finish(10**12)
        rows = rig.rows()
        assert [row["client"] for row in rows] == [stored] * 2
        assert all(f"client={action}" in orjson.loads(row["redacted"])["rules"] for row in rows)
        assert b"2001:db8" not in rig.bytes_of_everything()
        logs_of(rig.store)


def test_redacted_fields_need_not_even_be_counted(tmp_path: Path) -> None:
    rig = Rig(tmp_path, redact=("request.body:$.name=drop",), count_redacted="off")
    ((_, summary),) = rig.run(people()).summaries()
    assert "name" not in summary["window"]["features"]  # type: ignore[index]


def test_credentials_are_dropped_without_being_asked(tmp_path: Path) -> None:
    made = people(1)
    made[0].request[0] = (
        made[0].request[0].replace(b"Host: model", f"Host: model\r\nAuthorization: Bearer {SECRET}".encode())
    )
    rig = Rig(tmp_path, redact=("request.body:$.name=drop",))
    rig.run(made)
    assert SECRET.encode() not in rig.bytes_of_everything()
    assert b"Host: model" in rig.rows()[0]["request_head"]


def test_an_encrypted_record_is_opened_by_its_key_object_alone(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        master_key=key_file(tmp_path, "master.key", 1),
        hash_key=key_file(tmp_path, "hash.key", 2),
        subject="request.body:$.person",
        keys=("person=request.body:$.person",),
    )
    rig.run(people())
    assert SECRET.encode() not in rig.bytes_of_everything()
    rows = rig.rows()
    assert all(row["inputs"] is None and row["decision"] is None for row in rows)
    assert len({row["subject_key_id"] for row in rows}) == 3
    assert dict(rows[0]["keys"])["person"] != "p1"
    (chain,) = logs_of(rig.store).values()
    (path,) = (rig.store / "subjects").iterdir()
    assert any(f"{path.stem}-S" in file.name for file in chain.files)
    keys = KeyObject.parse(path.read_bytes())
    master = read_master_key(Path(rig.settings.master_key or ""))
    opened = open_record(rows[0], keys, master)
    assert orjson.loads(opened.request_body or b"")["name"] == SECRET
    assert opened.decision == "yes"


def test_what_a_decoder_says_is_not_kept_beside_an_encrypted_record(tmp_path: Path) -> None:
    rig = Rig(tmp_path, master_key=key_file(tmp_path, "master.key", 1))
    rig.run([exchange(1, b"not JSON but " + SECRET.encode())])
    assert rig.rows()[0]["decode_error"] == UNTOLD


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"redact": ("header:x-customer=hash",)}, "hash"),
        ({"keys": ("a=header:x-a",), "hash_keys": "on"}, "hash_key"),
        ({"subject": "header:x-who"}, "give master_key too, or no subject"),
        ({"master_key": "/nowhere/master.key"}, "master key /nowhere/master.key: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        guard_of(Rig(tmp_path, **settings).settings)


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("action", ["mask", "drop"])
def test_redacted_values_are_not_in_the_analysts_state(tmp_path: Path, action: str, hashed: bool) -> None:
    hash_key = key_file(tmp_path, "hash.key", 2) if hashed else None
    rules = (f"request.body:$.name={action}", f"request.body:$.income={action}")
    rig = Rig(tmp_path, redact=rules, hash_key=hash_key)
    made = [
        exchange(
            number,
            orjson.dumps({"name": SECRET + str(number % 2), "income": 987654000 + number}),
            b'{"y": 1}',
        )
        for number in range(1, 41)
    ]
    ((_, summary),) = rig.run(made).summaries()
    assert SECRET.encode() not in rig.kept()
    assert "987654" not in str(summary)
    features: Any = summary["features"]
    assert features["name"]["count"] == features["income"]["count"] == 38
    assert features["name"]["redacted"] is features["income"]["redacted"] is True
    assert features["name"]["top"] == features["income"]["top"] == []


def test_texts_and_subjects_of_encrypted_bodies_are_not_in_the_analysts_state(tmp_path: Path) -> None:
    rig = Rig(tmp_path, master_key=key_file(tmp_path, "master.key", 1), subject="request.body:$.person")
    made = [
        exchange(n, orjson.dumps({"name": SECRET, "person": 4711000 + n % 2, "age": n}), b'{"deny": "nope"}')
        for n in range(1, 11)
    ]
    ((_, summary),) = rig.run(made).summaries()
    assert SECRET.encode() not in rig.kept()
    assert not any(text in str(summary) for text in (SECRET, "4711", "nope", "redacted:"))
    features: Any = summary["features"]
    assert features["person"]["count"] == features["name"]["count"] == features["age"]["count"] == 8
    assert features["name"]["new"] == 0, "equal texts have equal tokens"


@pytest.mark.parametrize("count", ["on", "off"])
def test_what_was_counted_before_a_rule_is_forgotten_with_the_rule(tmp_path: Path, count: str) -> None:
    rig = Rig(tmp_path)
    ((_, before),) = rig.run(people()).summaries()
    assert SECRET in str(before)
    ruled = rig.again(redact=("request.body:$.name=mask",), count_redacted=count)
    analyst = ruled.start()
    assert SECRET not in str(analyst.summaries())
    assert analyst.finish(10**12)
    assert ruled.state is not None
    (kept,) = ruled.state.load().monitors.values()
    assert SECRET.encode() not in kept
    ruled.run(people(12)[6:])
    ((_, same),) = ruled.start().summaries()
    assert same["exchanges"] == 4, "the same settings go on counting where they were"
    ((_, other),) = ruled.again().start().summaries()
    assert other["exchanges"] == 0


def test_names_that_a_rule_takes_out_are_neither_counted_nor_totals(tmp_path: Path) -> None:
    rig = Rig(tmp_path, redact=("regex:PERSON[0-9]+=mask", "request.body:$.scores=drop"))
    made = [
        exchange(n, orjson.dumps({f"PERSON{12345 + n}": 7, "scores": {f"Ada{n}": 1}, "age": n}), b'{"y": 1}')
        for n in range(1, 11)
    ]
    analyst = rig.run(made)
    shown = str(analyst.summaries()) + str(analyst.snapshot.totals)
    assert not any(name in shown for name in ("PERSON", "Ada", "concealed"))
    assert b"PERSON123" not in rig.kept()
    ((_, summary),) = analyst.summaries()
    assert {"(redacted)", "age"} <= set(summary["features"])  # type: ignore[call-overload]
    assert len(analyst.snapshot.totals) < 20


def test_a_regular_expression_that_never_ends_costs_a_body_or_a_head(tmp_path: Path) -> None:
    made = [exchange(number, b'{"n": 1}', b'{"y": 1}') for number in (1, 2, 3)]
    made[1].request[0] = exchange(2, b'{"n": "' + b"a" * 60 + b'!"}', b'{"y": 1}').request[0]
    made[2].request[0] = made[2].request[0].replace(b" /", b" /" + b"a" * 60 + b"!" + SECRET.encode(), 1)
    rig = Rig(tmp_path, redact=("regex:(a|aa)+[ $]=mask",))
    rig.fill(made)
    assert rig.start().finish(10**12)
    rows = rig.rows()
    slow = "a regular expression computed for too long"
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert rows[0]["redacted"] is None
    assert orjson.loads(rows[1]["redacted"])["dropped"] == {"request_body": slow}
    assert rows[1]["response_body"] == b'{"y": 1}'
    assert orjson.loads(rows[2]["redacted"]) == {"rules": [], "dropped": {"exchange": slow}}
    assert (rows[2]["path"], rows[2]["status"]) == ("/", 200)
    assert not rows[2]["request_body"]
    assert SECRET.encode() not in rig.bytes_of_everything()
    logs_of(rig.store)


def test_a_step_that_stops_patterns_may_compute_on(tmp_path: Path) -> None:
    """Each text is bounded, and many of them in one step are no reason to end the process."""
    before = signal.getitimer(signal.ITIMER_PROF)
    assert before[0] == 0.0
    more_computing()
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0.0
    signal.setitimer(signal.ITIMER_PROF, 5.0)
    try:
        more_computing()
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 15.0
        signal.setitimer(signal.ITIMER_PROF, 100.0)
        more_computing()
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 90.0
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


def test_a_rule_that_never_ends_costs_an_exchange_and_not_the_analyst(tmp_path: Path) -> None:
    made = [
        exchange(1, b'{"n": 1}', b'{"y": 1}'),
        exchange(2, b'{"n": ' + b"[" * 60 + b"]" * 60 + b"}", b'{"y": 1}'),
        exchange(3, b'{"n": 3}', b'{"y": 1}'),
    ]
    made[1].request[0] = made[1].request[0].replace(b" /", b" /" + SECRET.encode() + b"?q=1&r=", 1)
    rig = Rig(tmp_path, redact=("body:$..*..*..*..*..*=mask", "regex:x{9}=mask"))
    rig.fill(made)
    life = (
        "import signal, pathlib; from tests.test_guarding import Rig\n"
        f"analyst = Rig(pathlib.Path({str(tmp_path)!r}), redact={rig.settings.redact!r}).start()\n"
        "signal.setitimer(signal.ITIMER_PROF, 1.0)\n"
        "raise SystemExit(0 if analyst.finish(10**12) else 3)"
    )
    codes = [subprocess.run([sys.executable, "-c", life], check=False, timeout=60).returncode for _ in "123"]
    assert codes == [-signal.SIGPROF, -signal.SIGPROF, 0]
    rows = rig.rows()
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert [row["redacted"] is None for row in rows] == [True, False, True]
    assert orjson.loads(rows[1]["redacted"]) == {"rules": [], "dropped": {"exchange": BLIND}}
    assert not rows[1]["request_body"]
    assert not rows[1]["response_body"]
    assert rows[1]["path"] == "/"
    assert rows[1]["status"] == 200
    assert rows[1]["decode_error"] == "killed the analyst twice"
    assert SECRET.encode() not in rig.bytes_of_everything()
    logs_of(rig.store)


class Faulty:
    """A decoder, or statistics, whose faults quote what they were at."""

    def observe(self, path: str, request: Message, response: Message) -> Observation:
        raise ZeroDivisionError(request.body.decode())


def test_the_words_of_a_fault_are_kept_out_of_log_and_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, redact=("request.body:$.name=mask",))
    rig.fill(people(1))
    with caplog.at_level(logging.DEBUG):
        assert rig.start(Faulty()).finish(10**12)
    assert SECRET not in caplog.text
    assert "ZeroDivisionError at test_guarding.py:" in caplog.text
    assert rig.rows()[0]["decode_error"] == "decoder failed: ZeroDivisionError"


class Stuck:
    """An analyst whose steps fail with words that quote a body."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.reasons: list[str] = []

    def step(self) -> float:
        self._stop()
        raise ValueError(SECRET)

    def recover(self, reason: str) -> None:
        self.reasons.append(reason)

    def finish(self, deadline_ns: int) -> bool:
        return True


@pytest.mark.parametrize("redact", [(), ("request.body:$.name=mask",)])
def test_a_failed_step_is_shown_by_its_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, redact: tuple[str, ...]
) -> None:
    settings = Rig(tmp_path, redact=redact).settings
    handover = Handover(settings, BOOT, START_US, "", {}, [], [], -1, -1)
    worker = Worker(handover, ManualClock(), None, None, None)  # type: ignore[arg-type]
    analyst = Stuck(worker.stop)
    try:
        worker._work(analyst)  # type: ignore[arg-type]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    assert analyst.reasons == ["ValueError"]
    assert "ValueError at test_guarding.py:" in caplog.text
    assert (SECRET in caplog.text) is (not redact)


def test_encryption_without_a_subject_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    master = key_file(tmp_path, "master.key", 1)
    _announce(Rig(tmp_path, master_key=master, subject="header:x-who").settings, BOOT, ())
    assert "nobody can be erased alone" not in caplog.text
    _announce(Rig(tmp_path, master_key=master).settings, BOOT, ())
    assert caplog.text.count("nobody can be erased alone") == 1


def test_what_is_given_up_is_let_go_before_the_last_commit_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    rig.fill(people())
    analyst = rig.start()
    analyst.step()
    given_up = analyst._intake
    assert given_up.rows >= 6
    assert rig.state is not None
    load, held = rig.state.load, []

    def loading() -> Knowledge:
        held.append((given_up.rows, len(given_up.statistics.by_key), given_up.known.totals))
        return load()

    monkeypatch.setattr(rig.state, "load", loading)
    analyst.recover("out of memory")
    assert held == [(0, 0, {})]

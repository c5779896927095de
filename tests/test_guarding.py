"""Redaction, business keys and encryption, from the journal to the stored files and the status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from sidecar.analyst import Analyst, Limits, LiveBoot
from sidecar.clock import ManualClock
from sidecar.config import Address, RouteSettings, Settings
from sidecar.decode.registry import Decoding
from sidecar.errors import ConfigError
from sidecar.guarding import UNTOLD, guard_of
from sidecar.intake import Analysis
from sidecar.journal.reader import JournalReader
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import read_master_key
from sidecar.privacy.opening import open_record
from sidecar.records import Exchange
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.state import AnalystState
from sidecar.statistics.monitor import Monitor
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
        routes = (RouteSettings("default", Address("127.0.0.1", 1), Address("127.0.0.1", 2)),)
        self.settings = Settings(routes=routes, store=str(self.store), **settings)

    def run(self, exchanges: list[Exchange]) -> Analyst:
        journal, clock = self.folder / "journal", ManualClock(wall_us=START_US)
        fill(journal, exchanges)
        analyst = Analyst(
            JournalReader(journal, BOOT),
            AnalystState.open(journal / "analyst"),
            DirectorySink(self.store, create=True),
            Analysis(Decoding(), lambda: Monitor(2), Monitor.restore, guard_of(self.settings)),
            sealer_of(BOOT, clock),
            Suspects(journal / "marker.bin"),
            Limits(),
            clock,
            LiveBoot(BOOT, (EPOCH,)),
        )
        assert analyst.finish(clock.monotonic_ns() + 10**12)
        return analyst

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
        ({"master_key": "/nowhere/master.key"}, "master key /nowhere/master.key: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        guard_of(Rig(tmp_path, **settings).settings)

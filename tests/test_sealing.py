"""From journal to sealed files: every log verifies from its files alone, across batches, restarts and boots."""

from __future__ import annotations

import hashlib
import io
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
from arro3.io import read_parquet

from sidecar.analyst import Analyst, Limits, LiveBoot
from sidecar.clock import ManualClock
from sidecar.errors import StoreError
from sidecar.journal.reader import JournalReader
from sidecar.ledger.note import VerifierKey
from sidecar.ledger.origin import parse
from sidecar.records import Event
from sidecar.sealing import TREES_KEPT
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.knowledge import Knowledge, Tree
from sidecar.shipping.rows import GroupKey
from sidecar.shipping.sink import PutResult, Sink
from sidecar.shipping.state import AnalystState
from sidecar.suspects import Suspects
from tests.support.chains import Chain, logs_of
from tests.support.journaled import BOOT, EPOCH, START_US, analysis, exchange, fill
from tests.support.sealing import KEY, PLACE, group_for, sealer_of

LATER = "20261124T080000-0123456789"
SMALL = Limits(batch_bytes=64 * 1024)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.journal, self.store = folder / "journal", folder / "store"
        self.clock = ManualClock(wall_us=START_US)
        self.state: AnalystState | None = None
        self.reader: JournalReader | None = None

    def analyst(self, boot: str = BOOT, limits: Limits = SMALL, sink: Sink | None = None) -> Analyst:
        self.journal.mkdir(exist_ok=True)
        if self.state is not None and self.reader is not None:
            # As the end of its process would.
            self.state.close()
            self.reader.close()
        self.state = AnalystState.open(self.journal / "analyst")
        self.reader = JournalReader(self.journal, boot)
        return Analyst(
            self.reader,
            self.state,
            sink or DirectorySink(self.store, create=True),
            analysis(),
            sealer_of(boot, self.clock),
            Suspects(self.journal / "analyst-marker.bin"),
            limits,
            self.clock,
            LiveBoot(boot, (EPOCH,)),
        )

    def finish(self, analyst: Analyst) -> None:
        assert analyst.finish(self.clock.monotonic_ns() + 10**12)

    def details(self, chain: Chain, kind: str) -> list[dict[str, Any]]:
        return [orjson.loads(row["details"]) for row in chain.rows if row["kind"] == kind]


def test_a_log_runs_from_genesis_to_close_and_verifies_from_its_files_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    fill(
        rig.journal, map(exchange, range(1, 1_001)), also=lambda writer: writer.event(Event("clock_step", 5))
    )
    rig.finish(rig.analyst())
    (chain,) = logs_of(rig.store).values()
    assert len(chain.files) > 3
    assert chain.kinds[:3] == ["genesis", "config", "identity"]
    assert chain.kinds[-1] == "close"
    assert rig.details(chain, "close") == [{"size": chain.frontier.size - 1}]
    assert [row["seq"] for row in chain.rows if row["kind"] == "exchange"] == list(range(1, 1_001))
    (genesis,) = rig.details(chain, "genesis")
    assert parse(genesis["origin"]).place == PLACE
    assert genesis["public_key"] == str(VerifierKey(genesis["origin"], KEY.verifier.public_key))
    assert genesis["previous"] is None
    (identity,) = rig.details(chain, "identity")
    assert identity["image_digest"] == EPOCH.image_digest
    (config,) = rig.details(chain, "config")
    text = orjson.dumps(config["settings"], option=orjson.OPT_SORT_KEYS)
    assert config["sha256"] == hashlib.sha256(text).hexdigest()


def test_a_restarted_analyst_goes_on_with_the_log(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    fill(rig.journal, map(exchange, range(1, 501)))
    first = rig.analyst()
    for _ in range(6):
        rig.clock.advance(first.step() and 1.0)
    del first
    rig.finish(rig.analyst())
    (chain,) = logs_of(rig.store).values()
    assert chain.kinds.count("genesis") == 1
    assert [row["seq"] for row in chain.rows if row["kind"] == "exchange"] == list(range(1, 501))


def test_an_idle_log_begins_at_once_and_says_that_it_is_alive(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    fill(rig.journal, [])
    analyst = rig.analyst(limits=Limits(batch_age_s=1.0, heartbeat_s=60.0))
    for _ in range(4 * 190):
        rig.clock.advance(0.25)
        analyst.step()
    (chain,) = logs_of(rig.store).values()
    assert chain.kinds[0] == "genesis"
    assert chain.kinds.count("heartbeat") == 3
    assert chain.kinds.count("exchange") == 0


def test_traffic_makes_heartbeats_needless(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    fill(rig.journal, map(exchange, range(1, 201)))
    analyst = rig.analyst(limits=Limits(batch_age_s=1.0, heartbeat_s=60.0))
    for _ in range(40):
        rig.clock.advance(0.25)
        analyst.step()
    (chain,) = logs_of(rig.store).values()
    assert "heartbeat" not in chain.kinds


class Away(DirectorySink):
    """A store that is out of reach while `away`."""

    away = True

    def put(self, name: str, data: bytes) -> PutResult:
        if self.away:
            raise StoreError("store: out of reach")
        return super().put(name, data)


def test_a_log_that_is_behind_its_journal_does_not_say_that_it_is_idle(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    fill(rig.journal, map(exchange, range(1, 4_001)))
    sink = Away(rig.store, create=True)
    analyst = rig.analyst(limits=Limits(batch_bytes=64 * 1024, batch_age_s=1.0, heartbeat_s=60.0), sink=sink)
    for _ in range(300):
        rig.clock.advance(1.0)
        analyst.step()
    sink.away = False
    for _ in range(300):
        rig.clock.advance(1.0)
        analyst.step()
    (chain,) = logs_of(rig.store).values()
    last = max(at for at, kind in enumerate(chain.kinds) if kind == "exchange")
    assert chain.kinds.count("exchange") == 4_000
    assert "heartbeat" not in chain.kinds[:last]
    assert "heartbeat" in chain.kinds[last:]


def test_the_next_boot_seals_what_a_dead_one_left_and_names_where_that_had_come_to(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    fill(rig.journal, map(exchange, range(1, 2_001)))
    dead = rig.analyst(limits=Limits(batch_bytes=64 * 1024, batch_age_s=1e9))
    for _ in range(2):
        dead.step()
    del dead
    rig.clock.advance(5.0)
    fill(rig.journal, map(exchange, range(1, 51)), boot=LATER)
    rig.finish(rig.analyst(LATER))
    chains = logs_of(rig.store)
    drained = next(chain for name, chain in chains.items() if parse(name).dead_boot == BOOT)
    live = next(chain for name, chain in chains.items() if name.endswith(LATER))
    dead_name = next(name for name in chains if name.endswith(BOOT) and parse(name).dead_boot is None)
    died = chains[dead_name]
    (genesis,) = rig.details(drained, "genesis")
    continues = genesis["continues"]
    # What it had sealed and not shipped is shipped as it was, and counts.
    assert (continues["origin"], continues["size"]) == (dead_name, died.frontier.size)
    assert continues["batch"] == str(died.files[-1].relative_to(rig.store))
    numbers = [row["seq"] for row in died.rows + drained.rows if row["kind"] == "exchange"]
    assert numbers == list(range(1, 2_001))
    assert {row["boot"] for row in drained.rows} == {BOOT}
    assert drained.kinds[-1] == "close"
    assert "close" not in died.kinds
    (own,) = rig.details(live, "genesis")
    assert own["previous"]["origin"] == dead_name
    assert [row["seq"] for row in live.rows if row["kind"] == "exchange"] == list(range(1, 51))
    assert live.kinds[-1] == "close"


def knowledge_after(
    boot: str, store: str, known: Knowledge | None = None
) -> tuple[Knowledge, dict[str, Any]]:
    """What is known once that boot sealed its first file, and its genesis."""
    known = known or Knowledge()
    group = group_for(GroupKey(boot, "default", 1, 20_780), EPOCH)
    encoded = sealer_of(boot, store=store).seal(group, known)
    table = read_parquet(io.BytesIO(encoded.data)).read_all()
    return known, orjson.loads(table["details"].to_pylist()[0])


def test_a_log_in_another_store_is_not_named_as_the_one_before() -> None:
    known, first = knowledge_after(BOOT, "s3://one")
    assert first["previous"] is None
    _, elsewhere = knowledge_after(LATER, "s3://two", deepcopy(known))
    assert elsewhere["previous"] is None
    _, same = knowledge_after(LATER, "s3://one", known)
    assert same["previous"]["origin"] == first["origin"]


def test_a_boots_own_open_logs_are_never_forgotten() -> None:
    known, genesis = knowledge_after(BOOT, "")
    sealer = sealer_of(BOOT)
    for number in range(TREES_KEPT + 20):
        dead = f"20260101T000000-{number:010x}"
        sealer.seal(group_for(GroupKey(dead, "default", 1, 20_780), EPOCH), known)
    tree = sealer.tree_of(known, BOOT, "default")
    assert tree is not None
    assert tree.origin == genesis["origin"]
    for number in range(TREES_KEPT + 20):
        known.trees[f"old.{number}"] = Tree("o", "20250101T000000-0000000000", [0], t_us=number)
    sealer.seal(group_for(GroupKey("20260102T000000-0000000000", "default", 1, 20_780), EPOCH), known)
    assert sum(tree.sealer != BOOT for tree in known.trees.values()) == 0

"""What docs/statistics-store.md shows of other engines, run."""

from __future__ import annotations

import random
import re
from pathlib import Path

import duckdb

from sidecar.objects import open_store
from sidecar.records import Epoch
from sidecar.statistics.monitor import Monitor
from tests.support.fleet import DIGEST, MINUTE_US, SETTINGS, T0_US, Pod, baseline, row, sample

GUIDE = Path(__file__).parents[1] / "docs" / "statistics-store.md"


def test_the_query_counts_every_exchange_once(tmp_path: Path) -> None:
    """Two routes of one model with as much traffic each, and what came late in the same hour twice."""
    root = tmp_path / "records"
    root.mkdir()
    pod = Pod("a", baseline(), open_store(str(root)))
    pod.monitors["second", DIGEST] = Monitor(SETTINGS, baseline())
    pod.known.epochs["boot-a", "second", 1] = Epoch("second", 1, "mortgage", DIGEST, None, "flag", T0_US)
    chance = random.Random(3)
    sent = 0

    def send(minute: int, count: int) -> int:
        start = T0_US + minute * MINUTE_US
        for monitor in pod.monitors.values():
            monitor.add([sample(sent + n, start + n * 1000, row(chance)) for n in range(count)])
        return count * len(pod.monitors)

    for minute in range(20):
        sent += send(minute, 10)
        pod.clock.advance(60)
        for monitor in pod.monitors.values():
            monitor.advance(pod.clock.wall_us())
        if minute in (8, 14):
            sent += send(0, 1)
        pod.ship()
    pod.ship(final=True)
    (query,) = re.findall(r"```sql\n(.*?);\n```", GUIDE.read_text(), re.S)
    counted = duckdb.sql(query.replace("'records/", f"'{root}/")).fetchall()
    assert sum(count for _, count in counted) == sent
    assert sum(count for start, count in counted if start % 3_600_000_000 == 0) == 4

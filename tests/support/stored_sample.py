"""A small store made by the shipping stage, for the tests of what reads stores."""

from __future__ import annotations

from pathlib import Path

from sidecar.records import Delivery, Epoch, Event, Exchange, Gap, Message, Observation, Outcome
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.knowledge import Knowledge
from sidecar.shipping.rows import DAY_US, GroupKey, RowGroup
from tests.support.sealing import group_for, sealer_of

BOOT = "20261123T231500-9f3c2a71b0"
LOG = f"{BOOT}.default"
DAY = 20_780
"""2026-11-23."""
START_US = DAY * DAY_US + 3_600_000_000
EPOCH = Epoch("default", 1, "mortgage", "sha256:" + "ab" * 32, None, "flag")

REQUEST_HEAD = b"POST /predict HTTP/1.1\r\nHost: model\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


def group(first: int, last: int, t_us: int, step_us: int = 1_000, epoch: Epoch = EPOCH) -> RowGroup:
    """Exchanges `first` to `last`, the first at `t_us`; every tenth was answered 500."""
    made = group_for(GroupKey(BOOT, epoch.route, epoch.number, t_us // DAY_US), epoch)
    for number in range(first, last + 1):
        exchange = Exchange(epoch.route, number % 3, "10.0.0.1:4000", t_us + (number - first) * step_us, 0)
        exchange.seq = number
        exchange.request_end_ns, exchange.first_byte_ns, exchange.end_ns = 0, 1_500_000, 2_000_000
        exchange.request_bytes, exchange.response_bytes = 100, 50
        body = b'{"n":%d}' % number
        head = RESPONSE_HEAD if number % 10 else RESPONSE_HEAD.replace(b"200 OK", b"500 Oops")
        request = Message(REQUEST_HEAD, body, length=len(body))
        response = Message(head, b'{"deny":true}', length=13)
        observation = Observation("plain_json", 1, {"n": [number]}, {"deny": [True]})
        made.exchange(exchange, request, response, observation, None)
    return made


_known: dict[Path, Knowledge] = {}
"""How far the logs of each store were sealed."""


def put(root: Path, made: RowGroup) -> Path:
    encoded = sealer_of(BOOT).seal(made, _known.setdefault(root, Knowledge()))
    DirectorySink(root, create=True).put(encoded.name, encoded.data)
    return root / encoded.name


def sample(root: Path) -> None:
    """Two models, two days, files whose times overlap; a gap, an event and a delivery in the second."""
    put(root, group(1, 100, START_US))
    second = group(101, 200, START_US + 50_000)
    second.gap(Gap(BOOT, "default", 201, 20, START_US + 160_000, START_US + 170_000, "disk_full"))
    second.delivery(Delivery("default", 150, START_US + 180_000, Outcome.CLIENT_ABORT))
    second.event(Event("clock_step", START_US + 190_000, {"seconds": 2}), 220, 77, 0)
    put(root, second)
    put(root, group(221, 240, START_US + DAY_US))
    put(root, group(1, 30, START_US + 20_000, epoch=Epoch("rates", 1, "rates/v2", source="unknown")))

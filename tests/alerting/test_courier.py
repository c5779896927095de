"""Over real HTTP: a receiver that fails in every way gets each notice once it can, and nobody waits for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sidecar.alerting.courier import Courier
from sidecar.alerting.outbox import Rate
from sidecar.alerting.target import parse_target
from sidecar.clock import SystemClock
from tests.alerting.test_outbox import NOTICE
from tests.support.fault_proxy import Fault, FaultProxy, Status
from tests.support.receiver import Receiver


def courier(*urls: str) -> Courier:
    return Courier([parse_target(url) for url in urls], Rate(100, 1.0), SystemClock(), b"k")


@pytest.mark.parametrize(
    "fault", [Status(500), Status(429, headers="Retry-After: 1\r\n"), Fault.RESET_EARLY, Fault.HALF_ANSWER]
)
async def test_what_fails_for_a_while_is_told_afterwards(fault: Fault | Status) -> None:
    with Receiver() as receiver, FaultProxy(receiver.port) as proxy:
        proxy.plan.append(fault)
        sender = courier(f"webhook+{proxy.endpoint}/events")
        sender.offer(NOTICE)
        assert await sender.drain(15.0)
        told = [json.loads(each.body)["notice"] for each in receiver.received]
        assert set(told) == {"ab12-open"}
        (outbox,) = sender.outboxes.values()
        assert (outbox.counts.sent, outbox.counts.failed, outbox.error) == (1, 1, "")


async def test_a_redirect_is_not_followed_and_given_up() -> None:
    with Receiver() as receiver, FaultProxy(receiver.port) as proxy:
        proxy.plan.append(Status(302, headers=f"Location: {receiver.url}\r\n"))
        sender = courier(f"webhook+{proxy.endpoint}/events")
        sender.offer(NOTICE)
        assert await sender.drain(5.0)
        (outbox,) = sender.outboxes.values()
        assert (outbox.counts.refused, len(receiver.received)) == (1, 0)
        assert "redirect" in outbox.error


async def test_a_dead_receiver_holds_up_no_other() -> None:
    with Receiver() as receiver:
        sender = courier("webhook+http://127.0.0.1:9/x", f"webhook+{receiver.url}")
        for number in range(5):
            sender.offer(replace(NOTICE, alarm_id=str(number)))
        assert not await sender.drain(2.0)
        assert len(receiver.received) == 5

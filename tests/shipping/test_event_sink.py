from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.errors import StoreError
from sidecar.shipping.event_sink import EventSink
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import PutResult
from tests.support import stored_sample
from tests.support.batches import batch_file, row
from tests.support.certificates import server_context
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.receiver import Receiver

TWENTY = batch_file([row(number) for number in range(1, 21)])
OPTIONS = StoreOptions(timeout_s=10)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def ids(receiver: Receiver) -> Counter[tuple[str, str]]:
    events = [json.loads(each.body) for each in receiver.received]
    return Counter((event["type"].rpartition(".")[2], event["id"]) for event in events)


EXPECTED = {(side, f"b00t.default.{number}") for number in range(1, 21) for side in ("request", "response")}


def test_every_exchange_of_a_batch_arrives_once(receiver: Receiver) -> None:
    assert EventSink(receiver.url, OPTIONS).put(*TWENTY) is PutResult.CREATED
    assert ids(receiver) == Counter(EXPECTED)
    first = receiver.received[0]
    assert first.headers["content-type"] == "application/cloudevents+json; charset=UTF-8"
    assert json.loads(first.body)["namespace"] == "fraud"


def test_rows_that_are_no_exchanges_are_not_sent(receiver: Receiver) -> None:
    rows = [row(1, kind="genesis"), row(2), row(3, kind="gap"), row(4, kind="close")]
    EventSink(receiver.url, OPTIONS).put(*batch_file(rows))
    assert {key[1] for key in ids(receiver)} == {"b00t.default.2"}


def test_after_a_failure_the_rest_is_sent_and_nothing_is_missing(receiver: Receiver) -> None:
    sink = EventSink(receiver.url, OPTIONS)
    receiver.statuses = [202] * 19 + [500, 429, 202, 503]
    failures = 0
    while True:
        try:
            assert sink.put(*TWENTY) is PutResult.CREATED
            break
        except StoreError as error:
            failures += 1
            assert str(error).startswith(f"store {receiver.url}: answered ")
            assert "inference.re" in str(error)
    assert failures
    assert set(ids(receiver)) == EXPECTED
    # What was taken before the failure was not sent again, but for those under way beside it.
    assert sum(ids(receiver).values()) <= len(EXPECTED) + 7 * failures


def test_after_a_restart_the_whole_batch_is_sent_again_with_the_same_ids(receiver: Receiver) -> None:
    EventSink(receiver.url, OPTIONS).put(*TWENTY)
    EventSink(receiver.url, OPTIONS).put(*TWENTY)
    assert ids(receiver) == Counter(dict.fromkeys(EXPECTED, 2))
    bodies = Counter(each.body for each in receiver.received)
    assert set(bodies.values()) == {2}


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 413, 500, 503])
def test_what_is_not_2xx_is_an_error_that_names_the_event(receiver: Receiver, status: int) -> None:
    receiver.otherwise = status
    with pytest.raises(StoreError, match=f"answered {status} to org.kubeflow.serving.inference.re"):
        EventSink(receiver.url, OPTIONS).put(*TWENTY)
    assert receiver.asked <= 8


def test_nobody_there_is_an_error_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(StoreError, match="connect"):
        EventSink(f"http://127.0.0.1:{port}/", OPTIONS).put(*TWENTY)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.RESET_EARLY, Fault.HALF_ANSWER, Fault.ANSWER_LOST])
def test_a_broken_network_is_an_error_in_time_and_loses_nothing(receiver: Receiver, fault: Fault) -> None:
    with FaultProxy(receiver.port) as proxy:
        sink = EventSink(f"{proxy.endpoint}/events", replace(OPTIONS, timeout_s=1.0))
        proxy.plan.extend([Fault.PASS] * 5 + [fault])
        began = time.monotonic()
        with pytest.raises(StoreError, match="sending is tried again") as caught:
            sink.put(*TWENTY)
        assert time.monotonic() - began < 5
        assert "\n" not in str(caught.value)
        assert sink.put(*TWENTY) is PutResult.CREATED
    assert set(ids(receiver)) == EXPECTED


def test_a_slow_receiver_holds_a_put_no_longer_than_the_time_out_and_gets_everything(
    receiver: Receiver,
) -> None:
    receiver.delay_s = 0.2
    sink = EventSink(receiver.url, replace(OPTIONS, timeout_s=0.5))
    puts, longest = 0, 0.0
    while True:
        began = time.monotonic()
        try:
            puts += 1
            sink.put(*TWENTY)
            break
        except StoreError as error:
            assert "goes on from there" in str(error)
        finally:
            longest = max(longest, time.monotonic() - began)
    assert puts > 1
    assert longest < 2
    assert ids(receiver) == Counter(EXPECTED)


def test_an_object_that_is_no_batch_is_refused(receiver: Receiver) -> None:
    with pytest.raises(
        StoreError, match=r"cannot keep subjects/a.json: encrypt only with a directory or bucket"
    ):
        EventSink(receiver.url, OPTIONS).put("subjects/a.json", b"{}")


def test_a_damaged_batch_is_an_error(receiver: Receiver) -> None:
    name, data = TWENTY
    with pytest.raises(StoreError, match="no Parquet file"):
        EventSink(receiver.url, OPTIONS).put(name, data[: len(data) // 2])


def test_the_token_is_read_anew_for_every_batch_and_never_shown(receiver: Receiver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first-secret\n")
    sink = EventSink(receiver.url, replace(OPTIONS, token_file=str(token)))
    sink.put(*batch_file([row(1)]))
    token.write_text("second-secret\n")
    sink.put(*batch_file([row(2)]))
    sent = [each.headers["authorization"] for each in receiver.received]
    assert sent == ["Bearer first-secret"] * 2 + ["Bearer second-secret"] * 2
    receiver.otherwise = 401
    with pytest.raises(StoreError) as caught:
        sink.put(*batch_file([row(3)]))
    assert "secret" not in str(caught.value)
    token.unlink()
    with pytest.raises(StoreError, match=r"token file .*token: No such file"):
        sink.put(*batch_file([row(3)]))


def test_binary_mode_is_what_kserves_logger_sends(receiver: Receiver) -> None:
    EventSink(receiver.url, replace(OPTIONS, event_mode="binary")).put(*batch_file([row(1)]))
    request, response = sorted(receiver.received, key=lambda each: each.headers["ce-type"])
    assert request.headers["ce-id"] == response.headers["ce-id"] == "b00t.default.1"
    assert request.headers["ce-inferenceservicename"] == "fraud"
    assert request.headers["content-type"] == "application/json"
    assert request.body == b'{"inputs": [[1, 1.50]]}'


def test_a_private_authority_is_trusted_when_it_is_given(tmp_path: Path) -> None:
    authority, context = server_context(tmp_path)
    with Receiver(tls=context) as receiver:
        with pytest.raises(
            StoreError, match="its certificate is not trusted: give its authority with store_ca"
        ):
            EventSink(receiver.url, OPTIONS).put(*TWENTY)
        EventSink(receiver.url, replace(OPTIONS, ca=str(authority))).put(*TWENTY)
        assert ids(receiver) == Counter(EXPECTED)
        (tmp_path / "junk").write_text("junk")
        for name, said in (("none", "No such file"), ("junk", "no certificates")):
            with pytest.raises(StoreError, match=f"store_ca .*{name}: {said}"):
                EventSink(receiver.url, replace(OPTIONS, ca=str(tmp_path / name))).put(*TWENTY)


def test_a_batch_of_the_real_encoder_can_be_sent(receiver: Receiver, tmp_path: Path) -> None:
    """What shipping writes now, whatever its columns are."""
    path = stored_sample.put(tmp_path, stored_sample.group(1, 5, 1_795_600_000_000_000))
    EventSink(receiver.url, OPTIONS).put(path.name, path.read_bytes())
    events = [json.loads(each.body) for each in receiver.received]
    assert len({event["id"] for event in events}) == 5
    assert all(event["inferenceservicename"] and event["source"].startswith("/sidecar/") for event in events)

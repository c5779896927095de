"""What every sink promises, over every sink there is: a directory, real S3, real Azure Blob, an event receiver."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from sidecar.errors import StoreError
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import PutResult, Sink
from sidecar.shipping.stores import sink_for
from tests.support import azurite as azure
from tests.support.azurite import Azurite
from tests.support.batches import batch_file, row
from tests.support.fault_proxy import Fault, FaultProxy, Status
from tests.support.receiver import Receiver
from tests.support.seaweed import ADMINISTRATOR, BUCKET, WRITER, Seaweed

TWO = batch_file([row(1), row(2)])
LARGE = batch_file(
    [row(number, request_body=b'"%s"' % (bytes([65 + number]) * (1 << 20))) for number in range(6)]
)


class Place(Protocol):
    """A store under test, seen from outside."""

    def sink(self) -> Sink:
        """A sink as a freshly started sidecar would make it."""
        ...

    def held(self) -> dict[str, bytes]:
        """What is there, by whatever the store identifies it with."""
        ...

    def away(self) -> None:
        """Make the store refuse or unreachable."""
        ...

    def back(self) -> None: ...

    def expected(self, name: str, data: bytes) -> set[str]:
        """Identities under which the batch's content must be held."""
        ...


class Directory:
    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir()

    def sink(self) -> Sink:
        return sink_for(str(self._root), options=StoreOptions(), create=False)

    def held(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self._root)): path.read_bytes()
            for path in self._root.rglob("*")
            if path.is_file()
        }

    def away(self) -> None:
        self._root.rename(self._root.with_name("elsewhere"))

    def back(self) -> None:
        self._root.with_name("elsewhere").rename(self._root)

    def expected(self, name: str, data: bytes) -> set[str]:
        return {name}


class Bucket:
    """A bucket behind a proxy that can make it answer 503 to everything."""

    def __init__(
        self, url: str, options: StoreOptions, proxy: FaultProxy, held: Callable[[], dict[str, bytes]]
    ) -> None:
        self._url = url
        self._options = options
        self._proxy = proxy
        self.held = held

    def sink(self) -> Sink:
        return sink_for(self._url, options=self._options, create=False)

    def away(self) -> None:
        self._proxy.otherwise = Status(503)

    def back(self) -> None:
        self._proxy.otherwise = Fault.PASS

    def expected(self, name: str, data: bytes) -> set[str]:
        return {name}


class Events:
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def sink(self) -> Sink:
        return sink_for(self._receiver.url, options=StoreOptions(timeout_s=20), create=False)

    def held(self) -> dict[str, bytes]:
        found = {}
        for each in self._receiver.received:
            event = json.loads(each.body)
            found[f"{event['type']} {event['id']}"] = each.body
        return found

    def away(self) -> None:
        self._receiver.otherwise = 503

    def back(self) -> None:
        self._receiver.otherwise = 202

    def expected(self, name: str, data: bytes) -> set[str]:
        count = 2 if (name, data) == TWO else 6
        first = 1 if (name, data) == TWO else 0
        return {
            f"org.kubeflow.serving.inference.{side} b00t.default.{number}"
            for number in range(first, first + count)
            for side in ("request", "response")
        }


@pytest.fixture(params=["directory", "s3", "azure", "events"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with ExitStack() as stack:
        if request.param == "directory":
            yield Directory(tmp_path / "store")
        elif request.param == "events":
            yield Events(stack.enter_context(Receiver()))
        elif request.param == "s3":
            yield _s3(request.getfixturevalue("seaweed"), stack, monkeypatch)
        else:
            yield _azure(request.getfixturevalue("azurite"), stack, monkeypatch)


def _s3(server: Seaweed, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = f"contract/{uuid4().hex}"
    proxy = stack.enter_context(FaultProxy(server.port))
    for name, value in WRITER.environment().items():
        monkeypatch.setenv(name, value)
    options = StoreOptions(endpoint=proxy.endpoint, retries=0, environment=WRITER.environment())

    def held() -> dict[str, bytes]:
        names = [name for name in server.names() if name.startswith(folder)]
        return {name.removeprefix(folder + "/"): server.content(name) for name in names}

    return Bucket(f"s3://{BUCKET}/{folder}", options, proxy, held)


def _azure(server: Azurite, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = f"contract/{uuid4().hex}"
    proxy = stack.enter_context(FaultProxy(server.port))
    environment = {
        "AZURE_STORAGE_ACCOUNT_NAME": azure.ACCOUNT,
        "AZURE_STORAGE_SAS_TOKEN": server.token("cw"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = StoreOptions(endpoint=f"{proxy.endpoint}/{azure.ACCOUNT}", retries=0, environment=environment)

    def held() -> dict[str, bytes]:
        names = [name for name in server.names() if name.startswith(folder)]
        return {name.removeprefix(folder + "/"): server.content(name) for name in names}

    return Bucket(f"az://{azure.CONTAINER}/{folder}", options, proxy, held)


@pytest.mark.parametrize("batch", [TWO, LARGE], ids=["small", "6 MiB"])
def test_what_was_put_is_there_whole_and_alone(place: Place, batch: tuple[str, bytes]) -> None:
    assert place.sink().put(*batch) is PutResult.CREATED
    held = place.held()
    assert set(held) == place.expected(*batch)
    if batch[0] in held:
        assert held[batch[0]] == batch[1]


def test_putting_again_is_success_and_changes_nothing(place: Place) -> None:
    sink = place.sink()
    sink.put(*TWO)
    before = place.held()
    assert sink.put(*TWO) is PutResult.EXISTED
    assert place.held() == before


def test_a_key_object_that_was_erased_from_is_never_brought_back(place: Place) -> None:
    keys = "subjects/c.n.w.p.r.b-L000000000000-000000000001.json"
    if isinstance(place, Events):
        with pytest.raises(StoreError, match="cannot keep"):
            place.sink().put(keys, b"keys of two")
        return
    assert place.sink().put(keys, b"keys of one") is PutResult.CREATED
    assert place.sink().put(keys, b"keys of one and of the erased") is PutResult.EXISTED
    assert place.held()[keys] == b"keys of one"


def test_putting_again_after_a_restart_leaves_the_same(place: Place) -> None:
    place.sink().put(*TWO)
    before = place.held()
    place.sink().put(*TWO)
    assert place.held() == before


@pytest.mark.parametrize(
    "folder",
    [
        "records/model=a%2Fb/digest=sha256-0f/date=2026-11-25",
        "records/model=ünï ~c&d=e+f/digest=__HIVE_DEFAULT_PARTITION__/date=2026-11-25",
    ],
)
def test_names_are_kept_as_they_are(place: Place, folder: str) -> None:
    name, data = batch_file([row(1), row(2)], folder)
    place.sink().put(name, data)
    if data in place.held().values():
        assert set(place.held()) == {name}


def test_a_store_that_is_away_is_an_error_of_one_line_and_takes_the_batch_later(place: Place) -> None:
    sink = place.sink()
    place.away()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            sink.put(*TWO)
        message = str(caught.value)
        assert message.startswith(f"store {sink.description}: ")
        assert message.endswith("tried again")
        assert "\n" not in message
    place.back()
    assert place.held() == {}
    assert sink.put(*TWO) is PutResult.CREATED
    assert set(place.held()) == place.expected(*TWO)


def test_a_sink_made_while_the_store_is_away_works_once_it_is_back(place: Place) -> None:
    place.away()
    sink = place.sink()
    place.back()
    assert sink.put(*TWO) is PutResult.CREATED


def test_no_message_holds_a_secret(place: Place, azure_secret: Callable[[], list[str]]) -> None:
    sink = place.sink()
    place.away()
    with pytest.raises(StoreError) as caught:
        sink.put(*TWO)
    place.back()
    for secret in [WRITER.key, WRITER.secret, ADMINISTRATOR.secret, *azure_secret()]:
        assert secret not in str(caught.value)
        assert secret not in sink.description


@pytest.fixture
def azure_secret() -> Callable[[], list[str]]:
    import os
    from urllib.parse import parse_qs

    def secrets() -> list[str]:
        token = os.environ.get("AZURE_STORAGE_SAS_TOKEN")
        return [token, parse_qs(token)["sig"][0]] if token else []

    return secrets

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError

from sidecar.errors import StoreError
from sidecar.shipping.object_store import ObjectSink
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import PutResult, Sink
from sidecar.shipping.stores import sink_for
from tests.support import azurite as azure
from tests.support.azurite import Azurite
from tests.support.fault_proxy import Fault, FaultProxy, Status
from tests.support.mounts import tmpfs
from tests.support.seaweed import BUCKET, VERSIONED, WRITER, Identity, Seaweed

NAME = "records/model=m/digest=d/date=2026-11-25/c.n.w.p.r.b-L000000000000-000000000001-0f0f.parquet"
DATA = bytes(range(256)) * 4096
"""1 MiB: large enough to be cut midway, small enough for every test."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of this test's own; the process's credentials are the writer's."""
    for name, value in WRITER.environment().items():
        monkeypatch.setenv(name, value)
    return f"sink/{uuid4().hex}"


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.port) as running:
        yield running


def options(proxy: FaultProxy, **changed: float) -> StoreOptions:
    base = StoreOptions(endpoint=proxy.endpoint, timeout_s=20, retries=0, environment=WRITER.environment())
    return replace(base, **changed)  # type: ignore[arg-type]


def sink(proxy: FaultProxy, folder: str, **changed: float) -> ObjectSink:
    made = sink_for(f"s3://{BUCKET}/{folder}", options=options(proxy, **changed), create=False)
    assert isinstance(made, ObjectSink)
    return made


def test_an_object_is_one_put_and_nothing_else_is_asked(
    seaweed: Seaweed, proxy: FaultProxy, folder: str
) -> None:
    put = sink(proxy, folder).put
    assert put(NAME, b"x" * (17 << 20)) is PutResult.CREATED
    assert put(NAME, b"x" * (17 << 20)) is PutResult.EXISTED
    assert proxy.methods() == ["PUT", "PUT"]
    assert all("uploads" not in request.target for request in proxy.seen)
    assert all(request.headers["if-none-match"] == "*" for request in proxy.seen)


def test_the_writer_may_put_and_nothing_else(seaweed: Seaweed, folder: str) -> None:
    store = seaweed.client(WRITER)
    name = f"{folder}/{NAME}"
    obstore.put(store, name, DATA, mode="create", use_multipart=False)
    for act in (
        lambda: obstore.get(store, name),
        lambda: obstore.head(store, name),
        lambda: obstore.delete(store, name),
        lambda: list(obstore.list(store)),
        lambda: obstore.copy(store, name, name + "2"),
    ):
        with pytest.raises((PermissionDeniedError, GenericError), match=r"AccessDenied|403"):
            act()
    assert seaweed.content(name) == DATA


def test_another_content_under_a_name_does_not_replace_the_first(
    seaweed: Seaweed, proxy: FaultProxy, folder: str
) -> None:
    assert sink(proxy, folder).put(NAME, b"first") is PutResult.CREATED
    assert sink(proxy, folder).put(NAME, b"second") is PutResult.EXISTED
    assert seaweed.content(f"{folder}/{NAME}") == b"first"


def test_in_a_versioned_bucket_not_even_a_plain_put_of_the_writer_loses_the_first_content(
    seaweed: Seaweed, folder: str
) -> None:
    seaweed.keep_versions()
    store, name = seaweed.client(WRITER, VERSIONED), f"{folder}/{NAME}"
    first = obstore.put(store, name, b"first", mode="create", use_multipart=False)
    obstore.put(store, name, b"second", use_multipart=False)
    kept = obstore.get(seaweed.client(bucket=VERSIONED), name, options={"version": str(first["version"])})
    assert bytes(kept.bytes()) == b"first"
    with pytest.raises((PermissionDeniedError, GenericError), match=r"AccessDenied|403"):
        obstore.delete(store, name)


def test_of_many_sinks_one_creates(seaweed: Seaweed, proxy: FaultProxy, folder: str) -> None:
    results: list[PutResult] = []
    start = threading.Barrier(8)

    def put(sink_of_one: ObjectSink) -> None:
        start.wait()
        results.append(sink_of_one.put(NAME, DATA))

    threads = [threading.Thread(target=put, args=(sink(proxy, folder),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.value for result in results) == ["created", *["existed"] * 7]


@pytest.mark.parametrize("lost", [Fault.ANSWER_LOST, Fault.ANSWER_500, Fault.HALF_ANSWER])
def test_a_put_whose_answer_was_lost_is_found_to_have_happened(
    seaweed: Seaweed, proxy: FaultProxy, folder: str, lost: Fault
) -> None:
    one = sink(proxy, folder)
    proxy.plan.append(lost)
    with pytest.raises(StoreError):
        one.put(NAME, DATA)
    assert one.put(NAME, DATA) is PutResult.EXISTED
    assert seaweed.content(f"{folder}/{NAME}") == DATA


def test_the_few_retries_of_one_call_settle_what_is_short(
    seaweed: Seaweed, proxy: FaultProxy, folder: str
) -> None:
    proxy.plan += [Status(503), Fault.ANSWER_500]
    assert sink(proxy, folder, retries=2).put(NAME, DATA) is PutResult.EXISTED
    assert seaweed.content(f"{folder}/{NAME}") == DATA


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Status(500), "it answered 500"),
        (Status(503, b"<Error><Code>SlowDown</Code></Error>"), "503 SlowDown: it asks for fewer requests"),
        (Status(429), "it answered 429: it asks for fewer requests"),
        (Status(507), "it answered 507: give the store more space"),
        (Status(301, b"<Error><Code>PermanentRedirect</Code></Error>"), "set the bucket's region"),
        (Status(403, b"<Error><Code>ExpiredToken</Code></Error>"), "403 ExpiredToken: renew the credentials"),
        (Status(404, b"<Error><Code>NoSuchBucket</Code></Error>"), "create the bucket or correct its name"),
        (Status(200), "not that of an object store"),
        (Fault.RESET_EARLY, "connection reset by peer"),
        (Fault.RESET_MIDWAY, "connection reset by peer"),
        (Fault.HANG, "no answer in time"),
        (Fault.SLOW_ANSWER, "no answer in time"),
        (Fault.HALF_ANSWER, ""),
        (Fault.FLIPPED_BIT, "it answered 400"),
    ],
    ids=lambda value: str(getattr(value, "code", getattr(value, "name", ""))),
)
def test_a_failing_store_is_a_store_error_in_time_and_takes_the_object_later(
    seaweed: Seaweed, proxy: FaultProxy, folder: str, fault: Fault | Status, said: str
) -> None:
    one = sink(proxy, folder, timeout_s=1.5)
    proxy.plan.append(fault)
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        one.put(NAME, DATA)
    assert time.monotonic() - began < 6
    message = str(caught.value)
    assert message.startswith(f"store s3://{BUCKET}/{folder}: ")
    assert said in message
    assert "\n" not in message
    for secret in (WRITER.key, WRITER.secret, "Signature", "<"):
        assert secret not in message
    assert one.put(NAME, DATA) in (PutResult.CREATED, PutResult.EXISTED)
    assert seaweed.content(f"{folder}/{NAME}") == DATA


def test_a_store_that_stays_broken_is_tried_a_few_times_and_no_more(proxy: FaultProxy, folder: str) -> None:
    proxy.otherwise = Status(503)
    began = time.monotonic()
    with pytest.raises(StoreError, match="503"):
        sink(proxy, folder, retries=2).put(NAME, DATA)
    assert proxy.methods() == ["PUT"] * 3
    assert time.monotonic() - began < 10


def test_a_store_that_does_not_know_conditions_gets_plain_puts_and_one_warning(
    seaweed: Seaweed, proxy: FaultProxy, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = sink(proxy, folder)
    proxy.plan.append(Status(501, b"<Error><Code>NotImplemented</Code></Error>"))
    with caplog.at_level(logging.WARNING):
        assert one.put(NAME, DATA) is PutResult.CREATED
        assert one.put(NAME + "2", DATA) is PutResult.CREATED
    assert [("if-none-match" in request.headers) for request in proxy.seen] == [True, False, False]
    assert len(caplog.records) == 1
    assert "does not know conditional requests" in caplog.text
    assert seaweed.content(f"{folder}/{NAME}") == DATA


def test_a_store_that_does_not_know_conditions_gets_no_key_objects(proxy: FaultProxy, folder: str) -> None:
    one = sink(proxy, folder)
    proxy.plan.append(Status(501, b"<Error><Code>NotImplemented</Code></Error>"))
    with pytest.raises(StoreError, match="could bring back erased keys"):
        one.put("subjects/x-L000000000000-000000000001.json", DATA)
    assert ["if-none-match" in request.headers for request in proxy.seen] == [True]


@pytest.mark.parametrize(
    ("scheme", "body"),
    [
        ("az", b"<Error><Code>UnauthorizedBlobOverwrite</Code><Message>not authorized</Message></Error>"),
        (
            "gs",
            b"<Error><Code>AccessDenied</Code><Details>writer@x does not have storage.objects.delete access to "
            b"the Google Cloud Storage object.</Details></Error>",
        ),
    ],
)
def test_an_identity_that_may_only_create_is_told_of_an_object_that_exists(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, scheme: str, body: bytes
) -> None:
    environment = {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_SAS_TOKEN": "sp=c&sig=c2VjcmV0",
        "GOOGLE_BEARER_TOKEN": "a-token",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy.otherwise = Status(403, body)
    one = sink_for(
        f"{scheme}://bucket/folder",
        options=StoreOptions(endpoint=proxy.endpoint, retries=0, environment=environment),
        create=False,
    )
    assert one.put(NAME, DATA) is PutResult.EXISTED
    proxy.otherwise = Status(403, b"<Error><Code>AuthorizationPermissionMismatch</Code></Error>")
    with pytest.raises(StoreError, match=r"grant the rights that docs/stores\.md names"):
        one.put(NAME, DATA)


def test_google_is_asked_not_to_replace(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"GOOGLE_BEARER_TOKEN": "a-secret-token"}
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "a-secret-token")
    made = StoreOptions(endpoint=proxy.endpoint, retries=0, environment=environment)
    one = sink_for("gs://bucket/folder", options=made, create=False)
    proxy.plan.append(Status(200, headers='ETag: "0f"\r\n'))
    assert one.put(NAME, DATA) is PutResult.CREATED
    assert proxy.seen[0].method == "PUT"
    assert proxy.seen[0].headers["x-goog-if-generation-match"] == "0"
    proxy.plan.append(Status(412))
    assert one.put(NAME, DATA) is PutResult.EXISTED


def test_an_azure_token_that_may_only_create_cannot_replace_list_read_or_delete(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        "AZURE_STORAGE_ACCOUNT_NAME": azure.ACCOUNT,
        "AZURE_STORAGE_SAS_TOKEN": azurite.token("c"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = f"create/{uuid4().hex}"
    made = StoreOptions(endpoint=azurite.endpoint, retries=0, environment=environment)
    one = sink_for(f"az://{azure.CONTAINER}/{folder}", options=made, create=False)
    assert one.put(NAME, DATA) is PutResult.CREATED
    store = obstore.store.AzureStore(
        azure.CONTAINER, endpoint=azurite.endpoint, client_options={"allow_http": True}
    )
    name = f"{folder}/{NAME}"
    for act in (
        lambda: obstore.put(store, name, b"other", use_multipart=False),
        lambda: obstore.get(store, name),
        lambda: obstore.delete(store, name),
        lambda: list(obstore.list(store)),
    ):
        with pytest.raises(BaseError, match="403"):
            act()
    assert azurite.content(name) == DATA


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (Identity("nobody-key", "a-secret-of-nobody"), "403 InvalidAccessKeyId: check the access key"),
        (Identity(WRITER.key, "a-wrong-secret"), "403 SignatureDoesNotMatch: check the secret key"),
    ],
)
def test_wrong_keys_are_told_apart_and_not_shown(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, identity: Identity, said: str
) -> None:
    for name, value in identity.environment().items():
        monkeypatch.setenv(name, value)
    made = StoreOptions(endpoint=seaweed.endpoint, environment=identity.environment())
    with pytest.raises(StoreError, match=said) as caught:
        sink_for(f"s3://{BUCKET}/x", options=made, create=False).put(NAME, DATA)
    assert identity.key not in str(caught.value)
    assert identity.secret not in str(caught.value)


def test_a_refused_connection_and_an_unknown_host_are_told_apart(folder: str) -> None:
    environment = WRITER.environment()
    made = StoreOptions(endpoint="http://127.0.0.1:1", retries=0, environment=environment)
    with pytest.raises(StoreError, match="refused: check its address, and HTTPS_PROXY if there is one; "):
        sink_for("s3://bucket", options=made, create=False).put(NAME, DATA)
    made = StoreOptions(endpoint="http://store.invalid", retries=0, environment=environment)
    with pytest.raises(StoreError, match="its name cannot be resolved"):
        sink_for("s3://bucket", options=made, create=False).put(NAME, DATA)


def test_a_port_without_tls_is_told_from_an_untrusted_one(seaweed: Seaweed, folder: str) -> None:
    environment = WRITER.environment()
    made = StoreOptions(endpoint=f"https://127.0.0.1:{seaweed.port}", retries=0, environment=environment)
    with pytest.raises(StoreError, match="does not speak TLS: correct the port, or write http://"):
        sink_for("s3://bucket", options=made, create=False).put(NAME, DATA)


def test_a_bucket_in_an_environment_without_proxy_variables_is_reached_through_one_with_them(
    seaweed: Seaweed, proxy: FaultProxy, folder: str
) -> None:
    """HTTP_PROXY is honoured: requests arrive at the proxy in absolute form."""
    script = (
        "import os; from sidecar.shipping.stores import sink_for; from sidecar.shipping.options import StoreOptions;"
        "o = StoreOptions(endpoint='http://store.test', retries=0, timeout_s=5, environment=os.environ);"
        f"sink_for('s3://{BUCKET}/{folder}', options=o, create=False).put('a', b'x')"
    )
    environment = {**WRITER.environment(), "HTTP_PROXY": proxy.endpoint, "PATH": "/usr/bin:/bin"}
    proxy.otherwise = Status(200, headers='ETag: "0f"\r\n')
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert proxy.seen[0].target == f"http://store.test/{BUCKET}/{folder}/a"


def test_the_library_is_loaded_with_the_first_put_to_a_bucket_and_never_for_a_directory(
    tmp_path: Path,
) -> None:
    script = (
        "import sys\n"
        "from sidecar.shipping.stores import sink_for\n"
        "from sidecar.shipping.options import StoreOptions\n"
        f"sink_for({str(tmp_path)!r}, options=StoreOptions(), create=True).put('a', b'x')\n"
        "sink_for('s3://bucket/x', options=StoreOptions(), create=True)\n"
        "sink_for('http://host/x', options=StoreOptions(), create=True)\n"
        "sys.exit(any(name in sys.modules for name in ('obstore', 'aiohttp', 'arro3')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def put_until_refused(sink: Sink, objects: dict[str, bytes]) -> tuple[int, str]:
    """How many were taken before the first failure, and what that said."""
    for taken, (name, data) in enumerate(objects.items()):
        try:
            sink.put(name, data)
        except StoreError as error:
            return taken, str(error)
    return len(objects), ""


@pytest.mark.faults
def test_a_server_killed_midway_through_uploads_has_every_object_whole_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WRITER.environment().items():
        monkeypatch.setenv(name, value)
    server = Seaweed(tmp_path / "weed")
    try:
        server.start()
        made = StoreOptions(
            endpoint=server.endpoint, retries=0, timeout_s=10, environment=WRITER.environment()
        )
        one = sink_for(f"s3://{BUCKET}/kills", options=made, create=False)
        objects = {f"{number:04d}-{'0f' * 8}": bytes([number]) * (4 << 20) for number in range(24)}
        killer = threading.Timer(0.15, server.kill)
        killer.start()
        taken, refused = put_until_refused(one, objects)
        killer.join()
        assert refused, "the server must go while objects are put"
        server.start()
        # What was acknowledged before the kill is there, and the rest goes in as if nothing had been.
        for name in list(objects)[:taken]:
            assert one.put(name, objects[name]) is PutResult.EXISTED
        for name, data in objects.items():
            one.put(name, data)
        for name, data in objects.items():
            assert server.content(f"kills/{name}") == data
    finally:
        server.kill()


@pytest.mark.faults
@pytest.mark.root
def test_a_full_store_refuses_and_takes_the_rest_once_it_has_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WRITER.environment().items():
        monkeypatch.setenv(name, value)
    with tmpfs(tmp_path / "disk", "96m") as disk:
        server = Seaweed(tmp_path / "weed", data=disk)
        try:
            server.start()
            made = StoreOptions(
                endpoint=server.endpoint, retries=0, timeout_s=10, environment=WRITER.environment()
            )
            one = sink_for(f"s3://{BUCKET}/full", options=made, create=False)
            objects = {f"{number:04d}": bytes([number]) * (4 << 20) for number in range(40)}
            taken, refused = put_until_refused(one, objects)
            assert refused.endswith("tried again")
            assert 0 < taken < len(objects)
            subprocess.run(["mount", "-o", "remount,size=512m", str(disk)], check=True)
            deadline = time.monotonic() + 90
            while True:
                try:
                    for name, data in objects.items():
                        one.put(name, data)
                    break
                except StoreError:
                    assert time.monotonic() < deadline
                    time.sleep(1)
            for name, data in objects.items():
                assert server.content(f"full/{name}") == data
        finally:
            server.kill()

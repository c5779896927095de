from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from sidecar.errors import StoreError
from sidecar.shipping.credentials import find, require
from sidecar.shipping.location import Kind
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import PutResult
from sidecar.shipping.stores import sink_for
from tests.support.certificates import server_context
from tests.support.clouds import ROLE, TOKEN, AmazonCredentials
from tests.support.fault_proxy import FaultProxy, Status
from tests.support.seaweed import BUCKET, WRITER, Seaweed

FOUND = [
    (Kind.S3, {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}, "environment"),
    (Kind.S3, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "arn"}, "web identity"),
    (Kind.S3, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x"}, "container"),
    (Kind.S3, {"AWS_SHARED_CREDENTIALS_FILE": "/f", "AWS_PROFILE": "p"}, "profile p"),
    (Kind.S3, {"AWS_SKIP_SIGNATURE": "true"}, "anonymous"),
    (Kind.S3, {"AWS_ACCESS_KEY_ID": "k"}, "instance metadata"),
    (Kind.S3, {}, "instance metadata"),
    (Kind.GCS, {"GOOGLE_APPLICATION_CREDENTIALS": "/f"}, "GOOGLE_APPLICATION_CREDENTIALS"),
    (Kind.GCS, {}, "metadata server"),
    (Kind.AZURE, {"AZURE_FEDERATED_TOKEN_FILE": "/t"}, "AZURE_FEDERATED_TOKEN_FILE"),
    (Kind.AZURE, {"AZURE_STORAGE_SAS_TOKEN": "t"}, "AZURE_STORAGE_SAS_TOKEN"),
    (Kind.AZURE, {}, "managed identity"),
]


@pytest.mark.parametrize(("kind", "environment", "source"), FOUND)
def test_the_first_of_the_platforms_sources_is_found(
    kind: Kind, environment: Mapping[str, str], source: str, tmp_path: Path
) -> None:
    assert find(kind, {"HOME": str(tmp_path), **environment}).source == source


def test_the_default_files_of_the_home_folder_are_found(tmp_path: Path) -> None:
    for name in (".aws/credentials", ".config/gcloud/application_default_credentials.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    assert find(Kind.S3, {"HOME": str(tmp_path)}).source == "profile default"
    assert find(Kind.GCS, {"HOME": str(tmp_path)}).source == "gcloud's default credentials"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are neither taken nor refused, as where no route leads."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            waiting.append(client)
        yield server.getsockname()[1]
        for client in waiting:
            client.close()


@pytest.mark.parametrize(
    ("kind", "variable", "named"),
    [
        (Kind.S3, "AWS_METADATA_ENDPOINT", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (Kind.AZURE, "AZURE_MSI_ENDPOINT", "AZURE_FEDERATED_TOKEN_FILE"),
    ],
)
def test_without_credentials_and_metadata_service_a_clear_error_comes_soon(
    kind: Kind, variable: str, named: str, tmp_path: Path, silent_port: int
) -> None:
    for address in ("http://127.0.0.1:1", f"http://127.0.0.1:{silent_port}"):
        began = time.monotonic()
        with pytest.raises(StoreError) as caught:
            require(find(kind, {"HOME": str(tmp_path), variable: address}), "s3://bucket", 5)
        assert time.monotonic() - began < 4
        message = str(caught.value)
        assert message.startswith("store s3://bucket: no credentials: set ")
        assert named in message
        assert message.endswith(
            f"metadata service at {address.removeprefix('http://')} does not answer either"
        )


def test_google_without_credentials_and_metadata_server_is_told(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "GCE_METADATA_HOST": "127.0.0.1:1"}
    with pytest.raises(StoreError, match="no credentials: set GOOGLE_APPLICATION_CREDENTIALS"):
        require(find(Kind.GCS, environment), "gs://bucket", 5)


def test_a_forbidden_metadata_service_is_not_asked(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.raises(StoreError, match="no credentials: set AWS_ACCESS_KEY_ID") as caught:
        require(find(Kind.S3, environment), "s3://bucket", 5)
    assert "metadata service" not in str(caught.value)


Variables = Callable[[AmazonCredentials, Path], dict[str, str]]


def _environment(cloud: AmazonCredentials, folder: Path) -> dict[str, str]:
    return WRITER.environment()


def _file(cloud: AmazonCredentials, folder: Path) -> dict[str, str]:
    path = folder / "credentials"
    path.write_text(
        f"[other]\naws_access_key_id = no\naws_secret_access_key = no\n\n[recorder]\n"
        f"aws_access_key_id = {WRITER.key}\naws_secret_access_key = {WRITER.secret}\n"
    )
    return {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_PROFILE": "recorder"}


def _container(cloud: AmazonCredentials, folder: Path) -> dict[str, str]:
    token = folder / "token"
    token.write_text(TOKEN)
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/v2/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }


def _instance(cloud: AmazonCredentials, folder: Path) -> dict[str, str]:
    return {"AWS_METADATA_ENDPOINT": cloud.url}


@pytest.mark.parametrize("variables", [_environment, _file, _container, _instance])
def test_an_object_is_put_with_the_credentials_of_each_source(
    variables: Variables, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = uuid4().hex
    with AmazonCredentials(WRITER) as cloud:
        environment = variables(cloud, tmp_path)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        made = StoreOptions(
            endpoint=seaweed.endpoint, retries=0, environment={"HOME": str(tmp_path), **environment}
        )
        sink = sink_for(f"s3://{BUCKET}/credentials", options=made, create=False)
        assert sink.put(name, b"data") is PutResult.CREATED
    assert seaweed.content(f"credentials/{name}") == b"data"


def test_an_object_is_put_as_the_role_of_a_web_identity(
    seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IRSA: the pod's token is exchanged at STS, which is only spoken to over TLS."""
    name, token = uuid4().hex, tmp_path / "token"
    token.write_text(TOKEN)
    authority, context = server_context(tmp_path)
    with AmazonCredentials(WRITER, context) as cloud:
        environment = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ROLE_ARN": f"arn:aws:iam::1:role/{ROLE}",
            "AWS_ENDPOINT_URL_STS": cloud.url,
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        made = StoreOptions(endpoint=seaweed.endpoint, ca=str(authority), retries=0, environment=environment)
        sink = sink_for(f"s3://{BUCKET}/credentials", options=made, create=False)
        assert sink.put(name, b"data") is PutResult.CREATED
        token.write_text("another-token")
        other = sink_for(f"s3://{BUCKET}/credentials", options=made, create=False)
        with pytest.raises(StoreError, match="the service that gives its credentials answered 404") as caught:
            other.put(name, b"data")
        assert "another-token" not in str(caught.value)
    assert seaweed.content(f"credentials/{name}") == b"data"


def token_server(proxy: FaultProxy) -> None:
    body = b'{"access_token": "a-token-9c2e", "token_type": "Bearer", "expires_in": 3600}'
    proxy.otherwise = Status(200, body, "Content-Type: application/json\r\n")


def test_googles_metadata_server_gives_the_token_of_the_pods_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(0) as metadata, FaultProxy(0, Status(200, headers='ETag: "0f"\r\n')) as store:
        token_server(metadata)
        host = metadata.endpoint.removeprefix("http://")
        monkeypatch.setenv("GCE_METADATA_HOST", host)
        environment = {"HOME": str(tmp_path), "GCE_METADATA_HOST": host}
        monkeypatch.setenv("HOME", str(tmp_path))
        made = StoreOptions(endpoint=store.endpoint, retries=0, environment=environment)
        assert sink_for("gs://bucket/x", options=made, create=False).put("a", b"data") is PutResult.CREATED
        assert metadata.seen[-1].headers["metadata-flavor"] == "Google"
        assert store.seen[0].headers["authorization"] == "Bearer a-token-9c2e"


def test_azures_workload_identity_exchanges_the_pods_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    authority, context = server_context(tmp_path)
    answer = Status(201, headers='ETag: "0f"\r\nLast-Modified: Wed, 25 Nov 2026 02:00:00 GMT\r\n')
    with FaultProxy(0, tls=context) as entra, FaultProxy(0, answer) as store:
        token_server(entra)
        environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
            "AZURE_CLIENT_ID": "a-client",
            "AZURE_TENANT_ID": "a-tenant",
            "AZURE_AUTHORITY_HOST": entra.endpoint,
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        made = StoreOptions(endpoint=store.endpoint, ca=str(authority), retries=0, environment=environment)
        assert sink_for("az://container/x", options=made, create=False).put("a", b"data") is PutResult.CREATED
        assert entra.seen[0].target == "/a-tenant/oauth2/v2.0/token"
        assert store.seen[0].headers["authorization"] == "Bearer a-token-9c2e"


def test_a_metadata_service_that_knows_no_role_is_told_as_missing_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seaweed: Seaweed
) -> None:
    with FaultProxy(0, otherwise=Status(404)) as nobody:
        environment = {"HOME": str(tmp_path), "AWS_METADATA_ENDPOINT": nobody.endpoint}
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", nobody.endpoint)
        made = StoreOptions(endpoint=seaweed.endpoint, retries=0, environment=environment)
        with pytest.raises(StoreError, match="no credentials: none in the environment"):
            sink_for("s3://bucket", options=made, create=False).put("a", b"data")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[default]\naws_access_key_id = a-key-4411\n",
        "no section = a-key-4411\n",
        "[other]\nx = a-key-4411\n",
    ],
)
def test_a_credentials_file_without_the_profiles_keys_is_told_without_its_content(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "credentials"
    path.write_text(text)
    made = StoreOptions(environment={"AWS_SHARED_CREDENTIALS_FILE": str(path)})
    with pytest.raises(
        StoreError, match="no aws_access_key_id and aws_secret_access_key in profile default"
    ) as caught:
        sink_for("s3://bucket", options=made, create=False).put("a", b"data")
    assert "4411" not in str(caught.value)


def test_a_credentials_file_that_is_not_there_yet_is_waited_for(tmp_path: Path, seaweed: Seaweed) -> None:
    path = tmp_path / "late"
    made = StoreOptions(endpoint=seaweed.endpoint, environment={"AWS_SHARED_CREDENTIALS_FILE": str(path)})
    sink = sink_for(f"s3://{BUCKET}/credentials", options=made, create=False)
    name = uuid4().hex
    with pytest.raises(StoreError, match=r"late: No such file"):
        sink.put(name, b"data")
    path.write_text(f"[default]\naws_access_key_id={WRITER.key}\naws_secret_access_key={WRITER.secret}\n")
    assert sink.put(name, b"data") is PutResult.CREATED


def test_a_private_authority_is_trusted_when_it_is_given(
    tmp_path: Path, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in WRITER.environment().items():
        monkeypatch.setenv(key, value)
    authority, context = server_context(tmp_path)
    name = uuid4().hex
    with FaultProxy(seaweed.port, tls=context) as proxy:

        def put(ca: str | None) -> PutResult:
            made = StoreOptions(endpoint=proxy.endpoint, ca=ca, retries=0, environment=WRITER.environment())
            return sink_for(f"s3://{BUCKET}/tls", options=made, create=False).put(name, b"data")

        with pytest.raises(
            StoreError, match="its certificate is not trusted: give its authority with store_ca"
        ):
            put(None)
        with pytest.raises(StoreError, match=r"store_ca .*none.pem: No such file"):
            put(str(tmp_path / "none.pem"))
        (tmp_path / "junk.pem").write_text("junk")
        with pytest.raises(
            StoreError, match=r"store_ca .*junk.pem: no certificates: give a readable PEM file"
        ):
            put(str(tmp_path / "junk.pem"))
        assert put(str(authority)) is PutResult.CREATED
    assert seaweed.content(f"tls/{name}") == b"data"

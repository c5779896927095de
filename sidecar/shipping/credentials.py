"""Which credentials a bucket will be written with, told before the first request.

obstore looks for credentials by itself and, where it finds none, asks the
cloud's instance metadata address: off that cloud the answer to that is a long
wait. So the same chain is walked here over the environment given, and when
only the metadata service is left, it must accept a connection first. Keys in
AWS's shared credentials file, which obstore does not read, are read here.
"""

from __future__ import annotations

import configparser
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.errors import StoreError
from sidecar.shipping.location import Kind

if TYPE_CHECKING:
    from obstore.store import S3Credential

PROBE_S = 2.0
_TRUE = {"1", "true", "yes", "on", "y", "t"}

_VARIABLES = {
    Kind.S3: (
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, "
        "AWS_CONTAINER_CREDENTIALS_FULL_URI, or a shared credentials file"
    ),
    Kind.GCS: "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
    Kind.AZURE: (
        "AZURE_FEDERATED_TOKEN_FILE with AZURE_CLIENT_ID and AZURE_TENANT_ID, AZURE_STORAGE_ACCOUNT_KEY, "
        "AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_SECRET with AZURE_CLIENT_ID and AZURE_TENANT_ID"
    ),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Where credentials will come from."""

    kind: Kind
    source: str
    provider: Callable[[], S3Credential] | None = None
    metadata: tuple[str, int] | None = None
    """Host and port of the metadata service, when nothing else is left."""
    forbidden: bool = False
    """The environment forbids asking it."""


def find(kind: Kind, environment: Mapping[str, str]) -> Found:
    """The first source of the platform's chain that the environment configures."""
    return {Kind.S3: _aws, Kind.GCS: _google, Kind.AZURE: _azure}[kind](environment)


def require(found: Found, store: str, patience_s: float = PROBE_S) -> None:
    """Raises StoreError, within `patience_s`, when there can be no credentials."""
    if found.provider is not None:
        try:
            found.provider()
        except StoreError as error:
            raise StoreError(f"store {store}: {error}") from error
    if found.metadata is None:
        return
    missing = f"store {store}: no credentials: set {_VARIABLES[found.kind]}"
    if found.forbidden:
        raise StoreError(missing)
    host, port = found.metadata
    try:
        socket.create_connection(found.metadata, timeout=min(patience_s, PROBE_S)).close()
    except OSError as error:
        raise StoreError(
            f"{missing}; the platform's metadata service at {host}:{port} does not answer either"
        ) from error


def _aws(environment: Mapping[str, str]) -> Found:
    given = environment.get
    if _yes(given("AWS_SKIP_SIGNATURE")):
        return Found(Kind.S3, "anonymous")
    if given("AWS_ACCESS_KEY_ID") and given("AWS_SECRET_ACCESS_KEY"):
        return Found(Kind.S3, "environment")
    if given("AWS_WEB_IDENTITY_TOKEN_FILE") and given("AWS_ROLE_ARN"):
        return Found(Kind.S3, "web identity")
    if given("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or given("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return Found(Kind.S3, "container")
    file = given("AWS_SHARED_CREDENTIALS_FILE") or str(Path(given("HOME") or "/") / ".aws/credentials")
    if given("AWS_SHARED_CREDENTIALS_FILE") or Path(file).is_file():
        profile = given("AWS_PROFILE") or "default"
        return Found(Kind.S3, f"profile {profile}", provider=SharedFile(Path(file), profile))
    return Found(
        Kind.S3,
        "instance metadata",
        metadata=_address(given("AWS_METADATA_ENDPOINT") or "http://169.254.169.254"),
        forbidden=_yes(given("AWS_EC2_METADATA_DISABLED")),
    )


def _google(environment: Mapping[str, str]) -> Found:
    given = environment.get
    if _yes(given("GOOGLE_SKIP_SIGNATURE")):
        return Found(Kind.GCS, "anonymous")
    for name in (
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):
        if given(name):
            return Found(Kind.GCS, name)
    if (Path(given("HOME") or "/") / ".config/gcloud/application_default_credentials.json").is_file():
        return Found(Kind.GCS, "gcloud's default credentials")
    host = given("GCE_METADATA_HOST") or given("GCE_METADATA_ROOT") or "metadata.google.internal"
    return Found(
        Kind.GCS,
        "metadata server",
        metadata=_address(f"http://{host}"),
        forbidden=_yes(given("NO_GCE_CHECK")),
    )


def _azure(environment: Mapping[str, str]) -> Found:
    given = environment.get
    if _yes(given("AZURE_SKIP_SIGNATURE")):
        return Found(Kind.AZURE, "anonymous")
    if _yes(given("AZURE_STORAGE_USE_EMULATOR")):
        return Found(Kind.AZURE, "emulator")
    for name in (
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_CLIENT_SECRET",
        "AZURE_STORAGE_CLIENT_SECRET",
    ):
        if given(name):
            return Found(Kind.AZURE, name)
    if _yes(given("AZURE_USE_AZURE_CLI")):
        return Found(Kind.AZURE, "Azure CLI")
    endpoint = given("AZURE_MSI_ENDPOINT") or given("AZURE_IDENTITY_ENDPOINT") or "http://169.254.169.254"
    return Found(Kind.AZURE, "managed identity", metadata=_address(endpoint))


def _yes(value: str | None) -> bool:
    return (value or "").strip().lower() in _TRUE


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "169.254.169.254", parts.port or (443 if parts.scheme == "https" else 80)


class SharedFile:
    """Keys of one profile, read again now and then, so that a file that was replaced counts."""

    def __init__(self, path: Path, profile: str) -> None:
        self._path = path
        self._profile = profile

    def __call__(self) -> S3Credential:
        from datetime import UTC, datetime, timedelta

        parser = configparser.RawConfigParser()
        try:
            with self._path.open() as file:
                parser.read_file(file)
            section = parser[self._profile]
            key, secret = section["aws_access_key_id"], section["aws_secret_access_key"]
        except OSError as error:
            raise StoreError(f"credentials file {self._path}: {error.strerror}") from error
        except (configparser.Error, KeyError, UnicodeDecodeError):
            # Without its cause, whose text may quote a line of the file.
            raise StoreError(
                f"credentials file {self._path}: no aws_access_key_id and aws_secret_access_key "
                f"in profile {self._profile}"
            ) from None
        return {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": section.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + timedelta(minutes=10),
        }

"""A client for a bucket or container, made with obstore.

obstore is imported when a bucket is first needed: a store in a directory must
not pay for it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sidecar.errors import StoreError
from sidecar.shipping import credentials
from sidecar.shipping.failures import reason
from sidecar.shipping.location import Kind, Location
from sidecar.shipping.options import StoreOptions

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Bucket: TypeAlias = S3Store | GCSStore | AzureStore


def connect(location: Location, options: StoreOptions) -> Bucket:
    """A client; nothing is sent yet. Raises StoreError for what can be seen to be wrong beforehand."""
    environment = options.environment
    found = credentials.find(location.kind, environment) if environment is not None else None
    if found is not None:
        credentials.require(found, location.text, options.connect_timeout_s)
    try:
        return _build(location, options, found)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"store {location.text}: {reason(error)}") from error


def _build(location: Location, options: StoreOptions, found: credentials.Found | None) -> Bucket:
    from obstore.store import AzureStore, GCSStore, S3Store

    client, retry = _client(location, options), _retry(options)
    prefix = location.path or None
    if location.kind is Kind.S3:
        return S3Store(
            location.bucket,
            prefix=prefix,
            config={
                **({"endpoint": options.endpoint} if options.endpoint else {}),
                **({"region": options.region} if options.region else {}),
                # The store checks what arrived against it and keeps it beside the object.
                "checksum_algorithm": "SHA256",
            },
            client_options=client,
            retry_config=retry,
            credential_provider=found.provider if found else None,
        )
    if location.kind is Kind.GCS:
        return GCSStore(
            location.bucket,
            prefix=prefix,
            config={"base_url": options.endpoint} if options.endpoint else {},
            client_options=client,
            retry_config=retry,
        )
    return AzureStore(
        location.bucket,
        prefix=prefix,
        config={
            **({"endpoint": options.endpoint} if options.endpoint else {}),
            **({"account_name": location.account} if location.account else {}),
        },
        client_options=client,
        retry_config=retry,
    )


def _client(location: Location, options: StoreOptions) -> ClientConfig:
    config: ClientConfig = {
        "connect_timeout": timedelta(seconds=options.connect_timeout_s),
        "timeout": timedelta(seconds=options.timeout_s),
        "allow_http": _plain(location, options),
        "user_agent": "sidecar",
    }
    if options.ca:
        config["root_certificate"] = _authorities(location, options.ca)
    return config


def _authorities(location: Location, path: str) -> bytes:
    """The PEM file's bytes, once OpenSSL has found certificates in them."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        return Path(path).read_bytes()
    except OSError as error:
        # An SSLError is an OSError without a word of the system's.
        said = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificates"
        raise StoreError(
            f"store {location.text}: store_ca {path}: {said}: give a readable PEM file"
        ) from error


def _plain(location: Location, options: StoreOptions) -> bool:
    """Whether the endpoint was given as http://, which obstore otherwise refuses."""
    names = {
        Kind.S3: ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        Kind.GCS: ("GOOGLE_BASE_URL",),
        Kind.AZURE: ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    }[location.kind]
    environment = options.environment or {}
    endpoint = options.endpoint or next((environment[name] for name in names if environment.get(name)), "")
    return endpoint.lower().startswith("http://")


def _retry(options: StoreOptions) -> RetryConfig:
    return {
        "max_retries": options.retries,
        "retry_timeout": timedelta(seconds=options.retry_s),
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }

"""A bucket or container through obstore, and its errors in words that may be shown.

obstore is imported when a bucket is first needed: a store in a directory must
not pay for it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sidecar.errors import StoreError
from sidecar.shipping import credentials
from sidecar.shipping.location import Kind, Location
from sidecar.shipping.options import StoreOptions

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Bucket: TypeAlias = S3Store | GCSStore | AzureStore

_HTTP_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>|\(code: ([A-Za-z]{1,60})\)")
_SYSTEM = re.compile(r'message: "([A-Za-z ]{1,80})"')
_METADATA = re.compile(r"169\.254\.16|metadata\.google|/latest/api/token|/metadata/identity")

_REMEDIES = {
    "AccessDenied": "grant it to put objects there, see docs/stores.md",
    "AuthorizationFailure": "grant it to put objects there, see docs/stores.md",
    "AuthorizationPermissionMismatch": "grant it to put objects there, see docs/stores.md",
    "AuthenticationFailed": "check the account's key or token, and this machine's clock",
    "InvalidAccessKeyId": "check the access key",
    "SignatureDoesNotMatch": "check the secret key, and that no proxy rewrites requests",
    "ExpiredToken": "renew the credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "NoSuchBucket": "create the bucket or correct its name",
    "ContainerNotFound": "create the container or correct its name",
    "PermanentRedirect": "set the bucket's region",
    "AuthorizationHeaderMalformed": "set the bucket's region",
    "SlowDown": "it asks for fewer requests; larger batches help",
}
_STATUS_REMEDIES = {
    "301": "set the bucket's region",
    "401": "check the credentials",
    "403": "check the credentials and what they may do, see docs/stores.md",
    "404": "create the bucket or correct its name",
    "407": "give the proxy's user name and password in its address",
    "413": "make batches smaller",
    "429": "it asks for fewer requests; larger batches help",
    "507": "give the store more space",
}


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
        try:
            config["root_certificate"] = Path(options.ca).read_bytes()
        except OSError as error:
            raise StoreError(
                f"store {location.text}: store_ca {options.ca}: {error.strerror}: give a readable PEM file"
            ) from error
    return config


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


def reason(error: BaseException) -> str:
    """What went wrong and the remedy.

    Built from the status, the store's error code and the system's words alone:
    the whole text may hold signed URLs, keys and what the store echoes.
    """
    text = str(error)
    if _METADATA.search(text):
        return "no credentials: none in the environment, and the platform's metadata service gave none"
    status = _HTTP_STATUS.search(text)
    code = _CODE.search(text)
    if status is not None:
        name = (code[1] or code[2]) if code else ""
        remedy = _REMEDIES.get(name) or _STATUS_REMEDIES.get(status[1], "")
        said = f"it answered {status[1]}" + (f" {name}" if name else "")
        return f"{said}: {remedy}" if remedy else said
    if code is not None:
        name = code[1] or code[2]
        return f"it answered {name}" + (f": {_REMEDIES[name]}" if name in _REMEDIES else "")
    return _transport(text)


def _transport(text: str) -> str:
    low = text.lower()
    if "timedout" in low or "timed out" in low or "timeout" in low.partition("retry_timeout")[0]:
        return "no answer in time: check the network, or give store_timeout more"
    if "certificate" in low or "unknownissuer" in low:
        return "its certificate is not trusted: give its authority with store_ca"
    if "dns error" in low or "failed to lookup" in low:
        return "its name cannot be resolved: check the address and the DNS"
    if "account must be specified" in low:
        return "no storage account: set AZURE_STORAGE_ACCOUNT_NAME or write abfs://CONTAINER@ACCOUNT.dfs.core.windows.net"
    if "credential" in low:
        return "its credentials cannot be read: see docs/stores.md for the variables and files"
    if "incompletemessage" in low:
        return "it closed the connection before it answered"
    system = _SYSTEM.search(text)
    if system is not None:
        return system[1].lower()
    return "the request could not be sent"

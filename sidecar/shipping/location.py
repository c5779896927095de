"""Where a store is: its URL taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import SplitResult, unquote, urlsplit

_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "http": "events",
    "https": "events",
    "file": "directory",
    "": "directory",
}

_BUCKET_HOSTS = {
    ".amazonaws.com": "s3://BUCKET/FOLDER",
    "storage.googleapis.com": "gs://BUCKET/FOLDER",
    ".blob.core.windows.net": "az://CONTAINER/FOLDER",
    ".dfs.core.windows.net": "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER",
}


class Kind(Enum):
    """What stands behind a URL."""

    DIRECTORY = "directory"
    S3 = "s3"
    GCS = "gs"
    AZURE = "az"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Location:
    """A store's place. `text` is what the user wrote and is safe to show."""

    kind: Kind
    text: str
    bucket: str = ""
    """Bucket or container; empty for directories and event receivers."""
    path: str = ""
    """Folder inside the bucket without slashes at its ends, or the directory's path."""
    account: str = ""
    """Azure storage account, when the URL names it."""


def locate(text: str) -> Location:
    """The store that a path or URL means. Raises ValueError with words that follow the offending text."""
    if "://" not in text:
        if not text or "\0" in text:
            raise ValueError("is no path")
        return Location(Kind.DIRECTORY, text, path=text)
    parts = urlsplit(text)
    known = _SCHEMES.get(parts.scheme.lower())
    if known is None:
        raise ValueError(
            f"has the scheme {parts.scheme!r}: write a directory, s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, "
            "az://CONTAINER/FOLDER, or http(s)://HOST/PATH for CloudEvents"
        )
    kind = Kind(known)
    if kind is Kind.DIRECTORY:
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ValueError("names another machine: write file:///PATH or the path alone")
        return Location(kind, text, path=unquote(parts.path))
    if parts.query or parts.fragment:
        raise ValueError("has a query: addresses are shown, secrets come from the environment and files")
    if kind is Kind.EVENTS:
        return _receiver(text, parts)
    bucket, at, host = parts.netloc.partition("@")
    if at and (parts.scheme.lower() not in ("abfs", "abfss") or ":" in bucket):
        raise ValueError("carries a user name or key: credentials come from the environment and files")
    if not bucket:
        raise ValueError("names no bucket: write the bucket after ://")
    folder = unquote(parts.path).strip("/")
    if folder and any(part in ("", ".", "..") for part in folder.split("/")):
        raise ValueError("has an empty part, . or .. in its folder")
    return Location(kind, text, bucket, folder, account=host.partition(".")[0])


def shown(text: str) -> str:
    """A text for a message that says it is wrong; what may be a secret in an address is left out."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.partition("://")[0] + "://…"
    host = parts.netloc.rpartition("@")[2]
    user = "…@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{user}{host}{parts.path}" + ("?…" if parts.query else "")


def _receiver(text: str, parts: SplitResult) -> Location:
    if parts.username is not None or parts.password is not None:
        raise ValueError("carries a user name or password: addresses are shown, give a token in a file")
    if not parts.hostname:
        raise ValueError("names no host: write http://HOST:PORT/PATH")
    try:
        parts.port  # noqa: B018 - raises when it is no port
    except ValueError:
        raise ValueError("has no port from 0 to 65535 after its colon") from None
    for ending, scheme in _BUCKET_HOSTS.items():
        if parts.hostname.endswith(ending):
            raise ValueError(f"is a bucket's web address: write {scheme}, or the address that takes events")
    return Location(Kind.EVENTS, text)

"""Where a store is: its URL taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote, urlsplit

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
            "az://CONTAINER/FOLDER, or http(s)://… for CloudEvents"
        )
    kind = Kind(known)
    if kind is Kind.DIRECTORY:
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ValueError("names another machine: write file:///PATH or the path alone")
        return Location(kind, text, path=unquote(parts.path))
    if kind is Kind.EVENTS:
        return Location(kind, text)
    bucket, at, host = parts.netloc.partition("@")
    if at and parts.scheme.lower() not in ("abfs", "abfss"):
        raise ValueError(
            "carries a user name or key: credentials come from the environment, see docs/stores.md"
        )
    if not bucket:
        raise ValueError("names no bucket: write the bucket after ://")
    if parts.query or parts.fragment:
        raise ValueError(
            "has a query: write the bucket and folder only, credentials come from the environment"
        )
    folder = unquote(parts.path).strip("/")
    if any(part in ("", ".", "..") for part in folder.split("/")) and folder:
        raise ValueError("has an empty part, . or .. in its folder")
    return Location(kind, text, bucket, folder, account=host.partition(".")[0])

from __future__ import annotations

import re

import pytest

from sidecar.errors import ConfigError
from sidecar.settings_values import parse_store
from sidecar.shipping.location import Kind, Location, locate, shown
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.stores import sink_for


@pytest.mark.parametrize(
    ("text", "kind", "bucket", "path", "account"),
    [
        ("records", Kind.DIRECTORY, "", "records", ""),
        ("/var/lib/records with space", Kind.DIRECTORY, "", "/var/lib/records with space", ""),
        ("file:///var/lib/a%20store", Kind.DIRECTORY, "", "/var/lib/a store", ""),
        ("s3://evidence", Kind.S3, "evidence", "", ""),
        ("s3://evidence/", Kind.S3, "evidence", "", ""),
        ("s3a://evidence/eu/west/", Kind.S3, "evidence", "eu/west", ""),
        ("S3://evidence/x", Kind.S3, "evidence", "x", ""),
        ("gs://evidence/x", Kind.GCS, "evidence", "x", ""),
        ("az://evidence/x", Kind.AZURE, "evidence", "x", ""),
        ("abfs://evidence/x", Kind.AZURE, "evidence", "x", ""),
        ("abfss://evidence@bank.dfs.core.windows.net/x", Kind.AZURE, "evidence", "x", "bank"),
        ("http://receiver.ns.svc:8080/events", Kind.EVENTS, "", "", ""),
        ("https://receiver", Kind.EVENTS, "", "", ""),
    ],
)
def test_an_address_means(text: str, kind: Kind, bucket: str, path: str, account: str) -> None:
    assert locate(text) == Location(kind, text, bucket, path, account)


WRONG = {
    "": "is no path",
    "a\0b": "is no path",
    "ftp://host/x": "has the scheme 'ftp': write a directory, s3://BUCKET/FOLDER",
    "s3:///x": "names no bucket",
    "s3://": "names no bucket",
    "s3://key:very-secret@bucket": "carries a user name or key",
    "s3://key@bucket": "carries a user name or key",
    "abfs://container:very-secret@account.dfs.core.windows.net": "carries a user name or key",
    "s3://bucket/a/../b": "has an empty part, . or ..",
    "s3://bucket/a//b": "has an empty part, . or ..",
    "az://container/x?sig=very-secret": "has a query",
    "https://host/x?code=very-secret": "has a query",
    "https://user:very-secret@host/x": "carries a user name or password",
    "http://": "names no host",
    "http://host:99999/": "has no port from 0 to 65535",
    "https://bucket.s3.eu-west-1.amazonaws.com/x": "write s3://BUCKET/FOLDER",
    "https://storage.googleapis.com/bucket": "write gs://BUCKET/FOLDER",
    "https://account.blob.core.windows.net/container": "write az://CONTAINER/FOLDER",
    "file://host/x": "names another machine",
    "file://": "names another machine",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_what_is_no_address_is_told_without_repeating_it(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        locate(text)
    assert "very-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="store: ") as told:
        sink_for(text, options=StoreOptions(), create=False)
    assert "very-secret" not in str(told.value)


def test_a_setting_keeps_urls_and_turns_file_urls_into_paths() -> None:
    assert parse_store("records") == "records"
    assert parse_store("s3://evidence/x") == "s3://evidence/x"
    with pytest.raises(ValueError, match="has the scheme"):
        parse_store("ftp://x")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("body:$.[=drop", "body:$.[=drop"),
        ("./records", "./records"),
        ("s3://key:secret@bucket/x?sig=abc", "s3://…@bucket/x?…"),
        ("http://[::1", "http://…"),
    ],
)
def test_a_wrong_text_is_shown_without_its_secrets(text: str, seen: str) -> None:
    assert shown(text) == seen

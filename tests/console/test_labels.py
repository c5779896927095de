"""`POST /api/v1/labels`: what is acknowledged is durable; what is wrong is one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.console import labels
from sidecar.label_desk import LabelDesk
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.label_queue import LabelQueue

DESK = web.AppKey("desk", LabelDesk)
ONE = b'{"record_id": "b.r.1", "label": 1}'


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    desk = LabelDesk(tmp_path, lambda: DirectorySink(tmp_path / "store"), 60)
    app = web.Application()
    app[DESK] = desk
    app.router.add_post(labels.PATH, labels.handler(desk.take))
    async with TestClient(TestServer(app)) as found:
        yield found


async def post(client: Any, body: bytes, kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    answer = await client.post(labels.PATH, data=body, headers={"Content-Type": kind})
    return answer.status, await answer.json()


async def test_labels_are_kept_before_they_are_acknowledged(client: Any) -> None:
    assert await post(client, ONE) == (202, {"taken": 1, "repeated": 0})
    assert await post(client, ONE + b"\n" + ONE.replace(b"r.1", b"r.2"), "application/x-ndjson") == (
        202,
        {"taken": 1, "repeated": 1},
    )
    assert client.app[DESK].counts()["waiting"] == 2


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "is no JSON"),
        (b'{"label": 1}', "application/json", 400, "names no record"),
        (ONE, "text/plain", 415, "send application/json"),
        (b" " * (labels.MOST_BYTES + 1), "application/json", 413, "more than 4 MiB"),
    ],
)
async def test_what_is_wrong_is_one_line(
    client: Any, body: bytes, kind: str, status: int, words: str
) -> None:
    found, answer = await post(client, body, kind)
    assert found == status
    assert words in answer["error"]
    assert "\n" not in answer["error"]


async def test_too_many_waiting_labels_are_refused_until_the_store_takes_some(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.shipping.label_queue.MAX_WAITING", 1)
    assert (await post(client, ONE))[0] == 202
    status, answer = await post(client, ONE.replace(b"r.1", b"r.2"))
    assert status == 503
    assert "wait for the store" in answer["error"]


async def test_a_store_that_only_receives_events_takes_no_labels(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_post(labels.PATH, labels.handler(LabelDesk(tmp_path, None, 60).take))
    async with TestClient(TestServer(app)) as client:
        status, answer = await post(client, ONE)
    assert status == 501
    assert "keeps no labels" in answer["error"]


def test_the_folder_cannot_be_used_is_said_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("in the way")
    with pytest.raises(Exception, match="move this one aside"):
        LabelQueue.open(tmp_path / "labels")

"""What the tests of the cluster share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.kube_api import KubeApi


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[KubeApi]:
    """A scripted API server over TLS on loopback."""
    async with KubeApi(tmp_path) as server:
        yield server

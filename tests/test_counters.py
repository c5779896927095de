from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sidecar.counters import Counters, find_all
from sidecar.errors import JournalError


def test_a_full_disk_leaves_no_half_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(JournalError, match="No space left"):
        Counters.create(tmp_path, "20261123T231500-9f3c2a71b0", ["default"])
    assert find_all(tmp_path) == []

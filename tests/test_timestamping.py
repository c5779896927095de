from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from sidecar.timestamping import roots


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_root_that_the_library_frowns_upon_is_read_without_a_word(tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=Old root"]
    command += ["-set_serial", "0", "-keyout", str(tmp_path / "key.pem"), "-out", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(roots(root)) == 1

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

import pytest

from sidecar.errors import Damaged, PrivacyError
from sidecar.privacy.key_file import parse_secret
from sidecar.privacy.master import LocalMasterKey, MasterKey, read_master_key

KEY = bytes(range(200, 232))


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().upper().encode() + b"\n",
        base64.b64encode(KEY) + b"\n",
        base64.urlsafe_b64encode(KEY),
    ],
)
def test_a_key_file_may_be_raw_hex_or_base64(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o400)
    assert read_master_key(path).id == LocalMasterKey(KEY).id


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"password",
        KEY[:31],
        KEY.hex().encode()[:62],
        b"0123456789abcdef0123456789abcdef",
        base64.b64encode(KEY + b"x"),
    ],
)
def test_what_is_no_key_of_32_bytes_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(PrivacyError, match=r"^master key k: is no key of 32 bytes: .*openssl rand") as raised:
        parse_secret(content, "master key k")
    assert not content or repr(content)[2:-1] not in str(raised.value)


@pytest.mark.parametrize(("mode", "accepted"), [(0o400, True), (0o600, True), (0o440, True), (0o444, False), (0o620, False), (0o604, False)])  # fmt: skip
def test_a_key_file_that_others_may_read_is_refused(mode: int, accepted: bool, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(mode)
    if accepted:
        assert read_master_key(path).id
    else:
        with pytest.raises(PrivacyError, match=f"mode 0{mode:o} lets others .* chmod 0400"):
            read_master_key(path)


def test_a_missing_key_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="No such file or directory: give the path"):
        read_master_key(tmp_path / "none")


def test_a_wrapped_key_opens_only_in_its_context() -> None:
    master: MasterKey = LocalMasterKey(KEY)
    data_key = os.urandom(32)
    wrapped = master.wrap(data_key, b"id")
    assert master.unwrap(wrapped, b"id") == data_key
    assert master.wrap(data_key, b"id") != wrapped
    for broken, context in ((wrapped, b"other"), (wrapped[:-1], b"id"), (b"", b"id"), (wrapped[:12], b"id")):
        with pytest.raises(Damaged):
            master.unwrap(broken, context)


def test_tags_differ_by_subject_and_by_master_key() -> None:
    first, second = LocalMasterKey(KEY), LocalMasterKey(b"x" * 32)
    assert first.tag("ann") == LocalMasterKey(KEY).tag("ann")
    assert len({first.tag("ann"), first.tag("bob"), second.tag("ann")}) == 3
    assert first.id != second.id


def test_the_tag_is_the_documented_one() -> None:
    """HKDF by hand (RFC 5869): one block of expansion is all that 32 bytes take."""
    extracted = hmac.new(bytes(32), KEY, hashlib.sha256).digest()
    index = hmac.new(extracted, b"sidecar subject index\x01", hashlib.sha256).digest()
    assert LocalMasterKey(KEY).tag("zoë") == hmac.new(index, "zoë".encode(), hashlib.sha256).digest()

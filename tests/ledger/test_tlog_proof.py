from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import SigningKey
from sidecar.ledger.tlog_proof import TlogProof
from sidecar.ledger.tree import EMPTY_ROOT

KEY = SigningKey("log.example", bytes(32))
NOTE = Checkpoint("log.example", 5, EMPTY_ROOT).signed(KEY)
HASH = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
TEXT = f"c2sp.org/tlog-proof@v1\nindex 3\n{HASH}\n{HASH}\n\n{NOTE.format()}"

hashes = st.binary(min_size=32, max_size=32)


def test_the_text_is_the_one_of_the_specification() -> None:
    assert TlogProof(3, (EMPTY_ROOT, EMPTY_ROOT), NOTE).format() == TEXT
    assert TlogProof.parse(TEXT) == TlogProof(3, (EMPTY_ROOT, EMPTY_ROOT), NOTE)


def test_extra_data_stand_before_the_index() -> None:
    proof = TlogProof(0, (), NOTE, b"more")
    assert proof.format() == f"c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 0\n\n{NOTE.format()}"
    assert TlogProof.parse(proof.format()) == proof


@given(st.integers(0, 2**63 - 1), st.lists(hashes, max_size=63), st.none() | st.binary())
def test_what_is_written_is_read_again(index: int, path: list[bytes], extra: bytes | None) -> None:
    proof = TlogProof(index, tuple(path), NOTE, extra)
    assert TlogProof.parse(proof.format()) == proof


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"), ("index 3", "index 03"), ("index 3", "index -3"), ("index 3", "index  3"), ("index 3\n", ""),
        ("index 3", f"index {2**63}"), ("index 3", "index 3\nindex 3"), ("index 3", "extra bW9yZR==\nindex 3"),
        ("index 3", "index 3\nextra AA=="), ("index 3", "index 3\nAAAA"), ("index 3", f"index 3\n{HASH[:-2]}V="),
        ("index 3", "index 3\r"), ("index 3", "index 3\n" + "\n".join([HASH] * 62)), (f"\n\n{NOTE.format()}", ""),
        ("\n\nlog", "\nlog"), ("index 3", "index ٣"), (NOTE.signatures[0].line(), ""),
    ],
)  # fmt: skip
def test_malformed_proofs_are_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(LedgerError, match=r"^(proof|note)"):
        TlogProof.parse(TEXT.replace(old, new))


def test_an_oversized_proof_is_refused() -> None:
    with pytest.raises(LedgerError, match="longer than"):
        TlogProof.parse(TEXT + "x" * (1 << 22))

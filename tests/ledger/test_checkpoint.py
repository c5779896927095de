from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import Note, SigningKey
from sidecar.ledger.tree import EMPTY_ROOT

ORIGIN = "prod.default.mortgage.0a1b.default.b1"
KEY = SigningKey(ORIGIN, bytes(32))
CHECKPOINT = Checkpoint(ORIGIN, 5, EMPTY_ROOT)
ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_text_is_origin_size_and_root() -> None:
    assert CHECKPOINT.text() == f"{ORIGIN}\n5\n{ROOT}\n"


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_read_again(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root)
    note = checkpoint.signed(KEY).format()
    assert Checkpoint.open(note, [KEY.verifier], ORIGIN) == checkpoint
    assert Checkpoint.parse(checkpoint.text()).text() == checkpoint.text()


def test_the_example_of_the_specification_is_read() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = Checkpoint.parse(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == text


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", f"{ORIGIN}\n5\n{ROOT}", f"{ORIGIN}\n5\n", f"{ORIGIN}\n\n{ROOT}\n", f"\n5\n{ROOT}\n",
        f"{ORIGIN}\n05\n{ROOT}\n", f"{ORIGIN}\n00\n{ROOT}\n", f"{ORIGIN}\n+5\n{ROOT}\n", f"{ORIGIN}\n-5\n{ROOT}\n",
        f"{ORIGIN}\n 5\n{ROOT}\n", f"{ORIGIN}\n5_0\n{ROOT}\n", f"{ORIGIN}\n٥\n{ROOT}\n", f"{ORIGIN}\n5.0\n{ROOT}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT}\n", f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n", f"{ORIGIN}\n5\n{ROOT[:-1]}\n",
        f"{ORIGIN}\n5\n{ROOT[:-2]}V=\n", f"{ORIGIN}\n5\n{ROOT}=\n", f"{ORIGIN}\n5\n{ROOT} \n",
        f"{ORIGIN}\n5\n{ROOT.replace('+', '-')}\n", f"{ORIGIN}\n5\nAAAA\n", f"{ORIGIN}\n5\n{ROOT}\nextension\n",
        f"{ORIGIN}\n5\n{ROOT}\n\n", f"a b\n5\n{ROOT}\n",
    ],
)  # fmt: skip
def test_malformed_texts_are_refused(text: str) -> None:
    with pytest.raises(LedgerError, match=r"^(checkpoint|key name)"):
        Checkpoint.parse(text)


def test_unused_bits_of_base64_are_refused() -> None:
    with pytest.raises(LedgerError, match="not canonical base64"):
        Checkpoint.parse(f"{ORIGIN}\n5\n{ROOT[:-2]}V=\n")


def test_another_logs_checkpoint_is_refused() -> None:
    with pytest.raises(LedgerError, match=r"of the log prod\..*, not other"):
        Checkpoint.open(CHECKPOINT.signed(KEY), [KEY.verifier], "other")
    with pytest.raises(LedgerError, match="sign with the log's own"):
        CHECKPOINT.signed(KEY.named("other"))
    # The text names one log, the valid signature is in the name of another.
    other = KEY.named("other")
    with pytest.raises(LedgerError, match="no trusted key has the log's name"):
        Checkpoint.open(other.sign(CHECKPOINT.text()), [other.verifier])


def test_a_changed_or_unsigned_checkpoint_is_refused() -> None:
    note = CHECKPOINT.signed(KEY)
    with pytest.raises(LedgerError, match="is not valid: the text was changed"):
        Checkpoint.open(Note(Checkpoint(ORIGIN, 6, EMPTY_ROOT).text(), note.signatures), [KEY.verifier])
    with pytest.raises(LedgerError, match="no signature of a trusted key"):
        Checkpoint.open(note, [SigningKey(ORIGIN, bytes([7] * 32)).verifier])

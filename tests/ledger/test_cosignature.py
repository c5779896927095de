from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sidecar.errors import LedgerError
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.cosignature import CosignerKey, cosign, parse_verifier
from sidecar.ledger.note import Note, Signature, SigningKey, Verifier, VerifierKey
from sidecar.ledger.tree import EMPTY_ROOT

LOG = SigningKey("log.example", bytes(32))
WITNESS = SigningKey("witness.example/w1", bytes([1] * 32))
COSIGNER = CosignerKey.of(WITNESS.verifier)
NOTE = Checkpoint("log.example", 7, EMPTY_ROOT).signed(LOG)
TIME_S = 1_679_315_147

# A checkpoint that a witness of another maker cosigned: the example of c2sp.org/tlog-cosignature. Its
# public key is not published, so that only its form and time are looked at.
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""


def test_the_signed_message_is_the_one_of_the_specification() -> None:
    line = cosign(WITNESS, NOTE, TIME_S).signatures[-1]
    message = b"cosignature/v1\ntime 1679315147\n" + NOTE.text.encode()
    assert line.signature[:8] == struct.pack(">Q", TIME_S)
    assert line.signature[8:] == Ed25519PrivateKey.from_private_bytes(WITNESS.seed).sign(message)
    assert line.name == "witness.example/w1"


def test_the_example_of_the_specification_has_our_form() -> None:
    note = Note.parse(EXAMPLE)
    assert note.format() == EXAMPLE
    assert Checkpoint.parse(note.text).size == 20_852_163
    assert [len(each.signature) for each in note.signatures] == [64, 72]
    assert struct.unpack(">Q", note.signatures[1].signature[:8])[0] == TIME_S


def test_a_cosigned_checkpoint_verifies_by_both_and_says_when() -> None:
    note = Note.parse(cosign(WITNESS, NOTE, TIME_S).format())
    assert COSIGNER.cosigned_at(note) == TIME_S
    keys: list[Verifier] = [LOG.verifier, COSIGNER]
    assert note.verified_by(keys) == keys
    assert Checkpoint.open(note, [LOG.verifier]).size == 7


def test_a_witness_has_one_cosignature_on_a_checkpoint() -> None:
    note = cosign(WITNESS, cosign(WITNESS, NOTE, TIME_S), TIME_S + 1)
    assert len(note.signatures) == 2
    assert COSIGNER.cosigned_at(note) == TIME_S + 1


def test_a_plain_signature_is_no_cosignature_nor_the_other_way() -> None:
    assert COSIGNER.key_id != WITNESS.verifier.key_id
    signed = NOTE.with_signature(WITNESS.signature(NOTE.text))
    with pytest.raises(LedgerError, match="no signature of a trusted key"):
        COSIGNER.cosigned_at(signed)
    with pytest.raises(LedgerError, match="no signature of a trusted key"):
        WITNESS.verifier.verify(cosign(WITNESS, NOTE, TIME_S))
    relabelled = WITNESS.signature(NOTE.text).signature
    with pytest.raises(LedgerError, match="is not valid"):
        COSIGNER.cosigned_at(
            NOTE.with_signature(Signature(COSIGNER.name, COSIGNER.key_id, bytes(8) + relabelled))
        )


def test_every_flipped_bit_of_a_cosignature_is_noticed() -> None:
    signature = cosign(WITNESS, NOTE, TIME_S).signatures[-1].signature
    for bit in range(len(signature) * 8):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not COSIGNER.is_valid(NOTE.text, bytes(flipped))
    assert not COSIGNER.is_valid(NOTE.text, signature + b"\0")
    for count in range(len(signature)):
        assert not COSIGNER.is_valid(NOTE.text, signature[:count])
    assert COSIGNER.is_valid(NOTE.text, signature)


def test_only_checkpoints_are_cosigned_and_only_at_real_times() -> None:
    with pytest.raises(LedgerError, match="not the three lines"):
        cosign(WITNESS, LOG.sign("no checkpoint\n"), TIME_S)
    for time_s in (-1, 2**63):
        with pytest.raises(LedgerError, match="is no time"):
            cosign(WITNESS, NOTE, time_s)


def test_times_that_no_clock_shows_are_refused() -> None:
    time_s = 2**63
    message = f"cosignature/v1\ntime {time_s}\n{NOTE.text}".encode()
    assert not COSIGNER.is_valid(NOTE.text, struct.pack(">Q", time_s) + WITNESS.sign_bytes(message))


def test_public_keys_of_both_types_are_read() -> None:
    assert parse_verifier(f"{COSIGNER}\n") == COSIGNER
    assert parse_verifier(str(WITNESS.verifier)) == WITNESS.verifier
    assert isinstance(parse_verifier(str(WITNESS.verifier)), VerifierKey)
    with pytest.raises(LedgerError, match="type 1"):
        VerifierKey.parse(str(COSIGNER))
    for text in ("", "a+b+c", str(COSIGNER)[:-4], str(COSIGNER).replace("w1", "w2")):
        with pytest.raises(LedgerError):
            parse_verifier(text)


def test_a_public_key_of_a_witness_of_another_maker_is_read() -> None:
    # From the tests of github.com/transparency-dev/formats.
    text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    key = CosignerKey.parse(text)
    assert (key.name, key.key_id.hex()) == ("remora.n621.de", "da77ade7")

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger.note import MAX_NOTE_BYTES, Note, Signature, SigningKey, VerifierKey

# RFC 8032, section 7.1, tests 1 to 3: seed, public key.
RFC8032 = [
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
]  # fmt: skip

# From the documentation and tests of golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""

KEY = SigningKey("log.example", bytes(32))
OTHER = SigningKey("witness.example", bytes([1] * 32))
NOTE = KEY.sign("first\n\nthird\n")


@pytest.mark.parametrize(("seed", "public"), RFC8032)
def test_public_keys_of_rfc_8032(seed: str, public: str) -> None:
    assert SigningKey("k", bytes.fromhex(seed)).verifier.public_key.hex() == public


def test_a_note_signed_by_the_first_implementation_verifies() -> None:
    key = VerifierKey.parse(GO_KEY)
    note = Note.parse(GO_NOTE)
    assert note.verified_by([key]) == [key]
    assert note.format() == GO_NOTE
    assert str(key) == GO_KEY


def test_the_key_id_is_of_name_newline_type_and_key() -> None:
    key = KEY.verifier
    assert key.key_id == hashlib.sha256(b"log.example\n\x01" + key.public_key).digest()[:4]
    encoded = base64.b64encode(b"\x01" + key.public_key).decode()
    assert str(key) == f"log.example+{key.key_id.hex()}+{encoded}"


@given(st.binary(min_size=32, max_size=32), st.text("abc.~_é/", min_size=1))
def test_keys_survive_their_text_forms(seed: bytes, name: str) -> None:
    key = SigningKey(name, seed)
    assert SigningKey.parse(key.private_text() + "\n") == key
    assert VerifierKey.parse(f" {key.verifier}\n") == key.verifier


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])).map(lambda text: text + "x\n"))
def test_a_signed_text_comes_back_and_verifies(text: str) -> None:
    note = Note.parse(KEY.sign(text).format().encode())
    assert note.text == text
    KEY.verifier.verify(note)


def test_a_text_may_hold_blank_lines_and_even_signature_lines() -> None:
    text = NOTE.format() + "\n" + "more\n"
    note = Note.parse(OTHER.sign(text).format())
    assert note.text == text
    assert note.verified_by([KEY.verifier, OTHER.verifier]) == [OTHER.verifier]


def test_every_flipped_bit_of_a_note_is_noticed() -> None:
    whole = NOTE.format().encode()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(LedgerError):
            KEY.verifier.verify(Note.parse(bytes(flipped)))


def test_every_flipped_bit_of_a_public_key_is_noticed() -> None:
    whole = str(KEY.verifier).encode()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(LedgerError):
            VerifierKey.parse(flipped.decode("latin-1"))


@pytest.mark.parametrize(
    "text",
    [
        "", "text\n", "text", "\n\n— a AAAAAAA=\n", "t\n\n— a AAAAAAA=", "t\n\n",
        "t\n— a AAAAAAA=\n", "t\n\n- a AAAAAAA=\n", "t\n\n—a AAAAAAA=\n", "t\n\n— aAAAAAAA=\n", "t\n\n— a\n",
        "t\n\n—  AAAAAAA=\n", "t\n\n— a+b AAAAAAA=\n", "t\n\n— a\u2003b AAAAAAA=\n", "t\n\n— a AAAAAA==\n",
        "t\n\n— a AAAAAAA\n", "t\n\n— a AAAAAAB=\n", "t\n\n— a AAAAA AA=\n", "t\n\n— a AAAAAAA= \n",
        "t\n\n— a AAAAAAA=\n— a AAAAAAA=\n", "t\n\n— a AAAAAAA=\n— a AAAAABA=\n", "t\r\n\n— a AAAAAAA=\n",
        "t\n\n— a AAAAAAA=\r\n", "t\t\n\n— a AAAAAAA=\n", "t\0\n\n— a AAAAAAA=\n", "\ud800\n\n— a AAAAAAA=\n",
        "t\n\n— a AAAAAAA=\nmore\n", "t\n\n— a AAAA-_A=\n", "t\n\n— a ＡAAAAAA=\n",
    ],
)  # fmt: skip
def test_malformed_notes_are_refused(text: str) -> None:
    with pytest.raises(LedgerError, match=r"^(note|key name)"):
        Note.parse(text)


def test_malformed_bytes_and_oversize_are_refused() -> None:
    with pytest.raises(LedgerError, match="not UTF-8"):
        Note.parse(b"\xff\n\n\xe2\x80\x94 a AAAAAAA=\n")
    with pytest.raises(LedgerError, match="longer"):
        Note.parse("x" * MAX_NOTE_BYTES + NOTE.format())
    with pytest.raises(LedgerError, match="more than 100"):
        Note.parse("t\n\n" + "".join(f"— k{number} AAAAAAA=\n" for number in range(101)))
    assert len(Note.parse("t\n\n" + "".join(f"— k{n} AAAAAAA=\n" for n in range(100))).signatures) == 100


def test_an_unknown_signature_means_nothing_and_a_wrong_one_spoils_the_note() -> None:
    both = NOTE.with_signature(OTHER.signature(NOTE.text))
    assert both.verified_by([KEY.verifier]) == [KEY.verifier]
    assert both.verified_by([OTHER.verifier, KEY.verifier]) == [OTHER.verifier, KEY.verifier]
    forged = NOTE.with_signature(Signature(OTHER.name, OTHER.verifier.key_id, bytes(64)))
    assert forged.verified_by([KEY.verifier]) == [KEY.verifier]
    with pytest.raises(LedgerError, match=r"witness\.example is not valid"):
        forged.verified_by([KEY.verifier, OTHER.verifier])
    with pytest.raises(LedgerError, match=r"no signature of a trusted key, only of log\.example"):
        NOTE.verified_by([OTHER.verifier])


def test_a_key_of_the_same_name_is_another_key() -> None:
    with pytest.raises(LedgerError, match="no signature of a trusted key"):
        OTHER.named(KEY.name).verifier.verify(NOTE)


def test_a_new_signature_of_a_key_takes_the_place_of_its_old_one() -> None:
    again = NOTE.with_signature(OTHER.signature(NOTE.text)).with_signature(KEY.signature(NOTE.text))
    assert [each.name for each in again.signatures] == ["witness.example", "log.example"]


@pytest.mark.parametrize("text", ["", "no newline", "\n", "tab\t\n", "nul\0\n", "return\r\n"])
def test_texts_that_no_note_can_hold_are_not_signed(text: str) -> None:
    with pytest.raises(LedgerError, match="must end in a newline"):
        KEY.sign(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "\ud800"])
def test_names_that_no_key_can_have_are_refused(name: str) -> None:
    with pytest.raises(LedgerError, match="key name"):
        SigningKey(name, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a+b", GO_KEY, "PRIVATE+KEY+a+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(),
        KEY.private_text()[:-5], KEY.private_text().replace("+AQ", "+BA"), KEY.private_text().replace("log", "lag"),
    ],
)  # fmt: skip
def test_private_keys_that_are_none_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(LedgerError) as caught:
        SigningKey.parse(text)
    assert "AAAAA" not in str(caught.value)


def test_a_private_key_is_not_shown() -> None:
    assert "\\x00" not in repr(KEY)
    assert "seed" not in repr(KEY)

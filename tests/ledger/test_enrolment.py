from __future__ import annotations

import pytest

from sidecar.errors import LedgerError
from sidecar.ledger.enrolment import Enrolment, certify, check, statement
from sidecar.ledger.note import Note, SigningKey
from sidecar.ledger.origin import Place, origin

ENROLLER = SigningKey("enrolment.example", bytes([9] * 32))
STRANGER = SigningKey("stranger.example", bytes([8] * 32))
PLACE = Place("prod", "default", "mortgage", "0a1b")
BOOT = "20261123T231500-9f3c2a71b0"
PUBLIC = bytes(range(32))
NOTE = certify(ENROLLER, PLACE.prefix, BOOT, PUBLIC)
TRUSTED = [STRANGER.verifier, ENROLLER.verifier]
ROOT64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_the_statement_names_pod_boot_and_key() -> None:
    text = statement(PLACE.prefix, BOOT, PUBLIC)
    assert text == f"sidecar-enrolment/1\nprod.default.mortgage.0a1b\n{BOOT}\n{ROOT64}\n"
    assert Note.parse(NOTE).text == text
    assert Enrolment.parse(text) == Enrolment(PLACE.prefix, BOOT, PUBLIC)


@pytest.mark.parametrize("dead", [None, "20261122T101010-0000000000"])
@pytest.mark.parametrize("route", ["default", "a b", ""])
def test_an_enrolment_holds_for_every_log_of_the_boot(route: str, dead: str | None) -> None:
    assert check(NOTE, TRUSTED, origin(PLACE, route, BOOT, dead), PUBLIC) == ENROLLER.verifier


@pytest.mark.parametrize(
    ("log", "key"),
    [
        (origin(PLACE, "default", BOOT), bytes(32)),
        (origin(PLACE, "default", "20261123T231500-0000000000"), PUBLIC),
        (origin(PLACE, "default", "20261123T231500-0000000000", BOOT), PUBLIC),
        (origin(Place("prod", "default", "mortgage", "ffff"), "default", BOOT), PUBLIC),
        (origin(Place("test", "default", "mortgage", "0a1b"), "default", BOOT), PUBLIC),
    ],
)
def test_it_holds_for_no_other_pod_boot_or_key(log: str, key: bytes) -> None:
    with pytest.raises(LedgerError, match="does not cover the key"):
        check(NOTE, TRUSTED, log, key)


def test_it_is_worth_nothing_without_a_trusted_signature() -> None:
    log = origin(PLACE, "default", BOOT)
    with pytest.raises(LedgerError, match="no signature of a trusted key"):
        check(NOTE, [STRANGER.verifier], log, PUBLIC)
    with pytest.raises(LedgerError, match="no signature of a trusted key"):
        check(NOTE, [], log, PUBLIC)
    with pytest.raises(LedgerError, match="is not valid"):
        check(NOTE.replace(".0a1b", ".0a1c"), TRUSTED, log, PUBLIC)


@pytest.mark.parametrize(
    "text",
    [
        "", "sidecar-enrolment/2\np\nb\nk\n", f"sidecar-enrolment/1\na.b.c.d\nboot\n{ROOT64}",
        f"sidecar-enrolment/1\na.b.c.d\nboot\n{ROOT64}\n\n", f"sidecar-enrolment/1\na.b.c\nboot\n{ROOT64}\n",
        f"sidecar-enrolment/1\na.b.c.d.e\nboot\n{ROOT64}\n", f"sidecar-enrolment/1\na.b.c.d\nbo.ot\n{ROOT64}\n",
        f"sidecar-enrolment/1\na.b.c.d\n\n{ROOT64}\n", "sidecar-enrolment/1\na.b.c.d\nboot\nAAAA\n",
        f"sidecar-enrolment/1\na.b.c.d\nboot\n{ROOT64[:-1]}\n", "sidecar-enrolment/1\na.b.c.d\nboot\n\n",
    ],
)  # fmt: skip
def test_malformed_statements_are_refused(text: str) -> None:
    with pytest.raises(LedgerError):
        Enrolment.parse(text)


def test_a_checkpoint_or_another_text_of_the_enrolment_key_is_no_enrolment() -> None:
    note = ENROLLER.sign("prod.default.mortgage.0a1b\n5\n" + ROOT64 + "\n")
    with pytest.raises(LedgerError, match="not the four lines"):
        check(note, TRUSTED, origin(PLACE, "default", BOOT), PUBLIC)


def test_what_cannot_be_said_of_a_pod_is_not_signed() -> None:
    with pytest.raises(LedgerError, match="origin"):
        certify(ENROLLER, "a.b", BOOT, PUBLIC)
    with pytest.raises(LedgerError, match="31 bytes"):
        certify(ENROLLER, PLACE.prefix, BOOT, PUBLIC[:-1])

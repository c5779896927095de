"""The serving certificate: believed by a TLS client, and renewed when and only when it is time."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest

from sidecar.cluster.certificate import (
    LIFETIME,
    Pair,
    expiry,
    from_secret,
    make,
    needs_renewal,
    still_valid,
    to_secret,
)

NAMES = ("sidecar-webhook.sidecar-system.svc", "sidecar-webhook.sidecar-system.svc.cluster.local")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def authorities(pem: bytes) -> int:
    return pem.count(b"BEGIN CERTIFICATE")


def test_a_secret_gives_the_pair_back_and_what_is_none_gives_nothing() -> None:
    pair = make(NAMES, NOW)
    assert from_secret(to_secret(pair)) == pair
    assert from_secret(None) is None
    assert from_secret({**to_secret(pair), "tls.key": "no base64!"}) is None
    assert from_secret({key: text for key, text in to_secret(pair).items() if key != "ca.crt"}) is None


@pytest.mark.parametrize(
    ("used_up", "words"),
    [
        (timedelta(0), None),
        (LIFETIME * 0.66, None),
        (LIFETIME * 0.67, "it runs out at"),
        (LIFETIME, "it ran out at"),
        (-timedelta(minutes=9), None),
        (-timedelta(minutes=11), "it is valid only from"),
    ],
)
def test_it_is_renewed_after_two_thirds_of_its_life(used_up: timedelta, words: str | None) -> None:
    why = needs_renewal(make(NAMES, NOW), NAMES, NOW + used_up)
    assert why is None if words is None else why is not None and why.startswith(words)


def test_it_is_renewed_when_it_does_not_fit() -> None:
    pair, other = make(NAMES, NOW), make(NAMES, NOW)
    for wrong, names, words in (
        (None, NAMES, "there is none"),
        (pair, (*NAMES, "elsewhere"), "it is not for elsewhere"),
        (Pair(pair.certificate, other.key, pair.authority), NAMES, "its key is another's"),
        (Pair(pair.certificate, pair.key, other.authority), NAMES, "it is damaged"),
        (Pair(b"", pair.key, pair.authority), NAMES, "it is damaged"),
        (Pair(pair.certificate, b"x", pair.authority), NAMES, "it is damaged"),
        (Pair(pair.certificate, pair.key, b""), NAMES, "it is damaged"),
    ):
        assert (needs_renewal(wrong, names, NOW) or "").startswith(words)


def test_authorities_before_it_stay_trusted_until_they_run_out_and_never_pile_up() -> None:
    pair = make(NAMES, NOW)
    for turn in range(1, 7):
        pair = make(NAMES, NOW + timedelta(days=turn), pair.authority)
        assert authorities(pair.authority) == min(4, turn + 1)
        assert needs_renewal(pair, NAMES, NOW + timedelta(days=turn)) is None
    assert still_valid(pair.authority, NOW + LIFETIME * 2) == b""
    assert still_valid(b"no PEM", NOW) == b""


def handshake(pair: Pair, trusted: bytes, name: str) -> None:
    """Client and server hello to each other in memory. Raises ssl.SSLError."""
    from sidecar.cluster.webhook import Certificate, Metrics

    serving = Certificate(Metrics())
    serving.load_pair(pair)
    context = ssl.create_default_context(cadata=trusted.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=name)
    server = serving.context.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_client_believes_it_under_each_of_its_names_and_no_other() -> None:
    now = datetime.now(UTC)
    old = make(NAMES, now)
    new = make(NAMES, now, old.authority)
    for name in NAMES:
        handshake(new, new.authority, name)
        handshake(old, new.authority, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(new, new.authority, "elsewhere.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(new, old.authority, NAMES[0])
    assert expiry(new.certificate) == (now + LIFETIME).replace(microsecond=0)

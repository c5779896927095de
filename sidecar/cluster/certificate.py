"""The webhook's serving certificate: made, examined, and when to make the next.

Each is signed by an authority of its own, whose key is thrown away at once:
nobody can make a second certificate that the API server would believe.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=90)
RENEW_AFTER = 2 / 3
"""Of the lifetime."""
_BACKDATED = timedelta(minutes=10)
"""For API servers whose clock is behind."""
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM texts: the serving certificate, its key, and the authorities to trust, the newest first."""

    certificate: bytes
    key: bytes
    authority: bytes


def make(names: Iterable[str], now: datetime, previous: bytes = b"", lifetime: timedelta = LIFETIME) -> Pair:
    """A fresh certificate for these DNS names. Valid authorities of `previous` stay trusted."""
    every = list(names)
    start, end = now - _BACKDATED, now + lifetime
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sidecar webhook {serial:x}"[:64])])
    authority = (
        _builder(issuer, issuer, authority_key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, every[0][:64])])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in every])
    certificate = (
        _builder(subject, issuer, key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own = authority.public_bytes(serialization.Encoding.PEM)
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM), private, own + still_valid(previous, now)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def still_valid(authorities: bytes, now: datetime) -> bytes:
    """Those of the PEM certificates that have not run out; nothing for what is no PEM."""
    try:
        every = x509.load_pem_x509_certificates(authorities) if authorities.strip() else []
    except ValueError:
        return b""
    valid = [each for each in every if each.not_valid_after_utc > now]
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in valid[:3])


def expiry(certificate: bytes) -> datetime:
    """When a PEM certificate runs out. Raises ValueError for what is none."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def needs_renewal(pair: Pair | None, names: Iterable[str], now: datetime) -> str | None:
    """Why a new certificate is needed, or None: missing, damaged, for other names, or two thirds used up."""
    if pair is None:
        return "there is none"
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, None)
        authority = x509.load_pem_x509_certificates(pair.authority)[0]
        certificate.verify_directly_issued_by(authority)
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception as error:
        return f"it is damaged: {error or type(error).__name__}"
    if _public(key.public_key()) != _public(certificate.public_key()):
        return "its key is another's"
    missing = set(names) - set(alternatives.get_values_for_type(x509.DNSName))
    if missing:
        return f"it is not for {sorted(missing)[0]}"
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= end:
        return f"it ran out at {end:%Y-%m-%d %H:%M}Z"
    if now < start:
        return f"it is valid only from {start:%Y-%m-%d %H:%M}Z"
    if now >= start + (end - start) * RENEW_AFTER:
        return f"it runs out at {end:%Y-%m-%d %H:%M}Z"
    return None


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def from_secret(data: Mapping[str, str] | None) -> Pair | None:
    """The pair in a Secret's `data`; None when a part is missing or is no base64."""
    try:
        parts = [
            base64.b64decode((data or {})[name], validate=True) for name in (CERTIFICATE, KEY, AUTHORITY)
        ]
    except (KeyError, TypeError, binascii.Error, ValueError):
        return None
    return Pair(*parts)


def to_secret(pair: Pair) -> dict[str, str]:
    """A Secret's `data`."""
    values = {CERTIFICATE: pair.certificate, KEY: pair.key, AUTHORITY: pair.authority}
    return {name: base64.b64encode(value).decode() for name, value in values.items()}


def utc_now() -> datetime:
    return datetime.now(UTC)

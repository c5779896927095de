"""A private certificate authority and certificates of it, for 127.0.0.1 or a client, made anew."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SIGNING = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
"""Python from 3.13 on takes no authority that does not say so (RFC 5280)."""


def server_context(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The authority's PEM file, and a context that serves under a certificate which it signed."""
    authority, certificate, key = _issued(
        "127.0.0.1",
        ExtendedKeyUsageOID.SERVER_AUTH,
        x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]),
    )
    authority_file, served = folder / "authority.pem", folder / "server.pem"
    authority_file.write_bytes(authority)
    served.write_bytes(certificate + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(served)
    return authority_file, context


def client_pair(name: str) -> tuple[bytes, bytes, bytes]:
    """Of a client: its authority's certificate, its own, and its key, in PEM."""
    return _issued(name, ExtendedKeyUsageOID.CLIENT_AUTH)


def _issued(name: str, usage: x509.ObjectIdentifier, *more: x509.ExtensionType) -> tuple[bytes, bytes, bytes]:
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("A private authority")
    authority = (
        _begun(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNING, critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    made = _begun(_name(name), authority_name, key.public_key())
    for extension in (x509.ExtendedKeyUsage([usage]), *more):
        made = made.add_extension(extension, critical=False)
    certificate = made.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
    ).sign(authority_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority.public_bytes(pem), certificate.public_bytes(pem), private


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )

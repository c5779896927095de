"""Time stamps of RFC 3161: asked of an authority over HTTP, and checked against its root certificates."""

from __future__ import annotations

import ssl
import urllib.request
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.errors import LedgerError, SidecarError, UsageError
from sidecar.site.bodies import TimeStamp
from sidecar.site.entry import Body, body_text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import VerifierBuilder

ANSWER_S = 30.0
MOST_BYTES = 1 << 20


def roots(path: Path | None) -> list[Certificate]:
    """The certificates in a PEM file; without one, those that this machine trusts.

    Raises UsageError for a file that holds none.
    """
    from cryptography.x509 import load_pem_x509_certificates

    chosen = path or Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    try:
        with _without_deprecations():
            return load_pem_x509_certificates(chosen.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "holds no certificate"
        raise UsageError(f"{chosen}: {reason}: give the authority's root as PEM with --tsa-root") from error


def stamped_bytes(body: Body) -> bytes:
    """What a witness entry's time stamp covers: the text of its body without the stamp."""
    return body_text({name: value for name, value in body.items() if name != "timestamp"}).encode()


def stamp(url: str, body: Body, trusted: list[Certificate]) -> TimeStamp:
    """The authority's time stamp over the body, checked. Raises SidecarError when there is none to be had."""
    client = _client()
    message = stamped_bytes(body)
    request = (
        client.TimestampRequestBuilder()
        .data(message)
        .hash_algorithm(client.HashAlgorithm.SHA256)
        .cert_request(cert_request=True)
        .build()
    )
    answer = _post(url, request.as_bytes())
    _checked(answer, message, client.VerifierBuilder.from_request(request), trusted, f"time stamp of {url}")
    return TimeStamp(authority=url, response=b64encode(answer).decode())


def stamped_at(found: TimeStamp, body: Body, trusted: list[Certificate]) -> datetime:
    """When the authority saw the body. Raises LedgerError when its stamp does not hold."""
    client = _client()
    what = f"time stamp of {found.authority}"
    try:
        answer = b64decode(found.response, validate=True)
    except ValueError as error:
        raise LedgerError(f"{what}: not base64") from error
    return _checked(answer, stamped_bytes(body), client.VerifierBuilder(), trusted, what)


def _checked(
    answer: bytes, message: bytes, builder: VerifierBuilder, trusted: list[Certificate], what: str
) -> datetime:
    client = _client()
    try:
        response = client.decode_timestamp_response(answer)
    except ValueError as error:
        raise LedgerError(f"{what}: the answer is no time stamp: {error}") from error
    try:
        for certificate in dict.fromkeys(trusted):
            builder = builder.add_root_certificate(certificate)
        with _without_deprecations():
            builder.build().verify_message(response, message)
        moment: datetime = response.tst_info.gen_time
    except (client.VerificationError, ValueError) as error:
        reason = str(error)[:160] or "not valid"
        raise LedgerError(f"{what}: {reason}: give its root with --tsa-root") from error
    return moment


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """Among the roots that a machine trusts are some that the library will not read in the future."""
    from cryptography.utils import CryptographyDeprecationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def _post(url: str, query: bytes) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--tsa {url!r}: give an http:// or https:// address")
    request = urllib.request.Request(url, query, {"Content-Type": "application/timestamp-query"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            data: bytes = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        code, reason = getattr(error, "code", ""), getattr(error, "reason", None) or error
        raise SidecarError(
            f"time stamp authority {url}: {f'{code} {reason}'.strip()}: try again later"
        ) from error
    if len(data) > MOST_BYTES:
        raise SidecarError(f"time stamp authority {url}: answers more than {MOST_BYTES} bytes")
    return data


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise UsageError('time stamps need rfc3161-client: pip install "sidecar-recorder[audit]"') from error
    return rfc3161_client

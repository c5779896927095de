"""A certificate and its key, in PEM, taken into a TLS context without files on disk."""

from __future__ import annotations

import os
import ssl


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Let the context show this certificate. Raises ValueError for what is no pair; it is then as it was."""
    # The ssl module takes files alone, and the root file system may be read-only.
    descriptors = [_memory_file(text) for text in (certificate, key)]
    try:
        paths = [f"/proc/self/fd/{descriptor}" for descriptor in descriptors]
        # Tried on another context first: a pair that does not fit would leave half of it in this one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*paths)
        context.load_cert_chain(*paths)
    except ssl.SSLError as error:
        raise ValueError(f"certificate and key do not fit: {error.reason or error}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _memory_file(text: bytes) -> int:
    descriptor = os.memfd_create("sidecar-tls")
    os.write(descriptor, text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor

"""Who writes a log: the boot's name, where it runs, and the key that certifies its own."""

from __future__ import annotations

import time
from pathlib import Path

from sidecar.config import Settings
from sidecar.errors import ConfigError, LedgerError
from sidecar.ledger.note import SigningKey
from sidecar.ledger.origin import Place


def boot_id(wall_us: int, random: bytes) -> str:
    """A boot's name: sorts by time, unique by chance, safe in file names."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(wall_us // 1_000_000))}-{random.hex()}"


def place_of(settings: Settings) -> Place:
    """Where the sidecar of these settings runs, as its logs' names say."""
    parts = (settings.cluster, settings.namespace, settings.workload, settings.pod_uid)
    return Place(*(part or "" for part in parts))


def enrolment_key(settings: Settings) -> SigningKey | None:
    """The private key that certifies boot keys, if one is configured. Raises ConfigError."""
    return None if settings.enrolment_key is None else read_enrolment_key(Path(settings.enrolment_key))


def read_enrolment_key(path: Path) -> SigningKey:
    """The private key in a file. Raises ConfigError."""
    try:
        return SigningKey.parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(
            f"enrolment_key: {path}: {reason}: give a file made by `sidecar keys new`"
        ) from error
    except LedgerError as error:
        raise ConfigError(f"enrolment_key: {path}: {error}") from error

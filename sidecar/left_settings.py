"""The settings, without secrets, that lie in a journal's folder for whoever ships it when its pod is gone.

settings/settings.json    {"v": 1, "sidecar": VERSION, "settings": {…}, "keys": {"hash_key": ID, …}}
settings/watch_file.yaml  copies of the files that the settings name, under the settings' keys
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sidecar import __version__
from sidecar.config import Settings
from sidecar.errors import JournalError, SidecarError
from sidecar.shipping.files import unfinished, write_synced

log = logging.getLogger(__name__)

FOLDER = "settings"
FILE = "settings.json"
FORMAT = 1
COPIED = ("baseline_file", "watch_file", "schema_file")
"""Settings whose file lies where only the pod can read it."""
KEYS = ("hash_key", "master_key", "enrolment_key")
"""Settings that name a file of keys: whoever ships must have the same."""
SECRET = ("alert_url", "alert_secret_file")
"""Settings that are left out: whoever ships a journal sends no alerts, and their addresses may be secret."""
MOST_BYTES = 8 << 20
"""Of a copied file, and of settings.json."""


@dataclass(frozen=True, slots=True)
class Left:
    """The settings that a journal was written under."""

    settings: Settings
    """With `journal` and the copied files where they lie now; its keys' files are the pod's."""
    key_ids: dict[str, str | None]
    """By KEYS: which key it was; None where there was none."""


def leave(settings: Settings) -> None:
    """Write the settings into the journal's folder. Recording does not depend on it: a failure is logged."""
    folder = Path(settings.journal) / FOLDER
    try:
        folder.mkdir(mode=0o750, exist_ok=True)
        copied = dict(_copies(settings))
        for key, data in copied.items():
            _write(folder / _name(key, settings), data)
        told = {
            "v": FORMAT,
            "sidecar": __version__,
            "settings": {
                key: value for key, value in msgspec.to_builtins(settings).items() if key not in SECRET
            },
            "files": {key: _name(key, settings) for key in copied},
            "keys": key_ids(settings),
        }
        # Last: it names the others.
        _write(folder / FILE, msgspec.json.encode(told))
    except (OSError, SidecarError) as error:
        said = getattr(error, "strerror", None) or error
        log.warning("journal settings %s: %s: only this sidecar can ship the journal", folder, said)


def read_left(journal: Path) -> Left:
    """What `leave` wrote. Raises JournalError when it is not there, damaged, or of a newer sidecar."""
    path = journal / FOLDER / FILE
    try:
        with path.open("rb") as file:
            told = msgspec.json.decode(file.read(MOST_BYTES))
        given = dict(told["settings"])
        for key in COPIED:
            name = told["files"].get(key)
            given[key] = str(path.with_name(Path(name).name)) if name else None
        given["journal"] = str(journal)
        settings = msgspec.convert(given, Settings)
        ids = {key: told["keys"].get(key) for key in KEYS}
    except OSError as error:
        raise JournalError(
            f"{path}: {error.strerror}: redaction rules are unknown, nothing of the journal is shipped"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, msgspec.MsgspecError) as error:
        raise JournalError(f"{path}: cannot be read ({error}): redaction rules are unknown") from error
    # A rule that this build does not know is a rule that it would not follow.
    unknown = sorted(_unknown(given, msgspec.to_builtins(settings)))
    if told["v"] != FORMAT or unknown:
        what = f"settings {', '.join(unknown)}" if unknown else f"format {told['v']}"
        raise JournalError(f"{path}: {what}: made by another sidecar ({told.get('sidecar')}): use that one")
    return Left(settings, ids)


def key_ids(settings: Settings) -> dict[str, str | None]:
    """Which keys the settings name, without telling anything of them. Raises SidecarError, OSError."""
    return {key: _key_id(key, getattr(settings, key)) for key in KEYS}


def _key_id(key: str, path: str | None) -> str | None:
    if path is None:
        return None
    if key == "enrolment_key":
        from sidecar.ledger.note import SigningKey

        return SigningKey.parse(Path(path).read_text()).verifier.public_key.hex()[:16]
    from sidecar.privacy.key_file import read_secret

    return hashlib.sha256(f"sidecar {key}\0".encode() + read_secret(Path(path), key)).hexdigest()[:16]


def _copies(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for key in COPIED:
        path = _source(key, settings)
        if path is not None:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) <= MOST_BYTES:
                yield key, data
            else:
                log.warning("journal settings: %s %s is over %d MiB: not kept", key, path, MOST_BYTES >> 20)


def _source(key: str, settings: Settings) -> Path | None:
    if key == "schema_file" and settings.watch_file and not settings.schema_file:
        # Loaded only where a watch file can name the rules: 13 MiB that other supervisors do without.
        from sidecar.monitoring import schema_path

        return schema_path(settings)
    named = getattr(settings, key)
    return Path(named) if named else None


def _name(key: str, settings: Settings) -> str:
    source = _source(key, settings)
    return key + (source.suffix if source else "")


def _unknown(given: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    """Keys that decoding left out, with those of the routes."""
    yield from given.keys() - known.keys()
    for ours, theirs in zip(known["routes"], given["routes"], strict=True):
        yield from theirs.keys() - ours.keys()


def _write(path: Path, data: bytes) -> None:
    """Whole and synced under its name, or not at all."""
    temporary = unfinished(path)
    write_synced(temporary, data)
    temporary.replace(path)

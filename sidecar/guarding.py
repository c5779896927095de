"""What is done to an exchange before it is stored: redaction, business keys, encryption.

Statistics may see what the store must not: fields whose values were redacted
are counted, and concealed wherever a summary is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.config import Settings
from sidecar.decode.content import decoded_body
from sidecar.errors import ConfigError, PrivacyError
from sidecar.privacy.keys import KeyReader, parse_key, parse_subject
from sidecar.privacy.redact import Redactor
from sidecar.privacy.rules import parse_rule
from sidecar.records import Message, Observation

if TYPE_CHECKING:
    from sidecar.privacy.encrypt import SealedRecord
    from sidecar.privacy.master import MasterKey

UNTOLD = "not decodable; the reason is not kept beside an encrypted record"
"""A decoder's words may quote the body."""
CONCEALED = "concealed/"
"""Prefix of totals that name a field whose values are redacted: `concealed/features/NAME`."""
_SHOWN = ("kind", "count", "missing", "invalid", "psi", "insufficient", "psi_noise", "new", "other")

Observe = Callable[[Message, Message], "tuple[Observation | None, str | None]"]
"""Decodes an exchange: the observation, or why there is none."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What may be stored of an exchange, and what may be counted."""

    request: Message
    response: Message
    observation: Observation | None
    error: str | None
    counted: Observation | None
    redacted: str | None = None
    keys: dict[str, str] | None = None
    subject: str | None = None
    concealed: tuple[str, ...] = ()
    """Names of totals that say which of the counted fields must not be shown."""


class Vault:
    """The keys of one batch in the making."""

    def __init__(self, master: MasterKey) -> None:
        from sidecar.privacy.encrypt import RecordSealer, SubjectKeys

        self._master = master
        self._keys = SubjectKeys()
        self._sealer = RecordSealer(self._keys)

    def protect(
        self,
        record_id: str,
        request_body: bytes | None,
        response_body: bytes | None,
        decoded: bytes | None,
        subject: str | None,
    ) -> SealedRecord:
        """The record's blobs under a key of their own."""
        return self._sealer.seal(record_id, request_body, response_body, decoded, subject)

    @property
    def used(self) -> bool:
        return len(self._keys) > 0

    def close(self, batch: str) -> bytes:
        """The batch's key object; what it opens is forgotten here."""
        return self._keys.close(batch, self._master)


class Guard:
    """One configuration of redaction, keys and encryption, for the analyst's life."""

    def __init__(
        self,
        redactor: Redactor | None = None,
        reader: KeyReader | None = None,
        master: MasterKey | None = None,
        count_redacted: bool = True,
    ) -> None:
        self._redactor = redactor
        self._reader = reader
        self._master = master
        self._count_redacted = count_redacted

    def vault(self) -> Vault | None:
        """Fresh keys for a batch; None when bodies are stored as they are."""
        return None if self._master is None else Vault(self._master)

    def apply(self, request: Message, response: Message, observe: Observe | None) -> Guarded:
        """What may be stored and counted of an exchange; `observe` is None if it is not to be decoded."""
        observation, error = (None, None) if observe is None else observe(request, response)
        keys = subject = None
        reader = self._reader
        if reader is not None:
            subject = reader.subject(request, response)
            if reader.from_original:
                keys = reader.keys(request, response)
        stored_request, stored_response, stored, redacted = request, response, observation, None
        concealed: tuple[str, ...] = ()
        if self._redactor is not None:
            errors: list[str | None] = []

            def again(request: Message, response: Message) -> Observation | None:
                if observe is None:
                    return None
                found, why = observe(request, response)
                errors.append(why)
                return found

            redaction = self._redactor.redact(request, response, observation, again)
            stored_request, stored_response, stored, redacted, _ = redaction
            if errors:
                error = errors[-1]
            if stored is not observation and observation is not None:
                concealed = tuple(_concealed(observation, stored))
        if reader is not None and not reader.from_original:
            keys = reader.keys(stored_request, stored_response)
        if self._master is not None and error is not None:
            error = UNTOLD
        counted = observation if self._count_redacted else stored
        return Guarded(
            stored_request,
            stored_response,
            stored,
            error,
            counted,
            redacted,
            keys,
            subject,
            concealed if self._count_redacted else (),
        )


def _concealed(counted: Observation, stored: Observation | None) -> Iterable[str]:
    sides = (
        ("features", counted.inputs, stored.inputs if stored else {}),
        ("outputs", counted.outputs, stored.outputs if stored else {}),
    )
    for side, before, after in sides:
        for name, values in before.items():
            if name not in after or after[name] != values:
                yield f"{CONCEALED}{side}/{name}"


def conceal(summary: dict[str, Any], totals: Iterable[str]) -> dict[str, Any]:
    """A monitor's summary without anything that tells values of the fields that the totals name."""
    hidden = {name.removeprefix(CONCEALED) for name in totals if name.startswith(CONCEALED)}
    if not hidden:
        return summary
    shown = dict(summary)
    for side in ("features", "outputs"):
        fields = shown.get(side)
        if isinstance(fields, dict):
            shown[side] = {
                name: _without_values(field) if f"{side}/{name}" in hidden else field
                for name, field in fields.items()
            }
    if isinstance(shown.get("window"), dict):
        shown["window"] = conceal(shown["window"], totals)
    return shown


def _without_values(field: dict[str, Any]) -> dict[str, Any]:
    return {name: field[name] for name in _SHOWN if name in field} | {"redacted": True}


def guard_of(settings: Settings) -> Guard:
    """The guard that the settings ask for. Raises ConfigError naming the setting that cannot be met."""
    limit = settings.decode_limit

    def opened(message: Message) -> bytes:
        return decoded_body(message, limit)

    hash_key = _secret(settings.hash_key, "hash_key")
    master = _master(settings.master_key)
    rules = [parse_rule(text) for text in settings.redact]
    defaults = settings.redact_defaults == "on"
    hashed = settings.hash_keys == "on" or master is not None
    if settings.keys and hashed and hash_key is None:
        raise ConfigError(
            "keys: are stored as HMACs (hash_keys, or because bodies are encrypted), which takes a key: "
            "give hash_key a file of 32 random bytes"
        )
    reader = None
    if settings.keys or settings.subject:
        reader = KeyReader(
            [parse_key(text) for text in settings.keys],
            opened,
            hash_key if hashed else None,
            parse_subject(settings.subject) if settings.subject else None,
        )
    redactor = Redactor(rules, opened, hash_key, defaults) if rules or defaults else None
    return Guard(redactor, reader, master, settings.count_redacted == "on")


def _secret(path: str | None, key: str) -> bytes | None:
    if path is None:
        return None
    from sidecar.privacy.master import read_secret

    try:
        return read_secret(Path(path), key)
    except PrivacyError as error:
        raise ConfigError(str(error)) from error


def _master(path: str | None) -> MasterKey | None:
    if path is None:
        return None
    from sidecar.privacy.master import read_master_key

    try:
        return read_master_key(Path(path))
    except PrivacyError as error:
        raise ConfigError(str(error)) from error

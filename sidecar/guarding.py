"""What is done to an exchange before it is stored: redaction, business keys, encryption.

Statistics may count what the store must not hold, as tokens: see `countable.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from sidecar.config import Settings
from sidecar.countable import STAMP_BYTES, Countable, GuardedMonitor, restored, token_key
from sidecar.decode.content import decoded_body
from sidecar.errors import ConfigError, PrivacyError
from sidecar.privacy.allowance import TooLong
from sidecar.privacy.keys import SUBJECT_SEPARATOR, KeyReader, parse_key, parse_subject
from sidecar.privacy.redact import Redactor
from sidecar.privacy.rules import Rule, Target, parse_rule
from sidecar.records import Message, Observation

if TYPE_CHECKING:
    from sidecar.monitors import Monitor
    from sidecar.privacy.encrypt import SealedRecord
    from sidecar.privacy.master import MasterKey

UNTOLD = "not decodable; the reason is not kept beside an encrypted record"
"""A decoder's words may quote the body."""
BLIND: Final = "the analyst died over it: no rule was run, only the start lines are kept"

_REQUEST_LINE = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|TRACE|CONNECT) ([^ ?]+)[^ ]* (HTTP/1\.[01])"
)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}")

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
        *,
        rules: Sequence[Rule] = (),
        secret: bytes | None = None,
    ) -> None:
        """`rules` are the redactor's own, without the default ones; `secret` makes tokens of texts."""
        self._redactor = redactor
        self._reader = reader
        self._master = master
        self._count_redacted = count_redacted
        targets = {rule.where.target for rule in rules}
        self._looks_into_paths = Target.REGEX in targets
        self._looks_into_bodies = bool(targets & {Target.BODY, Target.REGEX})
        selectors = [rule.where.selector for rule in rules if rule.where.target is Target.BODY]
        key = None if secret is None else token_key(secret)
        self._countable = Countable(key, selectors, master is not None)
        self._stamp = _stamp(rules, count_redacted, master, key)

    @property
    def discreet(self) -> bool:
        """Whether bodies hold what neither the log nor the status may quote."""
        return self._looks_into_bodies or self._master is not None

    def dares(self, deaths: int, few: int, many: int) -> bool:
        """Whether rules are still run over an exchange that ended so many lives: body rules to `few`."""
        if self._looks_into_bodies:
            return deaths < few
        return self._reader is None or deaths < many

    def client(self, address: str) -> str:
        """What may be stored of a peer's address; empty when nothing may be."""
        return address if self._redactor is None else self._redactor.client(address)

    @property
    def token(self) -> Callable[[Any], Any] | None:
        """What is counted in place of a concealed value; None where nothing is concealed."""
        return self._countable.token if self._stamp else None

    def watch(self, monitor: Monitor) -> Monitor:
        """A new monitor, fit for what this guard lets it count."""
        return GuardedMonitor(monitor, self._stamp) if self._stamp else monitor

    def restore(self, state: bytes, restore: Callable[[bytes], Monitor]) -> Monitor | None:
        """A monitor's last state; None if other privacy settings made it. Raises ValueError as `restore`."""
        return restored(state, self._stamp, restore)

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
        if self._redactor is not None:
            errors: list[str | None] = []

            def again(request: Message, response: Message) -> Observation | None:
                if observe is None:
                    return None
                found, why = observe(request, response)
                errors.append(why)
                return found

            try:
                redaction = self._redactor.redact(request, response, observation, again)
            except TooLong as slow:
                blind = self.apply_blind(request, response, str(slow))
                return replace(blind, keys=keys, subject=subject)
            stored_request, stored_response, stored, redacted, _ = redaction
            if errors:
                error = errors[-1]
        if reader is not None and not reader.from_original:
            keys = reader.keys(stored_request, stored_response)
        if self._master is not None and error is not None:
            error = UNTOLD
        counted = observation if self._count_redacted else stored
        if counted is not None and (self._master is not None or counted is not stored):
            counted = self._countable.of(counted, stored, (subject or "").split(SUBJECT_SEPARATOR))
        return Guarded(stored_request, stored_response, stored, error, counted, redacted, keys, subject)

    def apply_blind(self, request: Message, response: Message, why: str = BLIND) -> Guarded:
        """What may be stored of an exchange over which no rule may be run: it ends the analyst's life."""
        method_and_path = _REQUEST_LINE.fullmatch(request.start_line)
        head = b""
        if method_and_path is not None:
            method, path, version = method_and_path.groups()
            head = b"%b %b %b\r\n\r\n" % (method, b"/" if self._looks_into_paths else path, version)
        status = _STATUS_LINE.match(response.head)
        answer = status[0] + b" \r\n\r\n" if status else b""
        said = orjson.dumps({"rules": [], "dropped": {"exchange": why}}).decode()
        return Guarded(_emptied(request, head), _emptied(response, answer), None, None, None, said)


def _emptied(message: Message, head: bytes) -> Message:
    return Message(head, b"", length=message.length, complete=message.complete)


def fault(error: BaseException) -> str:
    """The kind of an error and where it was raised, without its words: they may quote a body."""
    place = error.__traceback__
    if place is None:
        return type(error).__name__
    while place.tb_next is not None:
        place = place.tb_next
    return f"{type(error).__name__} at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"


def _stamp(rules: Sequence[Rule], count_redacted: bool, master: MasterKey | None, key: bytes | None) -> bytes:
    """Names the settings that decide what is counted; empty where nothing is concealed."""
    if not rules and master is None:
        return b""
    named = key and hmac.digest(key, b"name", "sha256").hex()
    settings = [[rule.text for rule in rules], count_redacted, master and master.id, named]
    return hashlib.sha256(orjson.dumps(settings)).digest()[:STAMP_BYTES]


def guard_of(settings: Settings, overran: Callable[[], None] = lambda: None) -> Guard:
    """The guard that the settings ask for; `overran` is called whenever its patterns had to be stopped.

    Raises ConfigError naming the setting that cannot be met.
    """
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
    if settings.subject and master is None:
        raise ConfigError(
            "subject: says whose key encrypts a record, but bodies are not encrypted: give master_key too, "
            "or no subject"
        )
    reader = None
    if settings.keys or settings.subject:
        reader = KeyReader(
            [parse_key(text) for text in settings.keys],
            opened,
            hash_key if hashed else None,
            parse_subject(settings.subject) if settings.subject else None,
        )
    redactor = Redactor(rules, opened, hash_key, defaults, overran) if rules or defaults else None
    # A file that was just read as a key.
    secret = hash_key or _secret(settings.master_key, "master key")
    return Guard(redactor, reader, master, settings.count_redacted == "on", rules=rules, secret=secret)


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

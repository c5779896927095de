"""Body rules of one side: JSONPath and regular expressions over what a message's body means."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.errors import DecodeError
from sidecar.privacy.allowance import TooLong
from sidecar.privacy.json_text import is_json, scrub_json
from sidecar.privacy.json_values import Unreadable, redact_json
from sidecar.privacy.patterns import Patterns
from sidecar.privacy.replacement import Replacer
from sidecar.privacy.rules import Rule
from sidecar.privacy.target import TargetRules
from sidecar.records import Message

log = logging.getLogger(__name__)

OpenBody = Callable[[Message], bytes]
"""The body without its content codings, bounded in size. Raises DecodeError if that cannot be had."""

_CHARSET = re.compile(rb"charset[ \t]*=[ \t]*\"?([^\s\";,]+)", re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"
_UTF8: Final = frozenset((b"utf-8", b"utf8", b"us-ascii", b"ascii"))
_LATIN: Final = frozenset((b"iso-8859-1", b"latin1", b"latin-1", b"windows-1252", b"cp1252"))


@dataclass(slots=True)
class Found:
    """What body rules did to one message."""

    body: bytes | None = None
    """The new body without content coding; None if no rule applied."""
    hits: set[str] = field(default_factory=set)
    dropped: str | None = None
    """Why the body was dropped whole, in words that quote nothing of it."""


class BodyRules:
    """The rules for the bodies of one side."""

    def __init__(
        self,
        paths: Sequence[Rule],
        patterns: Patterns,
        forms: TargetRules,
        replacer: Replacer,
        open_body: OpenBody,
    ) -> None:
        self._paths = paths
        self._patterns = patterns
        self._forms = forms
        self._replacer = replacer
        self._open = open_body
        self._names = {rule.text for rule in (*paths, *(rule for rule, _ in patterns.rules))}

    def __bool__(self) -> bool:
        return bool(self._names)

    def look(self, message: Message) -> Found:
        """What the rules make of the body of `message`; whatever they cannot read is dropped whole."""
        if not self._names or not (message.body or message.length or message.sha256):
            return Found()
        try:
            return self._look(message)
        except (Unreadable, TooLong) as error:
            reason = str(error)
        except DecodeError:
            # Its text can quote a header; the record's own `decode_error` says more.
            reason = "it cannot be opened (content coding, damage or size)"
        except (MemoryError, RecursionError):
            reason = "it is too large or too deep"
        except Exception as error:
            # A body that a fault kept from being looked into must not be stored. The fault's text can
            # quote the body, so that only its kind is logged.
            log.error("redaction failed on a body, which is dropped: %s", type(error).__name__)
            reason = "a rule failed on it"
        return Found(b"", set(self._names), reason)

    def opaque(self) -> Found:
        """What becomes of bytes that are no HTTP message."""
        return Found(b"", set(self._names), "it is no HTTP message")

    def _look(self, message: Message) -> Found:
        if message.sha256 is not None or len(message.body) < message.length:
            raise Unreadable("it was cut when it was recorded")
        if not message.complete:
            raise Unreadable("it did not arrive whole")
        original = body = self._open(message)
        if not body:
            return Found()
        hits: set[str] = set()
        keep: set[str] = set()
        if self._paths:
            body, keep = redact_json(body, self._paths, self._replacer, hits)
        if self._patterns and body:
            body = self._scrub(body, message, hits, keep)
        return Found(None if body is original else body, hits)

    def _scrub(self, body: bytes, message: Message, hits: set[str], keep: set[str]) -> bytes:
        """The body under the regular expressions, the same object if none matches."""
        text, encoding = _as_text(body, message)
        self._patterns.begin(len(text))
        if b"application/x-www-form-urlencoded" in (message.header(b"content-type") or b"").lower():
            new = self._forms.form(text, hits)
        elif self._patterns.quiet(text):
            return body
        elif is_json(text):
            scrubbed = scrub_json(text, self._patterns, hits, keep)
            if scrubbed is None:
                raise Unreadable("a regular expression matches across its values")
            new = scrubbed
        else:
            new = self._patterns.replace(text, hits)
            if self._patterns.concealed(new):
                raise Unreadable("a regular expression matches an encoded part of it")
        return body if new == text else new.encode(encoding)


def _as_text(body: bytes, message: Message) -> tuple[str, str]:
    """The body as text, and the encoding that gives its bytes back. Raises Unreadable if it is no text."""
    content_type = message.header(b"content-type") or b""
    charset = _CHARSET.search(content_type)
    name = charset[1].lower() if charset else b"utf-8"
    if (name in _UTF8 or name in _LATIN) and b"\0" not in body:
        # JSON is UTF-8 whatever the header says (RFC 8259 section 8.1), and little else passes for it.
        try:
            return body.removeprefix(_BOM).decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            if name in _LATIN:
                return body.decode("latin-1"), "latin-1"
    raise Unreadable("it is not text that regular expressions can read")

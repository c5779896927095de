"""An exchange → the same exchange without what the redaction rules name.

Pure: messages in, messages out. Statistics see the exchange before, the store
only what comes out of here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson

from sidecar.errors import ConfigError
from sidecar.privacy.allowance import Allowance, TooLong
from sidecar.privacy.bodies import BodyRules, Found, OpenBody
from sidecar.privacy.heads import HeadRules, needs_key, without_header
from sidecar.privacy.patterns import Patterns
from sidecar.privacy.replacement import Replacer
from sidecar.privacy.rules import DEFAULT_RULES, MAX_RULES, Rule, Target
from sidecar.privacy.target import TargetRules
from sidecar.records import Message, Observation

log = logging.getLogger(__name__)

Observe = Callable[[Message, Message], Observation | None]
"""Decodes a redacted exchange again; None if it cannot be decoded any more."""

HEADS_KEPT: Final = 512
HEAD_BYTES_KEPT: Final = 2048
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n"


class Redaction(NamedTuple):
    """What may be stored of an exchange."""

    request: Message
    response: Message
    observation: Observation | None
    redacted: str | None
    """JSON for the column `redacted`: which rules applied, never a value; None if none did."""
    observed_again: bool
    """Whether `observe` was called: an error of the first decoding may quote what is redacted now."""


@dataclass(slots=True)
class _Account:
    """What was done to one exchange, for the column `redacted`."""

    hits: set[str]
    dropped: dict[str, str]
    uncoded: list[str]


class _Side:
    """The rules that hold for requests, or for responses."""

    def __init__(
        self,
        name: str,
        rules: Sequence[Rule],
        defaults: Sequence[Rule],
        replacer: Replacer,
        opener: OpenBody,
        allowance: Allowance,
    ) -> None:
        by_target = {
            target: [rule for rule in rules if rule.where.target is target and getattr(rule.where, name)]
            for target in Target
        }
        self.name = name
        self.body = f"{name}_body"
        self.patterns = Patterns(by_target[Target.REGEX], replacer, allowance)
        # Of both sides: a response's Location repeats what a query said.
        asked = [rule for rule in rules if rule.where.target is Target.QUERY]
        queries = {rule.where.selector.casefold(): rule for rule in reversed(asked)}
        targets = TargetRules(queries, self.patterns, replacer)
        headers = [*by_target[Target.HEADER], *defaults]
        self._heads = HeadRules(headers, targets, self.patterns, replacer)
        self.bodies = BodyRules(by_target[Target.BODY], self.patterns, targets, replacer, opener)
        self.clean: set[bytes] = set()
        """Heads that no rule touches."""
        self._rewritten: dict[bytes, tuple[bytes, frozenset[str]]] = {}

    def head(self, head: bytes, hits: set[str]) -> bytes:
        """A head under the rules; heads repeat, so that most are known."""
        if not head or head in self.clean:
            return head
        known = self._rewritten.get(head)
        if known is None:
            found: set[str] = set()
            known = self._heads.rewrite(head, found), frozenset(found)
            if len(head) <= HEAD_BYTES_KEPT:
                if known[0] is head:
                    _make_room(self.clean)
                    self.clean.add(head)
                else:
                    _make_room(self._rewritten)
                    self._rewritten[head] = known
        hits |= known[1]
        return known[0]

    def message(self, message: Message, account: _Account, drop_opaque: bool) -> Message:
        """A message under the rules, the same object if none applies."""
        head = self.head(message.head, account.hits)
        interim = self.head(message.interim, account.hits)
        trailers = self.head(message.trailers, account.hits)
        found = self._body(message, drop_opaque)
        account.hits |= found.hits
        if found.body is not None:
            if found.dropped:
                account.dropped[self.body] = found.dropped
            elif b"content-encoding" in message.head.lower():
                head = without_header(head, b"content-encoding")
                account.uncoded.append(self.body)
            return Message(head, found.body, trailers, interim, message.length, None, message.complete)
        if head is message.head and interim is message.interim and trailers is message.trailers:
            return message
        return replace(message, head=head, interim=interim, trailers=trailers)

    def _body(self, message: Message, drop_opaque: bool) -> Found:
        if message.head or not message.body:
            return self.bodies.look(message)
        if drop_opaque:
            return self.bodies.opaque()
        # Bytes that could not be framed, such as the beginning of a head: header rules go over them.
        found = Found()
        found.body = self._heads.rewrite(message.body, found.hits)
        if found.body is message.body:
            found.body = None
        return found


class Redactor:
    """Applies one set of rules to exchanges. Not for use by several threads at once."""

    def __init__(
        self,
        rules: Sequence[Rule],
        open_body: OpenBody,
        hash_key: bytes | None = None,
        defaults: bool = True,
        overran: Callable[[], None] = lambda: None,
    ) -> None:
        """`rules` in the order they were given; `defaults` adds those for credentials in headers.

        `overran` is called whenever regular expressions were stopped.

        Raises ConfigError if a rule hashes and there is no key, or for too many rules.
        """
        if len(rules) > MAX_RULES:
            raise ConfigError(f"redaction: {len(rules)} rules, at most {MAX_RULES} are taken: join some")
        hashing = needs_key(rules)
        if hashing is not None and hash_key is None:
            raise ConfigError(
                f"redaction rule {hashing.text}: there is no hash key: set one, or use mask or drop"
            )
        replacer = Replacer(hash_key)
        default_rules = DEFAULT_RULES if defaults else ()
        allowance = Allowance(overran)
        self._request = _Side("request", rules, default_rules, replacer, open_body, allowance)
        self._response = _Side("response", rules, default_rules, replacer, open_body, allowance)
        self._order = {
            rule.text: number for number, rule in reversed(list(enumerate((*rules, *default_rules))))
        }
        self._replacer = replacer
        self._client = next((rule for rule in rules if rule.where.target is Target.CLIENT), None)
        self._has_body_rules = bool(self._request.bodies) or bool(self._response.bodies)
        self._has_rules = bool(self._order)

    def redact(
        self, request: Message, response: Message, observation: Observation | None, observe: Observe
    ) -> Redaction:
        """What may be stored of an exchange; the very objects handed in if no rule applies.

        `observe` is called whenever a body or the request's target changed. An
        exchange that cannot be redacted comes back empty. Raises TooLong, and
        nothing else, when regular expressions were stopped over its heads.
        """
        if not self._has_body_rules and (
            request.head in self._request.clean
            and response.head in self._response.clean
            and not (request.trailers or request.interim or response.trailers or response.interim)
        ):
            return Redaction(request, response, observation, self._text(self._account()), False)
        try:
            return self._redact(request, response, observation, observe)
        except TooLong:
            raise
        except Exception as error:
            # What a fault of ours kept from being looked at must not be stored, and must not stop the
            # analyst for ever either. The fault's text can quote values: only its kind is logged.
            log.error("redaction failed on an exchange, which is emptied: %s", type(error).__name__)
            said = {"rules": [], "dropped": {"exchange": "a rule failed on it"}}
            empty = [Message(b"", b"", length=each.length, complete=False) for each in (request, response)]
            return Redaction(empty[0], empty[1], None, orjson.dumps(said).decode(), False)

    def client(self, address: str) -> str:
        """What may be stored of a peer's `HOST:PORT`; empty when nothing may be."""
        if self._client is None or not address:
            return address
        host = address.rpartition(":")[0]
        return self._replacer.text(self._client.action, host.encode())

    def _account(self) -> _Account:
        return _Account(set() if self._client is None else {self._client.text}, {}, [])

    def _redact(
        self, request: Message, response: Message, observation: Observation | None, observe: Observe
    ) -> Redaction:
        account = self._account()
        drop_opaque = self._has_body_rules or (
            # Its headers are compressed, so that header rules cannot look at them.
            self._has_rules and not request.head and request.body.startswith(_HTTP2_PREFACE)
        )
        stored_request = self._request.message(request, account, drop_opaque)
        stored_response = self._response.message(response, account, drop_opaque)
        again = (
            stored_request.body is not request.body
            or stored_response.body is not response.body
            or (stored_request is not request and stored_request.start_line != request.start_line)
        )
        if again:
            observation = observe(stored_request, stored_response)
        observation = self._checked(observation, account)
        return Redaction(stored_request, stored_response, observation, self._text(account), again)

    def _checked(self, observation: Observation | None, account: _Account) -> Observation | None:
        """Regular expressions over the decoded values too: `1.2e3` in a body is 1200.0 in a column."""
        if observation is None or not (self._request.patterns or self._response.patterns):
            return observation
        for side, columns in ((self._request, observation.inputs), (self._response, observation.outputs)):
            try:
                rule = _found_in(columns, side.patterns)
            except TooLong as error:
                account.dropped["decoded"] = str(error)
                return None
            if rule is not None:
                account.hits.add(rule.text)
                account.dropped["decoded"] = "a regular expression matches a decoded value"
                return None
        return observation

    def _text(self, account: _Account) -> str | None:
        if not account.hits and not account.dropped:
            return None
        said: dict[str, Any] = {"rules": sorted(account.hits, key=lambda text: self._order[text])}
        if account.dropped:
            said["dropped"] = account.dropped
        if account.uncoded:
            said["uncoded"] = account.uncoded
        return orjson.dumps(said).decode()


def _found_in(columns: dict[str, list[Any]], patterns: Patterns) -> Rule | None:
    """The first rule that matches a name or value of decoded columns, digests of ours aside."""
    if not patterns:
        return None
    written = _DIGEST.sub("", orjson.dumps(columns, option=orjson.OPT_NON_STR_KEYS).decode())
    patterns.begin(len(written))
    suspects = patterns.found(written)
    # The match may lie across several values, which is none.
    texts = [_DIGEST.sub("", text) for text in _scalars(columns)] if suspects else []
    for rule, pattern in suspects:
        if any(patterns.matches(pattern, text) for text in texts):
            return rule
    return None


def _scalars(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield str(name)
            yield from _scalars(member)
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    elif value is not None:
        yield orjson.dumps(value).decode()


def _make_room(kept: set[bytes] | dict[bytes, Any]) -> None:
    if len(kept) >= HEADS_KEPT:
        kept.clear()

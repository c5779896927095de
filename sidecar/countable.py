"""What statistics may hold of an exchange: they outlive it, in the analyst's state and in its status.

A value that the store must not hold is counted as a token. With a secret, equal
texts have equal tokens, so that their distribution is still watched; without
one, and for anything but text, a token says no more than that there was a value.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sidecar.records import TOKEN, Observation, Sample

if TYPE_CHECKING:
    from sidecar.monitors import Monitor

UNNAMED: Final = "(redacted)"
"""The field that stands for all those whose very names the store does not hold."""
STAMP_BYTES: Final = 32
_STAMPED: Final = b"sidecar guarded statistics 1\x00"
_LABEL: Final = b"sidecar statistics\x00"
_DIGEST_CHARACTERS: Final = 32
_WORD = re.compile(r"[^\s.\[\]'\"()$*?@,:=<>!&|]+")

Column = list[Any]
Table = dict[str, Column]


def token_key(secret: bytes) -> bytes:
    """A key for tokens alone: no token equals a hash that the same secret gives elsewhere."""
    return hmac.digest(secret, _LABEL, "sha256")


class Countable:
    """Turns observations into what may be counted of them."""

    def __init__(self, key: bytes | None, selectors: Iterable[str] = (), encrypted: bool = False) -> None:
        """`key` is one of `token_key`. `selectors` of body rules tell which field names are no news."""
        self._key = key
        self._words = frozenset(word for selector in selectors for word in _WORD.findall(selector))
        self._encrypted = encrypted

    def of(
        self, original: Observation, stored: Observation | None, subjects: Iterable[str] = ()
    ) -> Observation:
        """`original` with tokens where `stored` differs; under encryption for every text and subject."""
        counted = original
        if stored is not original:
            inputs = self._side(original.inputs, stored.inputs if stored else {}, original.instances)
            outputs = self._side(original.outputs, stored.outputs if stored else {}, original.instances)
            counted = replace(original, inputs=inputs, outputs=outputs)
        if self._encrypted:
            names = frozenset(subjects)
            counted = replace(
                counted,
                inputs=self._sealed(counted.inputs, names),
                outputs=self._sealed(counted.outputs, names),
            )
        return counted

    def _side(self, before: Table, after: Table, instances: int) -> Table:
        known = self._words.union(*(name.split(".") for name in after))
        counted: Table = {}
        for name, values in before.items():
            kept = after.get(name)
            if kept is None:
                if known.issuperset(name.split(".")):
                    counted[name] = [self.token(value) for value in values]
                else:
                    counted[UNNAMED] = [f"{TOKEN}value"] * instances
            elif kept == values:
                counted[name] = kept
            elif len(kept) != len(values):
                counted[name] = [self.token(value) for value in values]
            else:
                counted[name] = list(map(self._either, values, kept))
        return counted

    def _either(self, value: Any, kept: Any) -> Any:
        if type(value) is type(kept) and (value == kept or type(kept) is list):
            return kept
        return self.token(value)

    def _sealed(self, table: Table, subjects: frozenset[str]) -> Table:
        return {
            name: [
                self.token(value)
                if (type(value) is str and not value.startswith(TOKEN))
                or (subjects and type(value) in (int, float) and str(value) in subjects)
                else value
                for value in values
            ]
            for name, values in table.items()
        }

    def token(self, value: Any) -> Any:
        """What is counted in place of `value`; null stays null."""
        if value is None:
            return None
        if type(value) is str:
            if self._key is None:
                return f"{TOKEN}text"
            text = value.encode("utf-8", "surrogatepass")
            return TOKEN + hmac.digest(self._key, text, "sha256").hex()[:_DIGEST_CHARACTERS]
        if type(value) is bool:
            return f"{TOKEN}boolean"
        return f"{TOKEN}number" if type(value) in (int, float) else f"{TOKEN}value"


class GuardedMonitor:
    """A monitor whose state names the privacy settings it was made under, and whose summary has no token."""

    def __init__(self, monitor: Monitor, stamp: bytes) -> None:
        self._monitor = monitor
        self._stamp = stamp

    @property
    def plan(self) -> Any:
        return self._monitor.plan

    @property
    def baseline(self) -> Any:
        return self._monitor.baseline

    @property
    def pane_us(self) -> int:
        return int(getattr(self._monitor, "pane_us", 0))

    @property
    def complete_to_us(self) -> int:
        return int(getattr(self._monitor, "complete_to_us", 0))

    def follow(self, previous: Any) -> None:
        self._monitor.follow(previous)

    def add(self, samples: Sequence[Sample]) -> None:
        self._monitor.add(samples)

    def advance(self, now_us: int) -> object:
        return self._monitor.advance(now_us)

    def alarms(self) -> Any:
        """The monitor's own: their words name no token."""
        return self._monitor.alarms()

    def take_closed(self, now_us: int, everything: bool = False) -> Any:
        """The monitor's own: a plan names no token, only that there are some."""
        take = getattr(self._monitor, "take_closed", None)
        return take(now_us, everything) if take else []

    def state(self) -> bytes:
        return _STAMPED + self._stamp + self._monitor.state()

    def summary(self) -> dict[str, Any]:
        return conceal(self._monitor.summary())


def restored(data: bytes, stamp: bytes, restore: Callable[[bytes], Monitor]) -> Monitor | None:
    """The monitor with that state; None if it was made under another stamp. Raises ValueError as `restore`.

    The empty stamp is that of settings under which nothing is concealed.
    """
    if not stamp:
        return None if data.startswith(_STAMPED) else restore(data)
    head = _STAMPED + stamp
    return GuardedMonitor(restore(data[len(head) :]), stamp) if data.startswith(head) else None


def conceal(summary: dict[str, Any]) -> dict[str, Any]:
    """A monitor's summary without tokens; fields that have any are marked `redacted`."""
    shown = dict(summary)
    for side in ("features", "outputs"):
        fields = shown.get(side)
        if isinstance(fields, dict):
            shown[side] = {name: _without_tokens(field) for name, field in fields.items()}
    if isinstance(shown.get("window"), dict):
        shown["window"] = conceal(shown["window"])
    return shown


def _without_tokens(field: dict[str, Any]) -> dict[str, Any]:
    shown = dict(field)
    if "top" in field:
        shown["top"] = [each for each in field["top"] if not str(each["value"]).startswith(TOKEN)]
    for part in ("shares", "baseline_shares"):
        if part in field:
            shown[part] = {name: share for name, share in field[part].items() if not name.startswith(TOKEN)}
    return shown if shown == field else shown | {"redacted": True}

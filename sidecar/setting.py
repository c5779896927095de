"""One setting: its flag, environment variable and YAML key, how it is read, and what it means."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.settings_values import (
    one_of,
    parse_count,
    parse_duration,
    parse_line,
    parse_listen,
    parse_size,
)

ENVIRONMENT_PREFIX = "SIDECAR_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: `key` as in YAML; `default` as a user would write it, None if there is none."""

    key: str
    metavar: str
    parse: Callable[[str], Any]
    default: str | None
    meaning: str
    minimum: str | None = None
    maximum: str | None = None
    per_route: bool = False
    many: bool = False
    separator: str = os.pathsep
    """Between several values in the environment variable."""
    shown: Callable[[str], str] | None = None
    """A wrong value as messages show it; as addresses are shown, if None."""

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.key.upper()

    @property
    def field(self) -> str:
        """The field of `config.Settings`: durations say their unit."""
        return self.key + "_s" if self.parse is parse_duration else self.key

    def value(self, text: str) -> Any:
        """The parsed value. Raises ValueError, phrased to follow the offending text."""
        parsed = self.parse(text)
        if self.minimum is not None and parsed < self.parse(self.minimum):
            raise ValueError(f"is below the least, {self.minimum}")
        if self.maximum is not None and parsed > self.parse(self.maximum):
            raise ValueError(f"is above the most, {self.maximum}")
        return parsed


def address(key: str, default: str | None, meaning: str, per_route: bool = False) -> Setting:
    """An address to listen on."""
    return Setting(key, "HOST:PORT", parse_listen, default, meaning, per_route=per_route)


def duration(key: str, default: str, meaning: str, minimum: str = "0", maximum: str = "7d") -> Setting:
    """Seconds."""
    return Setting(key, "DURATION", parse_duration, default, meaning, minimum, maximum)


def size(key: str, default: str, meaning: str, minimum: str, maximum: str = "16TiB") -> Setting:
    """Bytes."""
    return Setting(key, "SIZE", parse_size, default, meaning, minimum, maximum)


def count(key: str, default: str, meaning: str, minimum: str, maximum: str) -> Setting:
    """A whole number."""
    return Setting(key, "NUMBER", parse_count, default, meaning, minimum, maximum)


def text(key: str, metavar: str, default: str | None, meaning: str) -> Setting:
    """One line of text."""
    return Setting(key, metavar, parse_line, default, meaning)


def choice(key: str, choices: tuple[str, ...], meaning: str) -> Setting:
    """The first choice is the default."""
    return Setting(key, "|".join(choices), one_of(*choices), choices[0], meaning)

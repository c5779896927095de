"""How long the records of each model are kept, from flags or a YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigError, UsageError
from sidecar.settings_values import parse_duration

DAY_US = 86_400_000_000
SIX_MONTHS_US = 184 * DAY_US
"""The longest six months of a year: July to December."""
OVERRIDE = "--allow-shorter-than-six-months"


@dataclass(frozen=True, slots=True)
class Policy:
    """Retention as lengths of time: of the models named, and of every other one if `default_us` is given."""

    models_us: dict[str, int]
    default_us: int | None = None

    def of(self, model: str) -> int | None:
        """How long this model's records are kept; None: for ever."""
        return self.models_us.get(model, self.default_us)

    def require_long_enough(self, shorter_allowed: bool) -> None:
        """Raises UsageError for less than six months, unless that was asked for by name."""
        for model, length_us in (*self.models_us.items(), ("default", self.default_us)):
            if length_us is not None and length_us < SIX_MONTHS_US and not shorter_allowed:
                raise UsageError(
                    f"retention of {model}: {length_us / DAY_US:g} days are less than six months (184 days): "
                    f"give more, or {OVERRIDE}"
                )


def parse_length(text: str) -> int:
    """Microseconds of `400d` and the like. Raises ValueError, phrased to follow the offending text."""
    length_us = int(parse_duration(text) * 1_000_000)
    if length_us <= 0:
        raise ValueError("would keep nothing: write a number of days, for example 400d")
    return length_us


def read_policy(path: Path) -> Policy:
    """The policy in a YAML file: `models` with a length of time each, and `default` for all others.

    Raises ConfigError naming the key and the remedy.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise ConfigError(f"policy {path}: {reason}: give a YAML file") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"policy {path}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not found or not found.keys() <= {"models", "default"}:
        raise ConfigError(f"policy {path}: write `models`, a length of time for each, and `default`")
    models = found.get("models") or {}
    if not isinstance(models, dict):
        raise ConfigError(f"policy {path}: `models` is no mapping: write NAME: 400d")
    default = found.get("default")
    return Policy(
        {str(name): _length(path, f"models.{name}", value) for name, value in models.items()},
        None if default is None else _length(path, "default", default),
    )


def _length(path: Path, key: str, value: Any) -> int:
    try:
        return parse_length(str(value))
    except ValueError as error:
        raise ConfigError(f"policy {path}: {key}: {value!r} {error}") from error

"""The watch file: what is watched beyond the fields as they come, as one frozen value.

    decision: outputs.predict[0] == 1
    false_alarms: 1 per 30d
    features: [inputs.a, inputs.b]
    weights: {inputs.a: 3}
    times: {inputs.created: ms}
    bands: …   means: …   segments: …   bias: …   labels: …   (each as in the module that reads it)
    schema: schema.yaml

Unknown keys are refused by name. It is a part of the plan, so equal files give
equal plans whatever their layout and comments.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from sidecar.statistics.bands import BandSpec, parse_bands
from sidecar.statistics.budget import Budget, parse_budget
from sidecar.statistics.decision import Decision, parse_decision
from sidecar.statistics.groups import BiasSpec, parse_bias
from sidecar.statistics.labels import LabelsSpec, parse_labels
from sidecar.statistics.means import MeanSpec, parse_means
from sidecar.statistics.rule_tally import RuleSet
from sidecar.statistics.section import checked
from sidecar.statistics.segments import SegmentSpec, parse_segments
from sidecar.statistics.timestamps import UNITS

FALSE_ALARMS = "1 per 30d"
MAX_FEATURES = 550


class WatchSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A watch file that was read and checked, without its baseline-dependent parts resolved."""

    decision: str | None = None
    favourable: bool = True
    """Whether a yes of the decision is the favourable outcome."""
    false_alarms: str = FALSE_ALARMS
    features: tuple[str, ...] = ()
    """Paths to watch; empty: the first ones that come."""
    weights: dict[str, float] = {}
    """Shares in the budget by path or quantity; 1 for all others."""
    times: dict[str, str] = {}
    """Unit (s, ms, us, ns since 1970) of numbers that are moments, by path; others may show it themselves."""
    bands: tuple[BandSpec, ...] = ()
    means: tuple[MeanSpec, ...] = ()
    segments: tuple[SegmentSpec, ...] = ()
    bias: tuple[BiasSpec, ...] = ()
    labels: LabelsSpec | None = None
    """How ground truth that arrives later is read; it takes no place in a pane."""
    rules: RuleSet | None = None
    """Data-quality rules: what a schema file says, put in by whoever can read it."""

    @property
    def budget(self) -> Budget:
        return parse_budget(self.false_alarms)

    def named(self, side: str) -> frozenset[str]:
        """The fields of `inputs` or `outputs` that `features` names; empty where all are watched."""
        prefix = side + "."
        return frozenset(path.removeprefix(prefix) for path in self.features if path.startswith(prefix))

    def without_sections(self) -> WatchSpec:
        """Only what needs nothing of a baseline: budget, features, weights and the decision."""
        return WatchSpec(
            self.decision,
            self.favourable,
            self.false_alarms,
            self.features,
            self.weights,
            self.times,
            rules=self.rules,
        )

    @property
    def rule(self) -> Decision | None:
        """The decision, read."""
        return parse_decision(self.decision, None) if self.decision else None


def parse_watch(document: object) -> WatchSpec:
    """The specification in a watch file's YAML or JSON value.

    Raises ValueError: one line that names the key and what it may be.
    """
    if document is None:
        return WatchSpec()
    if not isinstance(document, dict):
        raise ValueError(f"must be a mapping with {', '.join(KEYS)}")
    unknown = [str(key) for key in document if key not in KEYS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0][:60]!r}: takes {', '.join(KEYS)}")
    given: dict[str, Any] = {str(key): value for key, value in document.items() if value is not None}
    spec = WatchSpec(
        decision=_text(given, "decision"),
        favourable=_favourable(given),
        false_alarms=_text(given, "false_alarms") or FALSE_ALARMS,
        features=_features(given.get("features", [])),
        weights=_weights(given.get("weights", {})),
        times=_times(given.get("times", {})),
        bands=parse_bands(given.get("bands")),
        means=parse_means(given.get("means")),
        segments=parse_segments(given.get("segments")),
        bias=parse_bias(given.get("bias")),
        labels=parse_labels(given.get("labels")),
    )
    _text(given, "schema")
    check(spec)
    return spec


KEYS = (
    "decision",
    "favourable",
    "false_alarms",
    "features",
    "weights",
    "times",
    "bands",
    "means",
    "segments",
    "bias",
    "labels",
    "schema",
)


def check(spec: WatchSpec) -> None:
    """Raises ValueError where parts do not go together; for the parts that settings may put in."""
    try:
        _ = spec.rule
    except ValueError as error:
        raise ValueError(f"decision: {error}") from error
    try:
        _ = spec.budget
    except ValueError as error:
        raise ValueError(f"false_alarms: {spec.false_alarms[:40]!r} {error}") from error


def _text(given: dict[str, Any], key: str) -> str | None:
    value = given.get(key)
    checked(value is None or isinstance(value, str), key, "must be a text")
    return value


def _favourable(given: dict[str, Any]) -> bool:
    value = given.get("favourable", True)
    checked(isinstance(value, bool), "favourable", "must be true or false")
    return bool(value)


def _features(value: object) -> tuple[str, ...]:
    checked(isinstance(value, list), "features", "must be a list of paths, for example [inputs.income]")
    assert isinstance(value, list)
    for each in value:
        side, _, name = str(each).partition(".")
        checked(
            isinstance(each, str) and side in ("inputs", "outputs") and name,
            "features",
            f"{str(each)[:60]!r} is neither inputs.NAME nor outputs.NAME",
        )
    checked(len(value) <= MAX_FEATURES, "features", f"{len(value)} paths; at most {MAX_FEATURES} are watched")
    checked(len(set(value)) == len(value), "features", "a path is named twice")
    return tuple(value)


def _times(value: object) -> dict[str, str]:
    checked(isinstance(value, dict), "times", "must be a mapping of path to unit, {inputs.created: ms}")
    assert isinstance(value, dict)
    for path, unit in value.items():
        side, _, name = str(path).partition(".")
        where = f"times: {str(path)[:60]}"
        checked(side in ("inputs", "outputs") and name, where, "is neither inputs.NAME nor outputs.NAME")
        checked(unit in UNITS, where, f"must be one of {', '.join(UNITS)} (since 1970)")
    return dict(sorted((str(path), str(unit)) for path, unit in value.items()))


def _weights(value: object) -> dict[str, float]:
    checked(isinstance(value, dict), "weights", "must be a mapping of path to number, {inputs.income: 3}")
    assert isinstance(value, dict)
    weights = {}
    for path, weight in value.items():
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        checked(
            number and isfinite(weight) and 0 < weight <= 1000,
            f"weights: {str(path)[:60]}",
            "must be a number above 0 and at most 1000",
        )
        weights[str(path)] = float(weight)
    return dict(sorted(weights.items()))

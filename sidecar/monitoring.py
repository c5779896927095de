"""Settings and their files → what a monitor is told, and the baseline that it is given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from sidecar.baseline_folder import BaselineFolder
from sidecar.config import Settings
from sidecar.errors import ConfigError, UsageError
from sidecar.late_monitor import LateMonitor
from sidecar.monitors import Monitor as Watching
from sidecar.quality.rules import Schema
from sidecar.quality_rules import checks_of, read_schema, rule_set
from sidecar.records import TOKEN
from sidecar.shipping.knowledge import MonitorKey
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.decision import Token
from sidecar.statistics.hours import HOUR_US
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.statistics.plan import Plan
from sidecar.statistics.rule_tally import Checks
from sidecar.statistics.watch_spec import FALSE_ALARMS, WatchSpec, check, parse_watch

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_BYTES = 64 << 20
"""Of a watch file or a baseline."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How monitors are begun and brought back."""

    settings: MonitorSettings
    baseline: Baseline | None = None
    token: Token | None = None
    schema: Schema | None = None
    folder: BaselineFolder | None = None
    """Where each model digest has its own baseline; then `baseline` is None."""

    def begin(self, key: MonitorKey) -> Watching:
        """A monitor of that route and model digest which has seen nothing."""
        return self._begin(key, 0)

    def _begin(self, key: MonitorKey, passed: int) -> Watching:
        folder = self.folder
        if folder is None:
            return self._monitor(self.baseline)

        def find() -> Watching | None:
            found = folder.find(key)
            return None if found is None else self._monitor(found)

        lacking = f"{' or '.join(folder.names(key))} is not in {folder.path}: put it there"
        return LateMonitor(find, lacking, self.settings.pane_us, passed)

    def restore(self, key: MonitorKey, state: bytes) -> Watching:
        """The monitor with that state, under today's settings. Raises ValueError if it is none."""
        passed = LateMonitor.passed_of(state)
        if passed is not None:
            return self._begin(key, passed)
        return Monitor.restore(state, self.settings, self._given(key), self.token, self._checks())

    def _given(self, key: MonitorKey) -> Baseline | None:
        """What there is for that digest now; a running monitor goes on without."""
        if self.folder is None:
            return self.baseline
        try:
            return self.folder.find(key)
        except ConfigError as error:
            log.error("%s", error)
            return None

    def _monitor(self, baseline: Baseline | None) -> Monitor:
        return Monitor(self.settings, baseline, self.token, self._checks())

    def _checks(self) -> Checks | None:
        """A monitor's own: rules may remember what they saw."""
        return None if self.schema is None else checks_of(self.schema, TOKEN if self.token else None)


def monitoring(settings: Settings, token: Token | None = None) -> Monitoring:
    """What the settings and the files they name ask for; `token` conceals what must not be known.

    Raises ConfigError, naming the setting, for a file that cannot be read or says what cannot be done.
    """
    watch = watch_of(settings)
    schema = schema_of(settings)
    if schema is not None:
        watch = msgspec.structs.replace(watch, rules=rule_set(schema))
    told = MonitorSettings(
        baseline_exchanges=settings.baseline_exchanges,
        pane_us=round(settings.pane_s * 1e6),
        watermark_us=round(settings.watermark_s * 1e6),
        watch=watch,
        coarse=settings.master_key is not None,
        ships=settings.statistics_ship_s > 0,
    )
    baseline = folder = None
    if settings.baseline_file is not None:
        path = Path(settings.baseline_file)
        if path.is_dir():
            folder = BaselineFolder(path, lambda file: _baseline(file, told, f"baseline_file: {file}: "))
            folder.check()
        else:
            baseline = _baseline(path, told)
    return Monitoring(told, baseline, token, schema, folder)


def _baseline(path: Path, told: MonitorSettings, where: str = "") -> Baseline:
    """The baseline in a file, if what is watched can be under it. Raises ConfigError."""
    baseline = _read(str(path), "baseline_file", Baseline.decode)
    if baseline.by_hour and HOUR_US % told.pane_us:
        raise ConfigError(
            f"pane: {told.pane_us / 1e6:g}s does not divide an hour, as {path}, by hour of the week, "
            "needs it to: set 60s, say"
        )
    try:
        Plan(baseline, told.watch)
    except ValueError as error:
        raise ConfigError(f"{where}watch_file: {error}") from error
    return baseline


def schema_of(settings: Settings) -> Schema | None:
    """The rules of `schema_file`, or of the file that the watch file names. Raises ConfigError."""
    path = schema_path(settings)
    if path is None:
        return None
    try:
        return read_schema(path)
    except UsageError as error:
        key = "schema_file" if settings.schema_file is not None else "watch_file: schema"
        raise ConfigError(f"{key}: {error}") from error


def schema_path(settings: Settings) -> Path | None:
    """The file of rules: `schema_file`, or the one that the watch file names. Raises ConfigError."""
    if settings.schema_file is not None:
        return Path(settings.schema_file)
    if settings.watch_file is None:
        return None
    document = _read(settings.watch_file, "watch_file", yaml.safe_load)
    named = document.get("schema") if isinstance(document, dict) else None
    return Path(settings.watch_file).parent / str(named) if named else None


def watch_of(settings: Settings) -> WatchSpec:
    """The watch file, with the settings of one line put in. Raises ConfigError."""
    watch = WatchSpec()
    if settings.watch_file is not None:
        watch = _read(settings.watch_file, "watch_file", lambda data: parse_watch(yaml.safe_load(data)))
    if settings.decision is not None:
        watch = msgspec.structs.replace(watch, decision=settings.decision)
    if settings.false_alarms != FALSE_ALARMS:
        watch = msgspec.structs.replace(watch, false_alarms=settings.false_alarms)
    try:
        check(watch)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return watch


def _read(path: str, key: str, parse: Callable[[bytes], T]) -> T:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}: give a file that can be read") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{key}: {path}: over {MOST_BYTES >> 20} MiB: give the file meant")
    try:
        return parse(data)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{key}: {path}: is no YAML{place}: mend it") from error
    except RecursionError as error:
        raise ConfigError(f"{key}: {path}: nested too deep: give the file meant") from error
    except (ValueError, UsageError) as error:
        raise ConfigError(f"{key}: {path}: {error}") from error

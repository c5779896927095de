"""What the names of stored panes say, so that a reader opens only what it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sidecar.fleet.pane_file import Facts, Folded

PANES = "statistics/panes"
PLANS = "statistics/plans"
FOLDS = "statistics/folds"
_FILE = re.compile(
    r"^(?P<stamp>[0-9]{8}T[0-9]{9})-(?P<writer>[0-9a-f]{16})-(?P<serial>[0-9]{8,12})"
    r"-P(?P<first>[0-9]{11})-(?P<last>[0-9]{11})-(?P<hash>[0-9a-f]{16})\.parquet$"
)
_FOLD = re.compile(r"^(?P<stamp>[0-9]{8}T[0-9]{9})-G(?P<number>[0-9]{4})-(?P<series>[0-9a-f]{12})\.parquet$")
_DATE = re.compile(r"/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/?$")


@dataclass(frozen=True, slots=True)
class PaneName:
    """One file of panes, told by its name."""

    name: str
    shipped: str
    """UTC, `YYYYMMDDTHHMMSSmmm`."""
    writer: str
    serial: int
    first_us: int
    """Beginning of the earliest pane in it, cut to seconds."""
    last_us: int
    """Beginning of the latest."""
    hash: str
    fold: Facts | None = field(default=None, compare=False)
    """What a fold says of itself; it has neither writer nor serial number of its own."""

    @property
    def folded(self) -> Mapping[str, Folded]:
        """Of a fold: the files whose sum it is."""
        return {} if self.fold is None else self.fold.folded

    @property
    def order(self) -> tuple[str, str, int]:
        """The order in which files are taken where two of them count the same."""
        return self.shipped, self.writer, self.serial


def parse(name: str) -> PaneName | None:
    """The name taken apart; None for anything that is no file of panes."""
    found = _FILE.match(name.rpartition("/")[2])
    if found is None or not name.startswith(PANES + "/"):
        return None
    return PaneName(
        name,
        found["stamp"],
        found["writer"],
        int(found["serial"]),
        int(found["first"]) * 1_000_000,
        int(found["last"]) * 1_000_000,
        found["hash"],
    )


def fold_name(folder: str, hour_us: int, series: str, number: int) -> str:
    """Where that fold belongs: of the files of one series in a folder of panes that were shipped in an hour.

    A number is taken once: whoever puts the object first has it.
    """
    return f"{fold_folder(folder)}/date={day(hour_us)}/{stamp(hour_us)}-G{number:04d}-{series}.parquet"


def fold_folder(folder: str) -> str:
    """Where the folds of a folder of panes are."""
    return FOLDS + folder.removeprefix(PANES)


def parse_fold(name: str) -> tuple[str, int, str] | None:
    """Time stamp of the hour, number and series of a fold; None for anything else."""
    found = _FOLD.match(name.rpartition("/")[2])
    if found is None or not name.startswith(FOLDS + "/"):
        return None
    return found["stamp"], int(found["number"]), found["series"]


def date_of(folder: str) -> str | None:
    """The day of shipping that a folder holds, `YYYY-MM-DD`."""
    found = _DATE.search(folder)
    return found[1] if found else None


def stamp(time_us: int) -> str:
    """What the names of files shipped then begin with."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=max(0, time_us))
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}"


def day(time_us: int) -> str:
    """The UTC day of a time, as in `date=`."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=max(0, time_us)):%Y-%m-%d}"

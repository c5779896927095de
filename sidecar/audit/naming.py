"""What an object's name says of a batch.

Names are made by whoever seals: `records/model=M/digest=D/date=YYYY-MM-DD/
<origin>-L<first leaf>-<last leaf>-S<first seq>-<last seq>-<hash>.parquet`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RECORDS = "records/"
SITE = "site/"
SUBJECTS = "subjects/"

_BATCH = re.compile(
    r"^records/model=(?P<model>[^/]*)/digest=(?P<digest>[^/]*)/date=(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})/"
    r"(?P<origin>[A-Za-z0-9_.~-]+)-L(?P<first>[0-9]{12,})-(?P<last>[0-9]{12,})"
    r"-S(?P<first_seq>[0-9]{12,})-(?P<last_seq>[0-9]{12,})-(?P<hash>[0-9a-f]{16})\.parquet$"
)


_UNSEALED = re.compile(r"^records/(?:[^/]+/){3}[^/]+-[0-9]{12,}-[0-9]{12,}-[0-9a-f]{16}\.parquet$")


@dataclass(frozen=True, slots=True)
class BatchName:
    """One batch object's name taken apart; `model` and `digest` as in the folders."""

    name: str
    model: str
    digest: str
    date: str
    origin: str
    first_leaf: int
    last_leaf: int
    first_seq: int
    last_seq: int
    hash: str

    @property
    def file(self) -> str:
        """The name without its folders."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def partition(self) -> str:
        return self.name.rsplit("/", 1)[0]

    @property
    def leaves(self) -> int:
        return self.last_leaf - self.first_leaf + 1


def is_unsealed(name: str) -> bool:
    """Whether it is called as batches were before records were sealed."""
    return parse(name) is None and "-L" not in name and _UNSEALED.match(name) is not None


def parse(name: str) -> BatchName | None:
    """None for what no sealed batch is called."""
    found = _BATCH.match(name)
    if found is None or int(found["last"]) < int(found["first"]):
        return None
    return BatchName(
        name,
        found["model"],
        found["digest"],
        found["date"],
        found["origin"],
        int(found["first"]),
        int(found["last"]),
        int(found["first_seq"]),
        int(found["last_seq"]),
        found["hash"],
    )

"""Which pod a folder of journals' volume belongs to, by the name that injection gave it."""

from __future__ import annotations

import re
from dataclasses import dataclass

DONE = ".drained-"
"""Before the name of a folder whose journal is in the store: only its removal is left."""
ASIDE = "aside."
"""Before the name of a folder that holds damaged files, kept for inspection."""
_NAME = re.compile(
    r"(?P<namespace>[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)"
    r"_(?P<pod>[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?)"
    r"(?:_(?P<uid>[A-Za-z0-9][-A-Za-z0-9]{0,63}))?"
)


@dataclass(frozen=True, slots=True)
class PodFolder:
    """A pod's folder; without `uid` it belongs to every pod of that name, one after the other."""

    name: str
    namespace: str
    pod: str
    uid: str | None


def pod_folder(name: str) -> PodFolder | None:
    """The pod that `NAMESPACE_POD_UID` or `NAMESPACE_POD` means; None for any other name."""
    found = _NAME.fullmatch(name)
    return PodFolder(name, found["namespace"], found["pod"], found["uid"]) if found else None

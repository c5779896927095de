"""A writer of its own process: appends holds to the store that the command line names."""

from __future__ import annotations

import sys

from sidecar.objects import open_store
from sidecar.site_log import open_site_log
from tests.site.support import hold, operator


def main(url: str, writer: str, count: str) -> None:
    log = open_site_log(open_store(url))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)):
        log.append(operator(), "hold", hold(f"{writer}/{number}"))


if __name__ == "__main__":
    main(*sys.argv[1:])

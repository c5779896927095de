"""`python -m tests.journal.golden`: keeps a journal as this version writes it, for every later one to read.

Run it once, when the format has just been raised, and commit the file: what is
there is never made anew. The journal is a killed pod's, recorded by the real
sidecar: some of it sealed and waiting for a store that is away, the rest unread.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path

from sidecar.journal.folder import FORMAT
from tests.support.dead_pods import Node
from tests.support.running import model_server, until

FOLDER = Path(__file__).parent


def main() -> int:
    target = FOLDER / f"format-{FORMAT}.tar.gz"
    if target.exists():
        print(f"{target} is there already, and is never made anew", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, model_server() as server:
        node = Node(Path(name), server.port)
        try:
            _keep(node, target)
        finally:
            node.end()
    return 0


def _keep(node: Node, target: Path) -> None:
    pod = node.pod("golden", batch_age="1s", redact="header:host=drop").start()
    node.store.rename(node.folder / "away")
    answered = node.load(pod, "sealed", 20)
    until(lambda: pod.status()["store"]["batches_pending"] or None, "a batch that waits")
    answered |= node.load(pod, "unread", 20)
    pod.kill_group()
    (node.folder / "expected.json").write_text(json.dumps({"boot": pod.boot, "ids": sorted(answered)}))
    with tarfile.open(target, "w:gz") as archive:
        archive.add(node.folder / "expected.json", "expected.json")
        archive.add(node.place("golden"), node.place("golden").name, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if entry.name.endswith(("-lock", ".sock")):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    sys.exit(main())

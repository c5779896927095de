"""A recorder reduced to its journal, to be killed: `python writing_process.py FOLDER BOOT DURABILITY SEED`.

It prints the number of each exchange that it "answered": at once under
`relaxed`, only once durable under `before_response`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import random
import sys
from pathlib import Path

from sidecar.records import Exchange
from tests.journal.rig import SMALL, Rig, exchange


async def main(folder: Path, boot: str, durability: str, seed: int) -> None:
    rng = random.Random(seed)
    before_response = durability == "before_response"
    limits = dataclasses.replace(
        SMALL, max_bytes=4 << 30, volume_bytes=4 << 20, before_response=before_response
    )
    rig = Rig(folder, limits, boot)
    rig.writer.start(asyncio.get_running_loop())
    while True:
        for _ in range(rng.randrange(1, 40)):
            size = rng.choice((10, 600, 600, 600, 5000, 60_000))
            rig.begin()
            if rng.random() < 0.02:
                rig.writer.shed("default", "splice_only", 1)
                continue
            made = exchange(b"q" * size)
            if before_response:
                rig.writer.append(made, functools.partial(durable, made))
            else:
                rig.writer.append(made)
                answer(made.seq)
        await asyncio.sleep(rng.choice((0, 0, 0.003)))


def durable(made: Exchange, ok: bool) -> None:
    if ok:
        answer(made.seq)


def answer(seq: int) -> None:
    os.write(1, b"%d\n" % seq)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))

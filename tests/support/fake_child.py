"""A stand-in for the recorder or the analyst: `python fake_child.py ROLE BEHAVIOUR FOLDER FD`.

It takes the handover as the real ones do, answers every connection with its
own pid, and appends what happens to it to FOLDER/ROLE.log.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sidecar.config import Handover


def main(role: str, behaviour: str, folder: Path, descriptor: int) -> NoReturn:
    journal = (folder / f"{role}.log").open("a", buffering=1)
    journal.write(f"start {os.getpid()}\n")
    if behaviour == "crash" or (behaviour == "mended" and not (folder / "mended").exists()):
        os._exit(3)
    handover = Handover.read(descriptor)
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    (folder / f"{role}.fds").write_text("\n".join(map(str, opened)))
    reader, writer = os.pipe()

    def on_term(_number: int, _frame: FrameType | None) -> None:
        journal.write("term\n")
        if behaviour == "fragile" and not (folder / "broken").exists():
            (folder / "broken").touch()
            os._exit(4)
        if behaviour != "stubborn":
            os.write(writer, b"x")

    signal.signal(signal.SIGTERM, on_term)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    signal.signal(signal.SIGINT, lambda *_: journal.write("int\n") and None)
    listeners = [socket.socket(fileno=fd) for fds in handover.listeners.values() for fd in fds]
    journal.write("ready\n")
    while True:
        descriptors = {listener.fileno(): listener for listener in listeners}
        ready, _, _ = select.select([*descriptors, handover.life_fd, reader], [], [])
        if handover.life_fd in ready:
            journal.write("orphan\n")
            os._exit(1)
        if reader in ready:
            journal.write("end\n")
            os._exit(0)
        for descriptor in ready:
            connection, _ = descriptors[descriptor].accept()
            connection.sendall(str(os.getpid()).encode())
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))

"""Logging to stderr that can never hold up the process that logs.

A container's log pipe whose reader hangs would block a write, and with it the
recorder's loop; so a line that would have to wait is dropped and counted, and
the next line that gets through says how many.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
from typing import Any

LINE_BYTES = 4096
"""A pipe that polls writable takes this much at once and unmixed (PIPE_BUF)."""
_FIELD_CHARACTERS = 1200
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
}


def configure(format: str, level: str, process: str) -> None:  # noqa: A002 - the setting's name
    """Send all logging of this process to stderr.

    `format` is `json` (one object a line: ts, level, process, logger, message,
    and every `extra` field), `text`, or `auto`: text on a terminal, else json.
    """
    if format == "auto":
        format = "text" if sys.stderr is not None and sys.stderr.isatty() else "json"  # noqa: A001
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter(process) if format == "json" else TextFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def timestamp(seconds: float) -> str:
    """UTC, ISO 8601, milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _shorten(value: Any, limit: int = _FIELD_CHARACTERS) -> Any:
    return value[:limit] + "…" if isinstance(value, str) and len(value) > limit else value


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "ts": timestamp(record.created),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _extras(record).items():
            fields.setdefault(name, value)
        if record.exc_info:
            # The end of a traceback names the error; keep that when it is long.
            fields["exception"] = self.formatException(record.exc_info)[-_FIELD_CHARACTERS:]
        return _fitting(fields)


def _fitting(fields: dict[str, Any]) -> str:
    """JSON of at most LINE_BYTES, so that the line is never cut where it would stop being JSON."""
    line = ""
    for limit in (_FIELD_CHARACTERS, 200, 40):
        shown = {name: _shorten(value, limit) for name, value in fields.items()}
        line = json.dumps(shown, ensure_ascii=False, default=str)
        if len(line.encode("utf-8", "replace")) < LINE_BYTES:
            return line
    first = ("ts", "level", "process", "logger", "message")
    return json.dumps({name: _shorten(fields[name], 40) for name in first}, default=str)


class TextFormatter(logging.Formatter):
    """One line for a person; extra fields follow as `name=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        extras = "".join(f" {name}={_shorten(value)}" for name, value in _extras(record).items())
        start = f"{timestamp(record.created)[11:-1]} {record.levelname.lower():<7} {self._process}"
        line = f"{start}: {record.getMessage()}{extras}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)[-_FIELD_CHARACTERS:]
        return line


class StderrHandler(logging.Handler):
    """Writes each record with one write(2), or drops it when that would wait."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                record.__dict__["lines_dropped"] = self._dropped
            line = self.format(record).encode("utf-8", "replace")[: LINE_BYTES - 1] + b"\n"
            if self._writable():
                os.write(self._descriptor, line)
                self._dropped = 0
            else:
                self._dropped += 1
        except Exception:
            # There is no one left to tell; logging must not become the process's failure.
            self._dropped += 1

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return any(events & select.POLLOUT for _, events in poll.poll(0))

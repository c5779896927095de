"""The one way in which the demo fails: a line that names what, why and what to do."""

from __future__ import annotations


class DemoError(Exception):
    """Ends the demo with exit 1; the message is the one line that the user sees."""

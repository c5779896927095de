"""JSONPath (RFC 9535) → places in a JSON value.

A singular query (`$.a.b[0]`), which most rules are, is walked here at a tenth
of the library's cost; every other one is the library's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonpath import JSONPath, JSONPathEnvironment
    from jsonpath.filter import BaseExpression

LONGEST_S: Final = 5.0
"""Of computing, for one query over one value."""
CHECKED_EVERY: Final = 256

Location = tuple[str | int, ...]
"""Member names and array indices from the root; `()` is the root itself."""


class Unresolved(Exception):
    """The query could not be run over this value: too deep, too long, or a filter failed on it."""


class Path:
    """A compiled query."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, phrased to follow the offending text, if `text` is no JSONPath."""
        # Loaded for the first rule that needs it: 8 MB that a sidecar without such rules does without.
        from jsonpath import JSONPath, JSONPathError

        self.text = text
        try:
            query = _environment().compile(text)
        except (JSONPathError, ValueError, RecursionError) as error:
            reason = str(error.message if isinstance(error, JSONPathError) else error).splitlines()
            raise ValueError(
                f"has no valid JSONPath: {reason[0] if reason else 'not readable'}: "
                "write one as in RFC 9535, for example $.applicant.name"
            ) from error
        if not isinstance(query, JSONPath):
            raise ValueError("joins several JSONPaths: write one rule for each")
        if any(_searches(each) for each in _filters(query)):
            # A body made for it would keep the filter computing for minutes, between two matches.
            raise ValueError("has a filter that searches with `..`: name the members on its way")
        self._query = query
        self._failures = (JSONPathError, RecursionError, ValueError, TypeError)
        self._steps = _steps(query)

    def locations(self, value: Any) -> list[Location]:
        """Where the query matches, each place once. Raises Unresolved."""
        if self._steps is not None:
            return self._walk(value, self._steps)
        if not isinstance(value, dict | list):
            # Nothing is below it; and the library would read a text as JSON.
            return []
        try:
            return self._resolve(value)
        except self._failures as error:
            # The cause's text can quote the value; only its kind is passed on.
            raise Unresolved(type(error).__name__) from None

    def _resolve(self, value: Any) -> list[Location]:
        found: dict[Location, None] = {}
        until_s = time.thread_time() + LONGEST_S
        for number, match in enumerate(self._query.finditer(value)):
            found[match.parts] = None
            # Several `..` find one place in as many ways as the value is deep, to the power of their number.
            if number % CHECKED_EVERY == 0 and time.thread_time() > until_s:
                raise Unresolved("TooLong")
        return list(found)

    def _walk(self, value: Any, steps: Location) -> list[Location]:
        location: list[str | int] = []
        for step in steps:
            if type(step) is str:
                if type(value) is not dict or step not in value:
                    return []
            else:
                if type(value) is not list or not -len(value) <= step < len(value):  # type: ignore[operator]
                    return []
                step = step if step >= 0 else step + len(value)  # type: ignore[operator]
            location.append(step)
            value = value[step]
        return [tuple(location)]


def value_at(value: Any, location: Location) -> Any:
    """What stands at a location that `Path.locations` gave for this value."""
    for step in location:
        value = value[step]
    return value


@lru_cache(maxsize=1)
def _environment() -> JSONPathEnvironment:
    from jsonpath import JSONPathEnvironment

    return JSONPathEnvironment(strict=True)


def _filters(query: JSONPath) -> Iterator[BaseExpression]:
    from jsonpath.selectors import Filter

    for segment in query.segments:
        yield from (each.expression for each in segment.selectors if isinstance(each, Filter))


def _searches(expression: BaseExpression) -> bool:
    from jsonpath.filter import FilterQuery
    from jsonpath.segments import JSONPathRecursiveDescentSegment

    if isinstance(expression, FilterQuery):
        segments = expression.path.segments
        if any(isinstance(each, JSONPathRecursiveDescentSegment) for each in segments):
            return True
        return any(_searches(each) for each in _filters(expression.path))
    return any(_searches(each) for each in expression.children())


def _steps(query: JSONPath) -> Location | None:
    """The steps of a singular query, None for any other."""
    from jsonpath.selectors import IndexSelector, NameSelector

    if not query.singular_query():
        return None
    steps: list[str | int] = []
    for segment in query.segments:
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector):
            steps.append(selector.index)
        else:
            return None
    return tuple(steps)

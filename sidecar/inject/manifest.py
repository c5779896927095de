"""Manifests as text: cut into documents, patched without touching what the patch does not name.

A document is edited as YAML nodes, not as values, so that quotes, the order of
keys, octal numbers and block texts stay as they were written. Comments of a
patched document are lost, and its anchors are written out; other documents stay
as they are, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from sidecar.inject.json_patch import apply, apply_to_nodes
from sidecar.inject.pod import Object
from sidecar.inject.yaml_nodes import Dumper, Loader, ManifestError, written_out

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVES = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n)*%(?:.*\n)*")
"""`%YAML 1.1` and the like belong to the document behind the separator."""


_BLANKS = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a manifest: the text in front of its content (`---`), the content, and its value."""

    head: str
    body: str
    value: Any
    """JSON value; None for an empty document."""

    @property
    def text(self) -> str:
        return self.head + self.body


def documents(text: str) -> list[Document]:
    """The documents of a YAML stream, or of JSON values one after the other; their texts together are `text`.

    Raises ManifestError.
    """
    if text.lstrip()[:1] in ("{", "["):
        try:
            return list(_json_stream(text))
        except (ValueError, RecursionError):
            # A flow mapping of YAML that is no JSON.
            pass
    starts = [found.start() for found in _SEPARATOR.finditer(text)]
    if starts and _DIRECTIVES.fullmatch(text[: starts[0]]):
        starts[0] = 0
    edges = [0, *(start for start in starts if start), len(text)]
    found = []
    for begin, end in pairwise(edges):
        piece = text[begin:end]
        head = "---" if piece.startswith("---") and _SEPARATOR.match(piece) else ""
        body = piece[len(head) :]
        if head and "\n" in body and not body.partition("\n")[0].strip():
            line, newline, body = body.partition("\n")
            head += line + newline
        found.append(Document(head, body, _value(piece, text.count("\n", 0, begin))))
    return found


def _json_stream(text: str) -> Iterator[Document]:
    decoder, begin = json.JSONDecoder(), 0
    while begin < len(text):
        value, end = decoder.raw_decode(text, _behind_blanks(text, begin))
        # Blanks behind a value are its own, so that no document is empty.
        end = _behind_blanks(text, end)
        yield Document("", text[begin:end], value)
        begin = end


def _behind_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found is not None else at


def _value(piece: str, line: int) -> Any:
    try:
        return yaml.load(piece, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {line + mark.line + 1}: " if mark is not None else ""
        raise ManifestError(f"{where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"the document from line {line + 1} is no YAML: {error}") from error


def patched(document: Document, patch: Iterable[Object]) -> str:
    """The document's text with the patch applied. Raises ManifestError for too many aliases."""
    if document.body.lstrip()[:1] == "{" and not document.head:
        try:
            value = json.loads(document.body)
        except ValueError:
            pass
        else:
            return _ended_as(
                document.text, json.dumps(apply(value, patch), indent=2, ensure_ascii=False) + "\n"
            )
    root = yaml.compose(document.text, Loader=Loader)
    if root is None:
        return document.text
    root = written_out(root)
    apply_to_nodes(root, patch)
    body = yaml.serialize(root, Dumper=Dumper, width=float("inf"), allow_unicode=True)
    end = "" if body.endswith("\n") else "\n"
    head = document.head if not document.head or document.head.endswith("\n") else "---\n"
    return head + _ended_as(document.text, body + end)


def _ended_as(before: str, text: str) -> str:
    """The text with the line ends of what it replaces."""
    return text.replace("\n", "\r\n") if "\r\n" in before else text

"""The documents are true: tables come from the code, commands and files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from sidecar.cli import cli
from sidecar.settings_table import TABLE, markdown

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(?:sh|shell|bash|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def commands(document: Path) -> list[list[str]]:
    """Words of every command line in the document's shell blocks; continued lines joined."""
    found = []
    for block in BLOCK.findall(document.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].removeprefix("$ ").split()
            if words:
                found.append(words)
    return found


def sidecar_commands() -> list[tuple[str, list[str]]]:
    """Arguments of every `sidecar …` that a document shows."""
    found = []
    for document in DOCUMENTS:
        for words in commands(document):
            names = [index for index, word in enumerate(words) if Path(word).name == "sidecar"]
            if names:
                found.append((document.name, words[names[0] + 1 :]))
    return found


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_table_of_settings_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    shown = text.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert shown == markdown(), "put the output of `python -m sidecar.settings_table` between the marks"


def test_every_setting_has_a_row() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for setting in TABLE:
        assert f"| `{setting.key}` | `{setting.flag}` | `{setting.variable}` |" in text


def test_every_make_target_in_the_documents_exists() -> None:
    for document in DOCUMENTS:
        for words in commands(document):
            if words[0] == "make":
                named = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
                assert named <= targets(), f"{document.name}: {' '.join(words)}"


@pytest.mark.parametrize(("document", "arguments"), sidecar_commands())
def test_every_sidecar_command_in_the_documents_has_its_flags(document: str, arguments: list[str]) -> None:
    command: click.Command = cli
    words = [word for word in arguments if word not in ("[", "]", "&", "|")]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, f"{document}: no such command: {' '.join(arguments)}"
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    flags = {word.strip("[]").partition("=")[0] for word in words if word.strip("[]").startswith("--")}
    assert flags <= known, f"{document}: {sorted(flags - known)} in {' '.join(arguments)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_links_to_exist(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"

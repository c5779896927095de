"""The options of coverage and controller that say which pods are models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from sidecar.model_pods import KNOWN_MARKS, Mark, parse_mark
from sidecar.parameters import Parsed

Command = TypeVar("Command", bound=Callable[..., Any])

LIVING = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of pods that have not ended."""


def mark_options(command: Command) -> Command:
    """Adds `--also` and `--labelled-only`, what `marks` takes."""
    for option in (
        click.option("--labelled-only", is_flag=True, help="KServe's and Seldon's labels say nothing."),
        click.option(
            "--also",
            multiple=True,
            type=Parsed("LABEL", parse_mark),
            help="Pods with this label, KEY or KEY=VALUE, are models too; beside KServe's and Seldon's.",
        ),
    ):
        command = option(command)
    return command


def marks(also: Sequence[Mark], labelled_only: bool) -> tuple[Mark, ...]:
    """Labels that tell model pods which nobody asked to record."""
    return (*(() if labelled_only else KNOWN_MARKS), *also)

"""The options of commands that send alerts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

RATE = "30 per 1m"


def alert_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--alert-url`, `--alert-secret-file` and `--alert-rate`, each also a variable."""
    for option in reversed(
        (
            click.option(
                "--alert-url",
                "alert_urls",
                multiple=True,
                envvar="SIDECAR_ALERT_URL",
                metavar="URL",
                help="alertmanager+https://…, webhook+https://… or cloudevents+https://…; repeatable.",
            ),
            click.option(
                "--alert-secret-file",
                type=click.Path(path_type=Path),
                envvar="SIDECAR_ALERT_SECRET_FILE",
                metavar="FILE",
                help="The secret that signs what webhooks get.",
            ),
            click.option(
                "--alert-rate",
                default=RATE,
                show_default=True,
                envvar="SIDECAR_ALERT_RATE",
                metavar="N per TIME",
                help="At most so many to each receiver; the others wait.",
            ),
        )
    ):
        function = option(function)
    return function

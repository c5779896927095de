"""The `sidecar` command. A mistake is one line on stderr and exit code 2; a failure one line and 1.

Subcommands are imported when they are used, so that `run` never carries what
only `find` needs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from sidecar import __version__
from sidecar.config import journal_folder, load, service_variables
from sidecar.errors import SidecarError
from sidecar.settings_table import TABLE

LAZY = {
    "find": ("sidecar.lookup", "List records of a store, newest first."),
    "show": ("sidecar.lookup", "Print one record whole: identity, times, request and response."),
    "fold": ("sidecar.folding", "Add up the panes that all pods shipped in an hour into one file."),
    "compact": ("sidecar.compaction", "Repeat many small files in few large ones, proven equal."),
    "labels": ("sidecar.labelling", "Add what turned out to be true, and say how right the model was."),
    "replay": ("sidecar.replay", "Send a recorded request again and compare the answers."),
    "verify": ("sidecar.verification", "Recompute every log of a store and say what is intact."),
    "prove": ("sidecar.verification", "Write a receipt of one record that anyone can check offline."),
    "keys": ("sidecar.keyring", "Make keys, show keys, and enrol pods."),
    "erase": ("sidecar.erasure", "Destroy a subject's keys, and with them its data."),
    "hold": ("sidecar.holding", "Place a legal hold, or release it."),
    "retain": ("sidecar.retention", "Remove records whose retention is over."),
    "inject": ("sidecar.injecting", "Put the sidecar into Kubernetes manifests."),
    "admission-policy": ("sidecar.admission_policy", "Print injection as a MutatingAdmissionPolicy."),
    "intercept": ("sidecar.intercepting", "Lead a pod's traffic to the recorder, by nftables."),
    "drain": ("sidecar.draining", "Ship the journals of pods that are gone."),
    "webhook": ("sidecar.webhooking", "Inject the sidecar into pods as they are created."),
    "controller": ("sidecar.controlling", "Label pods with their image, and tell which are not recorded."),
    "coverage": ("sidecar.covering", "List the model pods of a cluster, and which are not recorded."),
    "witness": ("sidecar.witnessing", "Check every log against what was seen before, and cosign it."),
    "drift": ("sidecar.drifting", "Add all pods' statistics and say what moved."),
    "schema": ("sidecar.quality_commands", "Infer data-quality rules, and check data against them."),
    "watch": ("sidecar.watching", "Watch all pods' statistics and raise the alarms."),
    "baseline": ("sidecar.baselining", "Make and look at baselines: what normal traffic looks like."),
    "alarms": ("sidecar.alerts", "List the alarms, or acknowledge one."),
    "alert": ("sidecar.alerts", "Send a test alert."),
}


class LazyGroup(click.Group):
    """A group whose `LAZY` commands are imported on use; their help lines are known without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *LAZY]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LAZY:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(LAZY[cmd_name][0]), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*rows, *((name, text) for name, (_, text) in LAZY.items())])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar", message="%(prog)s %(version)s")
def cli() -> None:
    """The flight recorder for machine-learning models."""


def setting_options(*keys: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The flags of these settings (all, if none is named) and `--config`; `config` parses them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for setting in reversed([each for each in TABLE if not keys or each.key in keys]):
            shown = f"{setting.meaning} [default: {setting.default}]" if setting.default else setting.meaning
            function = click.option(
                setting.flag, setting.key, metavar=setting.metavar, multiple=setting.many, help=shown
            )(function)
        return click.option("--config", metavar="FILE", help="YAML file with the same keys, and `routes`.")(
            function
        )

    return decorate


@cli.command()
@setting_options()
def run(**flags: Any) -> None:
    """Record the traffic of a model server.

    Every flag is also an environment variable (--hold-limit is
    SIDECAR_HOLD_LIMIT) and a key of the YAML file (hold_limit); a flag wins over
    the variable, and that over the file.
    """
    settings = load(flags, os.environ)
    from sidecar import logs
    from sidecar.run import log
    from sidecar.run import run as supervise

    logs.configure(settings.log_format, settings.log_level, "supervisor")
    ignored = service_variables(os.environ)
    if ignored:
        log.warning("not settings, but a Kubernetes Service's variables: %s", ", ".join(ignored))
    sys.exit(supervise(settings, dict(os.environ)))


@cli.group()
def ctl() -> None:
    """Talk to a running sidecar through its journal folder."""


@ctl.command("splice-only")
@click.argument("switch", type=click.Choice(["on", "off"]))
@setting_options("journal")
def splice_only(switch: str, **flags: Any) -> None:
    """Switch recording off (`on`: bytes only flow, and are counted) and back on (`off`)."""
    from sidecar.control import ask

    mode = "splice-only" if switch == "on" else "record"
    answer = ask(journal_folder(flags, os.environ), {"do": "mode", "mode": mode})
    click.echo(f"mode: {answer['mode']}")


@ctl.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@setting_options("journal")
def status(as_json: bool, **flags: Any) -> None:
    """What runs, in which mode, and how often it was started."""
    from sidecar.control import ask

    answer = ask(journal_folder(flags, os.environ), {"do": "status"})
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(f"boot:        {answer['boot']}")
    click.echo(f"phase:       {answer['phase']}")
    click.echo(f"mode:        {answer['mode']}")
    for name, pid in answer["processes"].items():
        starts = answer["starts"].get(name)
        click.echo(f"{name + ':':<12} pid {pid or '–'}" + (f", started {starts} times" if starts else ""))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every error leaves as one line on stderr and its exit code."""
    try:
        cli.main(args=arguments, prog_name="sidecar", standalone_mode=False, obj=os.environ)
    except SidecarError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "sidecar"
        _fail(f"{error.format_message()} See `{where} --help`.", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # `sidecar find … | head` is no failure; what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(message: str, code: int) -> None:
    print("sidecar: " + " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()

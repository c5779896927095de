"""The sidecar's status → what the demo's terminal shows."""

from typing import Any

import pytest

from docs.demo.readings import Speed, read_status

PROBABLE_DIGEST = "sha256:ab"


def status(models: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "boot": "20261123T231500-9f3c2a71b0",
        "routes": {"default": {"ended": 100, "committed_seq": 98, "shed": 3}},
        "store": {"rows_shipped": 90, "lag_records": 5, "error": None},
        "analyst": {"decode_errors": 1, "lag_records": 2},
        "models": models,
    }


def model(**changes: Any) -> dict[str, Any]:
    window = {
        "exchanges": 60,
        "outputs": {
            "predict_proba": {"kind": "numeric", "mean": 0.2},
            "predict": {
                "shares": {"denied": 0.5, "approved": 0.5},
                "baseline_shares": {"approved": 0.88, "denied": 0.12},
            },
        },
        "features": {
            "dir": {"psi": None, "mean": 0.4, "baseline_mean": 0.3, "baseline_deviation": 0.1},
            "lvr": {"psi": None, "mean": 0.9, "baseline_mean": 0.7, "baseline_deviation": 0.1},
            "pbcr": {
                "psi": 0.5,
                "top": [
                    {"value": "no", "share": 0.6, "baseline_share": 0.9},
                    {"value": "yes", "share": 0.4, "baseline_share": 0.1},
                ],
            },
            "black": {"psi": 0.1, "top": []},
        },
    }
    whole = {
        "route": "default",
        "digest": PROBABLE_DIGEST,
        "state": "watching",
        "baseline": {"exchanges": 40, "wanted": 40},
        "exchanges": 61,
        "features": {"dir": {"psi": 0.2}},
        "window": window,
    }
    return whole | changes


def test_counts_come_from_the_route_and_never_exceed_each_other() -> None:
    reading = read_status(status([]))
    assert (reading.exchanges, reading.journaled, reading.shipped, reading.shed) == (100, 95, 90, 3)
    assert (reading.waiting, reading.unread, reading.decode_errors) == (5, 2, 1)


def test_before_the_first_answer_nothing_is_known_of_the_model() -> None:
    reading = read_status(status([]))
    assert not reading.watching
    assert (reading.shares, reading.moves) == ((), ())
    assert reading.share("denied").now is None


def test_while_warming_up_only_the_progress_is_known() -> None:
    warming = model(state="warming_up", baseline={"exchanges": 10, "wanted": 40}, exchanges=0, window=None)
    reading = read_status(status([warming]))
    assert (reading.watching, reading.baseline_exchanges, reading.baseline_wanted) == (False, 10, 40)
    assert reading.shares == ()


def test_the_first_output_with_shares_gives_the_decisions_most_frequent_first() -> None:
    reading = read_status(status([model()]))
    assert [share.decision for share in reading.shares] == ["approved", "denied"]
    assert (reading.share("denied").baseline, reading.share("denied").now) == (0.12, 0.5)


def test_features_are_ordered_by_psi_of_the_window_else_of_everything_else_by_distance() -> None:
    reading = read_status(status([model()]))
    assert [(move.feature, move.psi) for move in reading.moves] == [
        ("pbcr", 0.5),
        ("dir", 0.2),
        ("black", 0.1),
        ("lvr", None),
    ]


def test_changes_are_told_as_means_or_as_the_rarer_share() -> None:
    changes = {move.feature: move.change for move in read_status(status([model()])).moves}
    assert changes == {
        "pbcr": "yes: 10% → 40%",
        "dir": "mean 0.3 → 0.4",
        "lvr": "mean 0.7 → 0.9",
        "black": "",
    }


def test_of_several_models_the_busiest_is_shown() -> None:
    idle = model(exchanges=1, baseline={"exchanges": 1, "wanted": 40}, digest="unknown")
    assert read_status(status([idle, model()])).watched == 61


def test_another_document_is_refused() -> None:
    with pytest.raises((KeyError, TypeError)):
        read_status({"detail": "not found"})


def test_speed_is_taken_over_the_last_seconds() -> None:
    speed = Speed()
    assert speed.add(0.0, 0) == 0.0
    assert speed.add(1.0, 10) == 10.0
    for second in range(2, 20):
        latest = speed.add(float(second), 10 + (second - 1) * 40)
    assert latest == 40.0

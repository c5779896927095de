from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.ledger.note import SigningKey
from sidecar.site.bodies import (
    KIND_OF,
    Enrolment,
    Erase,
    ErasedKeys,
    Hold,
    Release,
    RemovedObject,
    RemovedRange,
    Retention,
    Seen,
    TimeStamp,
    Witness,
    read,
    to_json,
)
from sidecar.site.enrolled import enrolled
from sidecar.site.entry import Entry
from sidecar.site.erasures import Erasures
from sidecar.site.holds import Holds
from sidecar.site.removed import removals
from sidecar.site.witnessed import newest
from tests.site.support import OPERATOR, OTHER, entries, operator, site_log

ENROLMENT = Enrolment(
    prefix="c.n.w.p", cluster="c", namespace="n", workload="w", pod_uid="p", public_key=None, since_us=1
)
ERASE = Erase(
    tags={"m": "aa"},
    objects=[ErasedKeys(name="subjects/a.json", batch="a", subject_key_ids=["01", "02"])],
    journal_until_us=5,
)
RANGE = RemovedRange(
    origin="o", first_leaf=0, last_leaf=9, rows=10, exchanges=7, first_seq=1, last_seq=7, t_min_us=1, t_max_us=2,
    size=10, root="r", checkpoint="c", public_key="k", subtrees=[(3, "a"), (1, "b")], frontier=["a", "b"],
    objects=[RemovedObject(name="records/a", sha256="00", bytes=3, first_leaf=0, last_leaf=9)],
)  # fmt: skip
RETENTION = Retention(model="m", older_than_us=1, cutoff_us=2, shorter_than_six_months=False, ranges=[RANGE])
SEEN = Seen(
    origin="o", size=4, root="r", key="k", checkpoint="c", frontier=["a"], batch="b", files=1, names="00"
)
WITNESS = Witness(
    cosigner="w", site_size=0, site_root="r", checkpoints=[SEEN], problems=[],
    timestamp=TimeStamp(authority="http://a/", response="AA=="),
)  # fmt: skip
ALL = [
    ENROLMENT,
    ERASE,
    Hold(scope="model", model="m", reason="x"),
    Release(holds=[0], reason="x"),
    RETENTION,
    WITNESS,
]


def entry(index: int, body: Any, key: SigningKey = OPERATOR, kind: str | None = None) -> Entry:
    made = body if isinstance(body, dict) else to_json(body)
    return Entry(index, None, index, kind or KIND_OF[type(body)], made, "", str(key.verifier), "")


@pytest.mark.parametrize("body", ALL, ids=lambda body: type(body).__name__)
def test_a_body_comes_back_through_the_log_as_it_was(tmp_path: Path, body: Any) -> None:
    log, _ = site_log(tmp_path)
    log.append(operator(), KIND_OF[type(body)], to_json(body))
    (found,) = entries(log)
    assert read(found, type(body)) == body


@pytest.mark.parametrize("body", ALL, ids=lambda body: type(body).__name__)
def test_a_body_that_is_not_of_its_kind_says_nothing(body: Any) -> None:
    kind = KIND_OF[type(body)]
    fields = to_json(body)
    assert read(entry(0, {**fields, "more": 1}, kind=kind), type(body)) is None
    assert read(entry(0, {}, kind=kind), type(body)) is None
    assert read(entry(0, {name: [] for name in fields}, kind=kind), type(body)) is None
    assert read(entry(0, fields, kind="reperformance"), type(body)) is None


def test_the_newest_enrolment_of_a_pod_counts() -> None:
    retired = Enrolment(**{**to_json(ENROLMENT), "retired_us": 9})
    found = enrolled([entry(0, ENROLMENT), entry(1, retired)])
    assert found == {"c.n.w.p": retired}
    assert enrolled([entry(0, ENROLMENT), entry(1, retired, OTHER)], {str(OPERATOR.verifier)}) == {
        "c.n.w.p": ENROLMENT
    }


def test_the_first_order_for_a_key_is_the_one_that_is_named() -> None:
    orders = Erasures()
    orders.follow([entry(3, ERASE), entry(4, ERASE)])
    assert orders.key_ids == {"subjects/a.json": {"01": 3, "02": 3}}
    assert [each.index for each in orders.orders] == [3, 4]
    only = Erasures({str(OPERATOR.verifier)})
    only.follow([entry(3, ERASE, OTHER)])
    assert not only.orders


def test_holds_stand_until_a_release_that_counts() -> None:
    hold, release = Hold(scope="model", model="m", reason="x"), Release(holds=[0, 7], reason="x")
    holds = Holds()
    holds.follow([entry(0, hold)])
    assert [each.index for each in holds.standing()] == [0]
    holds.follow([entry(1, release, OTHER)])
    assert [each.index for each in holds.standing()] == [0]
    holds.follow([entry(2, release)])
    assert holds.standing() == []
    trusting = Holds({str(OTHER.verifier)})
    trusting.follow([entry(0, hold), entry(1, release, OTHER)])
    assert trusting.standing() == []


def test_removed_ranges_come_in_leaf_order_by_log() -> None:
    later = Retention(
        **{**to_json(RETENTION), "ranges": [RemovedRange(**{**to_json(RANGE), "first_leaf": 4})]}
    )
    found = removals(
        [entry(5, later), entry(6, RETENTION), entry(7, RETENTION, OTHER)], {str(OPERATOR.verifier)}
    )
    assert [(each.range.first_leaf, each.index) for each in found["o"]] == [(0, 6), (4, 5)]


def test_the_longest_sighting_of_a_log_is_the_newest() -> None:
    shorter = Witness(
        **{**to_json(WITNESS), "checkpoints": [Seen(**{**to_json(SEEN), "size": 3})], "timestamp": None}
    )
    found = newest([entry(0, WITNESS), entry(1, shorter)])
    assert (found["o"].seen.size, found["o"].index) == (4, 0)
    assert newest([entry(0, WITNESS, OTHER)], {str(OPERATOR.verifier)}) == {}

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger.origin import LIMITS, Origin, Place, origin, parse

UID = "3d1f6a52-7c0e-4c7b-9a43-0c2a1f5b6d7e"
PLACE = Place("prod-eu", "default", "mortgage", UID)
BOOT = "20261123T231500-9f3c2a71b0"
SUFFIX = "-L000000000000-000000000099-S000000000001-000000000098-0123456789abcdef.parquet"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50) | st.text(
    st.sampled_from("ab~_-.2Ef0é"), max_size=50
)
places = st.builds(Place, texts, texts, texts, texts)


def test_an_origin_reads_as_where_and_when() -> None:
    text = origin(PLACE, "default", BOOT)
    assert text == f"prod-eu.default.mortgage.{UID}.default.{BOOT}"
    assert parse(text) == Origin(text, PLACE, "default", BOOT, None, frozenset())
    assert PLACE.prefix == parse(text).prefix == f"prod-eu.default.mortgage.{UID}"


def test_a_log_that_seals_a_dead_boots_exchanges_names_it_seventh() -> None:
    dead = "20261122T101010-0000000000"
    text = origin(PLACE, "default", BOOT, dead)
    assert text == f"prod-eu.default.mortgage.{UID}.default.{BOOT}.{dead}"
    found = parse(text)
    assert (found.boot, found.boot_part, found.dead_boot, found.prefix) == (BOOT, BOOT, dead, PLACE.prefix)


@pytest.mark.parametrize(
    ("route", "part"),
    [
        ("", "_"),
        ("_", "~5F"),
        ("__", "__"),
        ("a.b", "a~2Eb"),
        ("a/b", "a~2Fb"),
        ("é", "~C3~A9"),
        ("~", "~7E"),
    ],
)
def test_parts_are_escaped(route: str, part: str) -> None:
    text = origin(Place(), route, "b")
    assert text == f"_._._._.{part}.b"
    assert parse(text).route == route


def test_a_long_part_keeps_its_beginning_and_a_hash() -> None:
    name = "a-very-long-workload-name-indeed"
    text = origin(Place(workload=name), "r", "b")
    short = name[:17] + "~" + sha256(name.encode()).hexdigest()[:8]
    assert text == f"_._.{short}._.r.b"
    found = parse(text)
    assert found.place.workload == short
    assert found.shortened == {"workload"}


@given(places, texts, texts, st.none() | texts)
@example(Place(), "%000000", "b", None)
@example(Place(), "~00000000", "b", None)
@example(Place(cluster="......"), ".......", "b", "")
@example(Place("é" * 50, "é" * 50, "é" * 50, "é" * 50), "é" * 50, "é" * 50, "é" * 50)
def test_origins_are_file_names_and_can_be_taken_apart(
    place: Place, route: str, boot: str, dead: str | None
) -> None:
    text = origin(place, route, boot, dead)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", text)
    assert len(f".{text}{SUFFIX}.part".encode()) <= 255
    found = parse(text)
    assert found.text == text
    assert found.prefix == place.prefix
    given_parts = {
        "cluster": place.cluster, "namespace": place.namespace, "workload": place.workload,
        "pod_uid": place.pod_uid, "route": route, "boot": boot, "dead_boot": dead,
    }  # fmt: skip
    for name, value in given_parts.items():
        if name not in found.shortened:
            read = getattr(found.place, name) if hasattr(found.place, name) else getattr(found, name)
            assert read == value


@given(texts, texts)
def test_different_parts_are_written_differently(one: str, other: str) -> None:
    assert (origin(Place(), one, "b") == origin(Place(), other, "b")) == (one == other)


@given(st.lists(st.text(st.sampled_from("aB1_-~2EfC3A9"), max_size=10), min_size=6, max_size=7))
def test_every_text_that_is_read_is_the_one_that_is_written(parts: list[str]) -> None:
    text = ".".join(parts)
    try:
        found = parse(text)
    except LedgerError:
        return
    if not found.shortened:
        assert origin(found.place, found.route, found.boot, found.dead_boot) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "a.b.c.d.e", "a.b.c.d.e.f.g.h", "a.b.c.d..f", "a.b.c.d.e/.f", "a.b.c.d.~2e.f", "a.b.c.d.~41.f",
        "a.b.c.d.~FF.f", "a.b.c.d.~.f", "a.b.c.d.~5.f", f"{'a' * 15}.b.c.d.e.f", "a.b.c.d.e.f\n", "a.b.c.d.é.f",
    ],
)  # fmt: skip
def test_what_no_origin_looks_like_is_refused(text: str) -> None:
    with pytest.raises(LedgerError, match="origin"):
        parse(text)


def test_the_longest_batch_name_fits_a_file_name() -> None:
    assert sum(LIMITS.values()) + len(LIMITS) - 1 + len(SUFFIX) + len("..part") == 255


def test_a_part_that_looks_shortened_is_shortened() -> None:
    text = origin(Place(), "%123456", "b")
    assert text == f"_._._._.~251234~{sha256(b'%123456').hexdigest()[:8]}.b"
    assert parse(text).shortened == {"route"}

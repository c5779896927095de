"""Settings of injection: which source wins, and that nothing wrong ever fails a pod."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.inject.keys import BY_NAME, OWN, PASSED
from sidecar.inject.quantity import amount, equal, size
from sidecar.inject.settings import FIELDS, InjectSettings, Source, from_annotations, read

CLUSTER = Source("ConfigMap sidecar-system/sidecar-defaults", {"store": "s3://all/records", "policy": "open"})


def test_every_key_has_its_field() -> None:
    assert {key.field for key in OWN} == FIELDS
    assert not BY_NAME.keys() & PASSED.keys()


def test_documented_defaults_are_those_of_the_code() -> None:
    defaults = {field.name: field.default for field in fields(InjectSettings)}
    for key in OWN:
        if key.default in (
            "found",
            "chosen",
            "none",
            "the cluster's",
            "the workload's name",
            "sidecar:VERSION",
        ):
            assert not defaults[key.field]
        elif key.name == "listen-port":
            assert defaults[key.field] is None
        else:
            assert defaults[key.field] == key.parse(key.default)


def test_the_pod_wins_over_its_namespace_and_that_over_the_cluster() -> None:
    namespace = Source("ConfigMap risk/sidecar-defaults", {"store": "s3://risk/records", "max-bytes": "2Gi"})
    pod = from_annotations({"sidecar.dev/policy": "closed", "sidecar.dev/status": "{}", "other/policy": "x"})
    settings, warnings = read((CLUSTER, namespace, pod), "i:1")
    assert warnings == []
    assert settings.store == "s3://risk/records"
    assert settings.max_bytes == 2 * 2**30
    assert dict(settings.passed)["SIDECAR_POLICY"] == "closed"
    assert settings.image == "i:1"


@pytest.mark.parametrize(
    ("annotation", "text", "words"),
    [
        ("polcy", "open", "is no setting of injection"),
        ("policy", "maybe", "'maybe' is not one of open, closed"),
        ("max-bytes", "1Mi", "below the least, 192Mi"),
        ("memory-limit", "1", "below the least, 320Mi"),
        ("cpu-request", "-1", "not above zero"),
        ("upstream-port", "70000", "is no port"),
        ("upstream-port", "UPPER", "neither a port's number nor its name"),
        ("listen-port", "15101", "one of the sidecar's own ports"),
        ("listen-port", "80", "only root may listen"),
        ("store", "/records", "a folder, which a pod loses"),
        ("store", "ftp://x/y", "'ftp://x/y'"),
        ("image", "a b", "is no image reference"),
        ("native", "off", "can only be set in a ConfigMap"),
        ("listen", "*:1", "is no setting of injection"),
        ("redact", "nonsense", "'nonsense'"),
        ("watch", "../x", "neither a ConfigMap's name nor NAME/KEY"),
    ],
)
def test_what_is_wrong_is_a_warning_and_counts_as_not_given(annotation: str, text: str, words: str) -> None:
    expected, _ = read((CLUSTER,), "i:1")
    settings, (warning,) = read((CLUSTER, from_annotations({f"sidecar.dev/{annotation}": text})), "i:1")
    assert settings == expected
    assert warning.startswith(f"annotation sidecar.dev/{annotation}: ")
    assert words in warning


def test_a_locked_setting_is_the_operators() -> None:
    cluster = Source("ConfigMap", {"store": "s3://all/records", "locked": "store, policy"})
    pod = from_annotations({"sidecar.dev/store": "s3://elsewhere/x", "sidecar.dev/max-bytes": "3Gi"})
    settings, (warning,) = read((cluster, pod), "i:1")
    assert settings.store == "s3://all/records"
    assert settings.max_bytes == 3 * 2**30
    assert "is locked" in warning


def test_a_request_above_its_limit_would_be_refused_by_the_api() -> None:
    settings, (warning,) = read((Source("x", {"cpu-request": "2", "cpu-limit": "500m"}),), "i:1")
    assert settings.cpu_request == "500m"
    assert "above cpu-limit" in warning


@given(st.dictionaries(st.sampled_from([*BY_NAME, *PASSED, "unheard-of"]), st.text(max_size=40)))
def test_no_annotation_can_raise(texts: dict[str, str]) -> None:
    settings, warnings = read((Source("annotation", texts, of_pod=True),), "i:1")
    assert isinstance(settings, InjectSettings)
    assert all("\n" not in warning or "\n" in "".join(texts.values()) for warning in warnings)


@given(st.integers(1, 10**6), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"]))
def test_quantities_are_exact(number: int, unit: str) -> None:
    factors: dict[str, int | Fraction] = {
        "": 1, "m": Fraction(1, 1000), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20,
        "Gi": 2**30, "e3": 1000, "E-2": Fraction(1, 100),
    }  # fmt: skip
    assert amount(f"{number}{unit}") == number * factors[unit]
    assert amount(f"{number}.50{unit}") == (number + Fraction(1, 2)) * factors[unit]


def test_quantities_are_compared_by_amount() -> None:
    assert equal("2", "2000m")
    assert equal("1Gi", "1024Mi")
    assert not equal("1G", "1Gi")
    assert not equal("x", "x")
    for text in ("", "1 Gi", "1gi", "Gi", ".", "1e", "--1", "1_0"):
        with pytest.raises(ValueError):
            amount(text)
    with pytest.raises(ValueError):
        size("500m")

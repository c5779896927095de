"""Every pod of the corpus, injected, is valid, strictly, for every supported version of Kubernetes."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from kubernetes_validate import utils  # type: ignore[import-untyped]

from sidecar.inject.json_patch import apply
from tests.support.corpus import CASES

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]


@pytest.fixture(scope="module", autouse=True)
def _read_once() -> Iterator[None]:
    """The library reads its 13 MB of definitions at every call."""
    whole = utils.schema_contents
    utils.schema_contents = functools.cache(whole)
    yield
    utils.schema_contents = whole


def test_the_library_has_a_schema_for_every_supported_version() -> None:
    have = {utils.major_minor(each) for each in utils.all_versions()}
    missing = [version for version in VERSIONS if version not in have]
    assert not missing, f"kubernetes-validate has no schema for {missing}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_injected_pod_is_valid(version: str) -> None:
    wrong = []
    for case in CASES:
        for pod in (case.pod, apply(case.pod, case.inject().patch)):
            try:
                # The library falls back to an older schema where it has none of the version.
                assert utils.validate(pod, version, strict=True) == version
            except utils.ValidationError as error:
                wrong.append(f"{case.name}: {'.'.join(map(str, error.path))}: {error.message[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_are_strict(version: str) -> None:
    pod = apply(CASES[0].pod, [{"op": "add", "path": "/spec/containers/0/nosuchfield", "value": 1}])
    with pytest.raises(utils.ValidationError):
        utils.validate(pod, version, strict=True)

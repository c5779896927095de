"""The artifact's digest: equal for equal contents anywhere, and what coreutils say it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import ConfigError
from sidecar.identity.artifact import artifact_digest
from sidecar.identity.static import static_epoch

COREUTILS = r"find -L . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z -- | sha256sum"

# `-` alone would mean standard input to sha256sum.
names = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12
)
trees = st.dictionaries(
    names.filter(lambda name: not name.startswith("..") and name not in (".", "-")),
    st.binary(max_size=50),
    min_size=1,
)


def write(folder: Path, tree: Mapping[str, bytes]) -> Path:
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def by_coreutils(folder: Path) -> str:
    done = subprocess.run(["bash", "-c", COREUTILS], cwd=folder, capture_output=True, check=True, text=True)
    return "sha256:" + done.stdout[:64]


def test_one_file_has_its_own_sha256(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"x" * 1_000_000)
    done = subprocess.run(["sha256sum", str(path)], capture_output=True, check=True, text=True)
    assert artifact_digest([str(path)]) == "sha256:" + done.stdout[:64]


def test_a_folder_has_the_digest_of_the_documented_command(tmp_path: Path) -> None:
    tree = {"b": b"2", "a/z": b"1", "a.b": b"", "a/b/c d": b"3", "é\n\\x": b"4", "B": b"5"}
    assert artifact_digest([str(write(tmp_path, tree))]) == by_coreutils(tmp_path)


@settings(max_examples=25, deadline=None)
@given(trees)
def test_any_folder_has_the_digest_of_the_documented_command(tree: dict[str, bytes]) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), tree)
        assert artifact_digest([folder]) == by_coreutils(Path(folder))


def test_place_times_and_rights_do_not_matter(tmp_path: Path) -> None:
    tree = {"weights": b"w", "config/x.json": b"{}"}
    one, two = write(tmp_path / "one", tree), write(tmp_path / "deep" / "two", dict(reversed(tree.items())))
    os.utime(two / "weights", (1, 1))
    (two / "weights").chmod(0o400)
    assert artifact_digest([str(one)]) == artifact_digest([str(two)]) == artifact_digest([f"{two}/"])


@pytest.mark.parametrize(
    "other",
    [
        {"a": b"1", "b": b"3"},
        {"a": b"1", "c": b"2"},
        {"a": b"1"},
        {"a": b"1", "b": b"2", "c": b""},
        {"a": b"1", "d/b": b"2"},
        {"a": b"2", "b": b"1"},
    ],
)
def test_contents_names_and_places_inside_matter(tmp_path: Path, other: dict[str, bytes]) -> None:
    first = write(tmp_path / "first", {"a": b"1", "b": b"2"})
    assert artifact_digest([str(first)]) != artifact_digest([str(write(tmp_path / "other", other))])


def test_several_artifacts_are_one_list_and_their_order_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, {"model/w": b"1", "model/v": b"2", "tokens.json": b"{}"})
    paths = [str(tmp_path / "model"), str(tmp_path / "tokens.json")]
    assert artifact_digest(paths) == artifact_digest(paths[::-1]) == by_coreutils(tmp_path)


def test_links_are_followed(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", {"w": b"1", "d/x": b"2"})
    write(tmp_path / "blobs", {"1": b"1", "tree/x": b"2"})
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "w").symlink_to("../blobs/1")
    (linked / "d").symlink_to(tmp_path / "blobs" / "tree")
    assert artifact_digest([str(linked)]) == artifact_digest([str(plain)])


def test_a_kubernetes_volume_counts_each_file_once(tmp_path: Path) -> None:
    volume = write(tmp_path / "volume", {"..2026_11_23/model.bin": b"w"})
    (volume / "..data").symlink_to("..2026_11_23")
    (volume / "model.bin").symlink_to("..data/model.bin")
    assert artifact_digest([str(volume)]) == artifact_digest(
        [str(write(tmp_path / "plain", {"model.bin": b"w"}))]
    )


def test_what_cannot_be_hashed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory: correct the path"):
        artifact_digest([str(tmp_path / "absent")])
    with pytest.raises(ConfigError, match="holds no files"):
        artifact_digest([str(tmp_path)])
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="neither file nor folder"):
            artifact_digest([str(path)])


def test_a_link_that_leads_back_up_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"d/w": b""})
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="links to a folder it is in"):
        artifact_digest([str(tmp_path)])


def test_two_artifacts_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a/model": b"", "b/model": b""})
    with pytest.raises(ConfigError, match="have one name"):
        artifact_digest([str(tmp_path / "a" / "model"), str(tmp_path / "b" / "model")])


def test_the_source_of_the_knowledge_is_told() -> None:
    assert static_epoch("r", "m", "sha256:i", "sha256:a", 1).source == "flag"
    assert static_epoch("r", "m", None, "sha256:a", 1).source == "artifact"
    assert static_epoch("r", "m", None, None, 1).source == "unknown"
    assert static_epoch("r", "m", None, None, 1).digest == "unknown"

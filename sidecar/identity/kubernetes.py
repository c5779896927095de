"""What Kubernetes says of a container's image: every form of imageID, a pod's statuses, the annotation.

Spec and status need not agree, and nothing here asks them to: an image that was
imported into containerd has a bare config digest, one pulled by tag a
repository with the digest of its manifest or, through an index, of the index;
and of an image pulled by digest even `.image` may become its config digest. So
the raw text is kept with its kind, and only `digest` is read out of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sidecar.identity.configuration import configuration_of
from sidecar.records import Container

MANIFEST, CONFIG, UNKNOWN = "manifest", "config", "unknown"
"""Kinds of digest: of a manifest or of an index of manifests (both can be pulled by it, and the text does
not tell which), of an image's configuration, and none that can be read."""
ANNOTATED = 16
"""Most epochs in the annotation; the oldest go."""
VERSION = 1
SECOND_US = 1_000_000

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SCHEME = re.compile(r"^[a-z][a-z0-9-]*://")
_TIME_MOST = 64
_TEXT_MOST = 1024

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImageId:
    """An imageID as the runtime gave it, and what can be read in it."""

    raw: str
    kind: str
    digest: str | None
    """`sha256:` + 64 hex digits."""


def parse_image_id(raw: str) -> ImageId:
    """What an imageID says. Never raises: what cannot be read is of kind `unknown`, with its raw text."""
    text = _SCHEME.sub("", raw, count=1)
    repository, at, digest = text.rpartition("@")
    if not _DIGEST.fullmatch(digest):
        return ImageId(raw, UNKNOWN, None)
    if at:
        return ImageId(raw, MANIFEST, digest) if repository else ImageId(raw, UNKNOWN, None)
    return ImageId(raw, CONFIG, digest)


def containers_of(pod: Object, name: str, key: bytes | None = None) -> list[Container]:
    """The runs of one container that a pod's status tells of, oldest first; none before it ever ran.

    Native sidecars and init containers have their statuses apart from the
    others'. Of a run that is over, the image is known only while the status is
    still about it: `imageID` belongs to the container that `containerID` names.
    Of the spec only the image can change in a running pod, so that command,
    arguments and environment are those of every run; `key` is for the values.
    """
    status = pod.get("status")
    status = status if isinstance(status, Mapping) else {}
    found: tuple[Container, ...] = ()
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        listed = status.get(kind)
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, Mapping) and each.get("name") == name:
                found = merged(found, _runs(each))
    configuration = configuration_of(pod, name, key) or ""
    return [replace(each, configuration=configuration) for each in found]


def _runs(status: Object) -> list[Container]:
    current = _text(status.get("containerID"))
    restarts = _count(status.get("restartCount"))
    found = []
    last, state = _child(status, "lastState"), _child(status, "state")
    for told, count in ((_child(last, "terminated"), restarts - 1), (_child(state, "terminated"), restarts)):
        run = _run(status, told, _text(told.get("containerID")), max(count, 0), current)
        found += [run] if run is not None else []
    run = _run(status, _child(state, "running"), current, restarts, current)
    return found + ([run] if run is not None else [])


def _run(status: Object, told: Object, container: str, restarts: int, current: str) -> Container | None:
    started_us = parse_time(told.get("startedAt"))
    if started_us is None or not container:
        return None
    about = container == current
    return Container(
        image=_text(status.get("image")) if about else "",
        image_id=_text(status.get("imageID")) if about else "",
        container_id=container,
        restart_count=restarts,
        started_us=started_us,
        finished_us=parse_time(told.get("finishedAt")),
    )


def merged(
    known: Iterable[Container], told: Iterable[Container], most: int = 4 * ANNOTATED
) -> tuple[Container, ...]:
    """Both, a container once, oldest first, the last `most`: later news fills in what was not known.

    The order in which news comes does not matter, nor does its repetition: what
    was known of a container is not forgotten because older news comes late.
    """
    by_id = {each.container_id: each for each in known}
    for new in told:
        old = by_id.get(new.container_id)
        by_id[new.container_id] = new if old is None else _filled(old, new)
    ordered = sorted(
        by_id.values(), key=lambda each: (each.started_us, each.restart_count, each.container_id)
    )
    return tuple(ordered[-most:])


def _filled(old: Container, new: Container) -> Container:
    """One container's facts; its image never changes, so the first that was told stays."""
    return replace(
        old,
        image=old.image or new.image,
        image_id=old.image_id or new.image_id,
        restart_count=max(old.restart_count, new.restart_count),
        started_us=min(old.started_us, new.started_us),
        finished_us=new.finished_us if old.finished_us is None else old.finished_us,
        configuration=old.configuration or new.configuration,
    )


def answering(
    containers: Iterable[Container], since_us: int, answered_us: int, others: Iterable[str] = ()
) -> Container | None:
    """The container that answered at `answered_us`, given that it started after `since_us`; None if unknown.

    `others` are ids of containers that are known to be other ones. One starts
    only when the one before it has ended, so the latest that had started is
    meant. Statuses tell seconds only, cut off: whether one that started in the
    very second of the answer, or of `since_us`, was before or after it, is only
    known if the run before it is known to be another. Where that decides between
    two images, nothing is said. Of the one that is found the image may not be told.
    """
    told, excluded = list(containers), set(others)
    others_counts = {
        each.restart_count
        for each in told
        if each.container_id in excluded
        or each.started_us + SECOND_US <= since_us
        or _over(each, answered_us)
    }
    found: Container | None = None
    doubtful: set[str] = set()
    for each in told:
        if _over(each, answered_us) or each.container_id in excluded:
            continue
        if not since_us // SECOND_US * SECOND_US <= each.started_us <= answered_us:
            continue
        after, before = each.started_us >= since_us, each.started_us + SECOND_US <= answered_us
        first = each.restart_count == 0 and after
        if (after and before) or first or each.restart_count - 1 in others_counts:
            found, doubtful = each, set()
        else:
            doubtful.add(each.image_id)
    return found if found is not None and doubtful <= {found.image_id} else None


def over(containers: Iterable[Container], container_id: str | None, at_us: int) -> bool:
    """Whether a container, or any with None, is told to have ended before a moment."""
    return any(container_id in (None, each.container_id) and _over(each, at_us) for each in containers)


def _over(container: Container, at_us: int) -> bool:
    return container.finished_us is not None and container.finished_us + SECOND_US <= at_us


# The annotation


def digest_text(container: str, containers: Iterable[Container]) -> str:
    """The annotation's value: the last epochs of a container, oldest first. Equal facts give equal text."""
    epochs = [
        {
            "image": each.image,
            "image_id": each.image_id,
            "container_id": each.container_id,
            "restart_count": each.restart_count,
            "started_at": format_time(each.started_us),
            **({"finished_at": format_time(each.finished_us)} if each.finished_us is not None else {}),
            **({"configuration": each.configuration} if each.configuration else {}),
        }
        for each in merged((), containers, ANNOTATED)
    ]
    return json.dumps({"v": VERSION, "container": container, "epochs": epochs}, separators=(",", ":"))


def parse_digest_text(text: str) -> tuple[str, list[Container]]:
    """The container's name and its epochs. Raises ValueError, saying what is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON") from error
    if not isinstance(value, dict) or value.get("v") != VERSION:
        raise ValueError(f"is not of version {VERSION}")
    container, epochs = value.get("container"), value.get("epochs")
    if not isinstance(container, str) or not isinstance(epochs, list):
        raise ValueError("has no container or no epochs")
    found = [_epoch(each) for each in epochs[-4 * ANNOTATED :]]
    return container, list(merged((), found))


def _epoch(value: Any) -> Container:
    if not isinstance(value, dict):
        raise ValueError("has an epoch that is no object")
    started_us = parse_time(value.get("started_at"))
    container = _text(value.get("container_id"))
    if started_us is None or not container:
        raise ValueError("has an epoch without container_id or started_at")
    return Container(
        image=_text(value.get("image")),
        image_id=_text(value.get("image_id")),
        container_id=container,
        restart_count=_count(value.get("restart_count")),
        started_us=started_us,
        finished_us=parse_time(value.get("finished_at")),
        configuration=_text(value.get("configuration")),
    )


def annotation_for(pod: Object, container: str, annotation: str, key: bytes | None = None) -> str | None:
    """The value that the annotation should have: what it has, and what the pod's status adds.

    None when it need not be written: it is there already, or nothing is known.
    A value that cannot be read is written anew.
    """
    metadata = pod.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    before = annotations.get(annotation) if isinstance(annotations, Mapping) else None
    known: list[Container] = []
    if isinstance(before, str):
        try:
            name, known = parse_digest_text(before)
        except ValueError:
            name = container
        known = known if name == container else []
    told = merged(known, containers_of(pod, container, key))
    if not told:
        return None
    after = digest_text(container, told)
    return None if after == before else after


# Times


def parse_time(text: Any) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time; None for what is none."""
    if not isinstance(text, str) or not 0 < len(text) <= _TIME_MOST:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            return None
        since = time - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds


def format_time(time_us: int) -> str:
    """RFC 3339 in UTC, of whole seconds as the API gives them; a part of a second is kept."""
    time = datetime.fromtimestamp(time_us // SECOND_US, UTC).replace(microsecond=time_us % SECOND_US)
    return time.isoformat().replace("+00:00", "Z")


def _child(value: Object, key: str) -> Object:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str:
    return value[:_TEXT_MOST] if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0

"""Which model pods are recorded, and which are not and why. Pure: pods and what is known of them → rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sidecar.cluster.report import Report

Object = dict[str, Any]


class State(StrEnum):
    """What a row says of its pod."""

    COVERED = "covered"
    UNCOVERED = "uncovered"
    STARTING = "starting"
    """Its model does not run, so there is nothing to record."""
    LEFT_OUT = "left_out"
    """On purpose, by a label."""


class Reason(StrEnum):
    """Why a pod is uncovered."""

    NOT_OPTED_IN = "not_opted_in"
    NOT_INJECTABLE = "not_injectable"
    NOT_INJECTED = "not_injected"
    SIDECAR_DOWN = "sidecar_down"
    SIDECAR_SILENT = "sidecar_silent"
    BYPASSED = "bypassed"
    SWITCHED_OFF = "switched_off"
    JOURNAL_FULL = "journal_full"
    OPAQUE = "opaque"


MEANINGS = {
    Reason.NOT_OPTED_IN: "It carries a known label of model pods, and neither it nor its namespace the label "
    "`sidecar.dev/inject: enabled`",
    Reason.NOT_INJECTABLE: "It asked for a sidecar and can have none; the detail says why, and what to do",
    Reason.NOT_INJECTED: "It could have a sidecar and has none: it was made before the label was set, or "
    "while the webhook was away. Restart it",
    Reason.SIDECAR_DOWN: "Its sidecar's container does not run, or is not ready to pass traffic",
    Reason.SIDECAR_SILENT: "Its sidecar does not answer on its admin port, so nobody knows",
    Reason.BYPASSED: "Traffic has a way past its sidecar",
    Reason.SWITCHED_OFF: "The kill switch is on: bytes flow and nothing is recorded",
    Reason.JOURNAL_FULL: "Its journal cannot take more, so exchanges are shed (and counted in gaps)",
    Reason.OPAQUE: "Of the bytes that its sidecar has seen, 16 KiB and more, 99 % and more were TLS, HTTP/2 "
    "or no HTTP at all",
}


OPAQUE_RATIO = 0.99
"""Not 1: a server of TLS answers a scanner's plain request in plain HTTP."""
OPAQUE_BYTES = 16 * 1024
"""A few handshakes with a server of TLS come to as much; a port scan of an idle model does not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What labels, settings and Services make of one model pod."""

    wanted: bool
    """Whether a label asks for its sidecar."""
    left_out: bool = False
    """Whether a label on the pod refuses it."""
    why_not: str | None = None
    """Why it can have none, or why it is not asked for."""
    container: str | None = None
    """The model's, where there is a sidecar."""
    mode: str | None = None
    """How traffic reaches the sidecar; None without one."""
    bypass: str | None = None
    """A way past the sidecar."""
    digest: str | None = None
    """Image of the container that runs now, as far as records can be labelled with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One model pod."""

    namespace: str
    pod: str
    state: State
    reason: Reason | None
    detail: str
    mode: str | None
    digest: str | None
    """None while records cannot be labelled with the image."""
    report: Report | None
    """What its sidecar says; None when there is none, or it does not answer."""

    def as_json(self) -> Object:
        seen = self.report
        return {
            "namespace": self.namespace,
            "pod": self.pod,
            "state": str(self.state),
            "reason": None if self.reason is None else str(self.reason),
            "detail": self.detail,
            "mode": self.mode,
            "digest": self.digest,
            "opaque_ratio": seen.opaque_ratio if seen else None,
            "sidecar": asdict(seen) if seen else None,
        }


Answer = Report | str | None
"""What a sidecar said; a text says why it did not answer; None when it was not asked."""


def row(pod: Mapping[str, Any], sidecar: str, asked: Asked, answer: Answer) -> Row | None:
    """The pod's row; None for a pod that has ended or is ending. `sidecar` is the name of its container."""
    metadata, status = _child(pod, "metadata"), _child(pod, "status")
    if metadata.get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    state, reason, detail = _judged(pod, sidecar, asked, answer)
    seen = answer if isinstance(answer, Report) else None
    # The cluster may know the image, and the sidecar not yet: kubelet takes a minute to bring the annotation.
    unheard = asked.mode is None or (seen is not None and seen.identity_known is False)
    return Row(
        str(metadata.get("namespace") or ""),
        str(metadata.get("name") or ""),
        state,
        reason,
        detail,
        asked.mode,
        None if unheard else asked.digest,
        seen,
    )


Judgement = tuple[State, Reason | None, str]


def _judged(pod: Mapping[str, Any], sidecar: str, asked: Asked, answer: Answer) -> Judgement:
    if asked.mode is None:
        return _without_sidecar(asked)
    waits = _why_not_running(pod, asked.container)
    if waits is not None:
        return State.STARTING, None, f"the model does not run: {waits}"
    down = _why_not_running(pod, sidecar, ready=True)
    if down is not None:
        return State.UNCOVERED, Reason.SIDECAR_DOWN, down
    if asked.bypass is not None:
        return State.UNCOVERED, Reason.BYPASSED, asked.bypass
    if answer is None:
        return State.STARTING, None, "its sidecar was not asked yet"
    if isinstance(answer, str):
        return State.UNCOVERED, Reason.SIDECAR_SILENT, answer
    return _by_report(answer)


def _without_sidecar(asked: Asked) -> Judgement:
    if asked.left_out:
        return State.LEFT_OUT, None, asked.why_not or ""
    if not asked.wanted:
        return State.UNCOVERED, Reason.NOT_OPTED_IN, asked.why_not or ""
    if asked.why_not is not None:
        return State.UNCOVERED, Reason.NOT_INJECTABLE, asked.why_not
    detail = "made before it was asked for, or while the webhook was away: restart it"
    return State.UNCOVERED, Reason.NOT_INJECTED, detail


def _by_report(said: Report) -> Judgement:
    if not said.recording:
        return State.UNCOVERED, Reason.SWITCHED_OFF, "the kill switch is on"
    if said.shedding:
        return State.UNCOVERED, Reason.JOURNAL_FULL, said.store_error or "see that the store takes batches"
    if (said.opaque_ratio or 0) >= OPAQUE_RATIO:
        kinds = [
            f"{name} connections: {count}"
            for name, count in (("TLS", said.opaque_tls), ("HTTP/2", said.opaque_http2))
            if count
        ]
        detail = ", ".join(kinds) or "no HTTP/1 that could be read"
        if (said.opaque_bytes or 0) >= OPAQUE_BYTES:
            return State.UNCOVERED, Reason.OPAQUE, detail
        return State.COVERED, None, f"hardly any traffic yet, and none to read: {detail}"
    return State.COVERED, None, "" if said.exchanges else "no traffic yet"


def _why_not_running(pod: Mapping[str, Any], name: str | None, ready: bool = False) -> str | None:
    """Why a container does not run (or, if asked, is not ready); None when it does."""
    found = container_status(pod, name)
    if found is None:
        return "it is not started yet"
    state = _child(found, "state")
    if isinstance(state.get("running"), dict):
        return "it runs and is not ready" if ready and found.get("ready") is not True else None
    if waiting := _child(state, "waiting"):
        return str(waiting.get("reason") or "it waits")
    ended = _child(state, "terminated")
    return f"ended with exit code {ended['exitCode']}" if "exitCode" in ended else "it is not started yet"


def container_status(pod: Mapping[str, Any], name: str | None) -> Object | None:
    """The status of a container or native sidecar, which stands among the init containers."""
    status = _child(pod, "status")
    for key in ("containerStatuses", "initContainerStatuses"):
        for each in status.get(key) or []:
            if isinstance(each, dict) and each.get("name") == name:
                return each
    return None


def _child(value: Mapping[str, Any], key: str) -> Object:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def summary(rows: Iterable[Row]) -> Object:
    """Counts of the rows by state and by reason."""
    every = list(rows)
    states, reasons = Counter(each.state for each in every), Counter(each.reason for each in every)
    return {
        "pods": len(every),
        **{str(state): states[state] for state in State},
        "reasons": {str(reason): reasons[reason] for reason in Reason if reasons[reason]},
        "digest_unknown": sum(each.mode is not None and each.digest is None for each in every),
    }

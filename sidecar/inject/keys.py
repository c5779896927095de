"""The keys of injection: one row drives the annotation, the ConfigMap's key and the documents.

Beside the rows of `OWN`, most settings of `sidecar run` are taken too
(`PASSED`): they become environment variables of the sidecar, checked by the very
parser that `sidecar run` will use. `python -m sidecar.inject.keys` prints the
table of docs/kubernetes-injection.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.inject.names import ADMIN_PORT, HEALTH_PORT, PROBE_PORT
from sidecar.inject.quantity import amount, quantity, size
from sidecar.settings_table import BY_KEY, TABLE, Setting
from sidecar.settings_values import one_of

MODES = ("redirect", "port", "shift")
LEVELS = ("privileged", "baseline", "restricted")
LEAST_MEMORY = "320Mi"
LEAST_JOURNAL = "192Mi"
"""Of which 75 % hold one journal volume of the default size."""
_DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_DNS_NAME = re.compile(r"^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_CONFIG_KEY = re.compile(r"^(?!\.\.)[-._a-zA-Z0-9]{1,253}$")
_IMAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}$")
_PATH = re.compile(r"^(/[A-Za-z0-9._-]+)+$")
_PORT_NAME = re.compile(r"^(?=.{1,15}$)(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting of injection; `of_pod` and `of_config` say where it may stand."""

    name: str
    parse: Callable[[str], Any]
    default: str
    meaning: str
    of_pod: bool = True
    of_config: bool = True

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")


def shown(text: str) -> str:
    """A wrong value in a message: cut, so that a warning stays readable."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError("is no port: write 1 to 65535")
    return int(text)


def _listen_port(text: str) -> int:
    port = _port(text)
    if port < 1024:
        raise ValueError("is below 1024, where only root may listen: write 1024 to 65535")
    if port in (PROBE_PORT, HEALTH_PORT, ADMIN_PORT):
        raise ValueError(f"is one of the sidecar's own ports ({PROBE_PORT}, {HEALTH_PORT}, {ADMIN_PORT})")
    return port


def _port_or_name(text: str) -> int | str:
    if re.fullmatch(r"[0-9]+", text):
        return _port(text)
    if not _PORT_NAME.match(text):
        raise ValueError("is neither a port's number nor its name")
    return text


def _matching(pattern: re.Pattern[str], problem: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.match(text):
            raise ValueError(problem)
        return text

    return parse


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def _at_least(least: str, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse_and_compare(text: str) -> Any:
        value = parse(text)
        if amount(text) < amount(least):
            raise ValueError(f"is below the least, {least}")
        return value

    return parse_and_compare


def _key_list(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = BY_NAME.keys() | PASSED.keys()
    if wrong := sorted(set(names) - known):
        raise ValueError(f"names no setting of injection: {', '.join(wrong)}")
    return names


def _volume(text: str) -> tuple[str, str]:
    kind, _, what = text.partition(":")
    plain = _PATH.match(what) and not {".", ".."} & set(what.split("/"))
    if (kind == "pvc" and _DNS_NAME.match(what)) or (kind == "hostPath" and plain) or text == "emptyDir":
        return kind, what
    raise ValueError("is none of emptyDir, hostPath:/FOLDER and pvc:NAME")


def _file_of(usual: str) -> Callable[[str], tuple[str, str]]:
    def parse(text: str) -> tuple[str, str]:
        name, slash, key = text.partition("/")
        if not _DNS_NAME.match(name) or (slash and not _CONFIG_KEY.match(key)):
            raise ValueError("is neither a ConfigMap's name nor NAME/KEY")
        return name, key or usual

    return parse


_name = _matching(_DNS_NAME, "is no name of a Kubernetes object")

OWN: tuple[Key, ...] = (
    Key(
        "upstream-port",
        _port_or_name,
        "found",
        "The model's port, by number or name. Found: the one port that the container declares, else `http…`, "
        "else the port of its probes.",
        of_config=False,
    ),
    Key(
        "container",
        _matching(_DNS_LABEL, "is no container's name"),
        "found",
        "Which container is the model. Found: KServe's, Knative's, "
        "`kubectl.kubernetes.io/default-container`, else the first with a port.",
        of_config=False,
    ),
    Key(
        "model-name",
        BY_KEY["model"].value,
        "the workload's name",
        "The model's name in the records.",
        of_config=False,
    ),
    Key("mode", one_of(*MODES), "chosen", "How traffic reaches the recorder: `redirect`, `port` or `shift`."),
    Key(
        "listen-port",
        _listen_port,
        "15100",
        "Where the recorder listens; `shift` must have it.",
    ),
    Key(
        "max-bytes",
        _at_least(LEAST_JOURNAL, size),
        "1Gi",
        "Size of the journal's volume, at least 192Mi; the journal itself takes 75 % of it.",
    ),
    Key(
        "journal-volume",
        _volume,
        "emptyDir",
        "Where the journal lies: `emptyDir`, which goes with the pod; `hostPath:/FOLDER` of the node, for "
        "`sidecar drain`; `pvc:NAME`, a claim in the pod's namespace.",
    ),
    Key("cpu-request", quantity, "100m", "The sidecar's request of CPU."),
    Key("cpu-limit", quantity, "none", "Its limit of CPU; `1` where every other container has a limit."),
    Key("memory-request", quantity, "256Mi", "Its request of memory."),
    Key(
        "memory-limit",
        _at_least(LEAST_MEMORY, quantity),
        "768Mi",
        "Its limit of memory, at least 320Mi; what the recorder does not need is the analyst's.",
    ),
    Key(
        "image",
        _matching(_IMAGE, "is no image reference"),
        "sidecar:VERSION",
        "The sidecar's image.",
    ),
    Key(
        "image-pull-policy",
        one_of("Always", "IfNotPresent", "Never"),
        "the cluster's",
        "When its image is pulled.",
    ),
    Key(
        "secret",
        _name,
        "none",
        "Secret that is mounted at `/etc/sidecar/secret`, for `master-key`, `hash-key`, `enrolment-key`.",
    ),
    Key(
        "store-secret",
        _name,
        "none",
        "Secret whose keys become environment variables, for the store's credentials.",
    ),
    Key(
        "identity",
        one_of("downward", "pod", "static"),
        "downward",
        "How the sidecar learns the image's digest: from the controller's annotation (`downward`), from the "
        "API (`pod`: its service account may read the pod), or from the spec alone (`static`).",
    ),
    Key(
        "baseline",
        _file_of("baseline.json"),
        "none",
        "ConfigMap of the frozen baseline, `NAME` or `NAME/KEY` (key `baseline.json`); the pod waits for it.",
    ),
    Key(
        "watch",
        _file_of("watch.yaml"),
        "none",
        "ConfigMap of the watch file, `NAME` or `NAME/KEY` (key `watch.yaml`); the pod waits for it.",
    ),
    Key(
        "splice-only",
        _boolean,
        "false",
        "`true` switches recording off in the running pod, about a minute after it is set; bytes still flow.",
        of_config=False,
    ),
    Key(
        "native",
        one_of("auto", "on", "off"),
        "auto",
        "Native sidecar (init container that keeps running) or plain one; `auto`: by the nodes' version.",
        of_pod=False,
    ),
    Key(
        "pod-security",
        one_of(*LEVELS),
        "privileged",
        "Pod Security level of namespaces that carry no label of it.",
        of_pod=False,
    ),
    Key(
        "openshift",
        _boolean,
        "found",
        "No fixed user id, and no `redirect` unless a pod asks for it.",
        of_pod=False,
    ),
    Key(
        "locked",
        _key_list,
        "none",
        "Settings, with commas between them, that a pod's annotations cannot change.",
        of_pod=False,
    ),
)
BY_NAME = {key.name: key for key in OWN}

OWNED = frozenset(
    {
        "listen", "upstream", "model", "image_digest", "artifact", "journal", "health", "admin", "namespace",
        "workload", "pod_uid", "journal_max_bytes", "volume_bytes", "capture_memory", "body_limit",
        "analyst_memory", "baseline_file", "watch_file", "drain_delay", "grace", "ship_timeout",
        "annotations_file", "identity", "identity_file", "model_container", "pod_name", "identity_api",
        "identity_token",
    }
)  # fmt: skip
"""Settings of `sidecar run` that injection works out itself."""

PASSED: dict[str, Setting] = {
    setting.key.replace("_", "-"): setting for setting in TABLE if setting.key not in OWNED
}


def markdown() -> str:
    """The table as it stands in docs/kubernetes-injection.md."""
    lines = ["| key | where | default | meaning |", "|---|---|---|---|"]
    for key in OWN:
        where = "both" if key.of_pod and key.of_config else "annotation" if key.of_pod else "ConfigMap"
        lines.append(f"| `{key.name}` | {where} | {key.default} | {key.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")

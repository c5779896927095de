"""Names that injection, interception, identity and coverage agree on."""

from __future__ import annotations

PREFIX = "sidecar.dev/"
INJECT = PREFIX + "inject"
"""The label, on a namespace or a pod, whose value is ENABLED or DISABLED; the pod's wins."""
ENABLED = "enabled"
DISABLED = "disabled"
STATUS = PREFIX + "status"
"""Annotation that injection writes: JSON of what it did."""
DIGEST = PREFIX + "digest"
"""Annotation that the controller writes: JSON of the epochs of the model's container."""
OURS = frozenset({STATUS, DIGEST, INJECT})
"""Names below PREFIX that are no settings."""

DEFAULTS = "sidecar-defaults"
"""ConfigMap of settings, in the workload's namespace and in SYSTEM_NAMESPACE."""
SYSTEM_NAMESPACE = "sidecar-system"
KUBERNETES_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
"""Kubernetes' own: nothing in them is injected, and nothing is a model."""

SIDECAR = "sidecar"
INTERCEPT = "sidecar-intercept"
JOURNAL_VOLUME = "sidecar-journal"
POD_VOLUME = "sidecar-pod"
TEMPORARY_VOLUME = "sidecar-tmp"
SECRET_VOLUME = "sidecar-secret"
BASELINE_VOLUME = "sidecar-baseline"
WATCH_VOLUME = "sidecar-watch"
TOKEN_VOLUME = "sidecar-token"

LISTEN_PORT = 15100
PROBE_PORT = 15101
"""Shadow port: kubelet's probes reach the model through it, past the recorder."""
HEALTH_PORT = 15102
ADMIN_PORT = 15190
USER = 65532

STATE_FOLDER = "/var/lib/sidecar"
JOURNAL = "journal"
"""The journal's folder in STATE_FOLDER."""
POD_FOLDER = "/etc/sidecar/pod"
SECRET_FOLDER = "/etc/sidecar/secret"
BASELINE_FOLDER = "/etc/sidecar/baseline"
WATCH_FOLDER = "/etc/sidecar/watch"
TOKEN_FOLDER = "/etc/sidecar/token"

SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
POD_SECURITY = "pod-security.kubernetes.io/enforce"

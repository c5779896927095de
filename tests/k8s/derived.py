"""Files below k8s/ that are made from others: `python -m tests.k8s.derived` writes them anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

K8S = Path(__file__).parents[2] / "k8s"
RULES = K8S / "prometheus-rules.yaml"
POLICY_STORE = "s3://BUCKET/FOLDER"


def prometheus_rule() -> str:
    """The rules as an object of the Prometheus operator."""
    groups = RULES.read_text().partition("\ngroups:\n")[2]
    indented = "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))
    return (
        "# k8s/prometheus-rules.yaml, word for word.\n"
        "apiVersion: monitoring.coreos.com/v1\n"
        "kind: PrometheusRule\n"
        "metadata:\n"
        "  name: sidecar\n"
        "  namespace: sidecar-system\n"
        "  labels:\n"
        "    app.kubernetes.io/part-of: sidecar\n"
        "spec:\n"
        f"  groups:\n{indented}"
    )


def policy() -> str:
    """What the command prints for a store that is to be replaced."""
    command = [sys.executable, "-m", "sidecar.cli", "admission-policy", "--set", f"store={POLICY_STORE}"]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout


DERIVED = {
    K8S / "components/monitoring/prometheusrule.yaml": prometheus_rule,
    K8S / "components/policy/policy.yaml": policy,
}

if __name__ == "__main__":
    for path, make in DERIVED.items():
        path.write_text(make())

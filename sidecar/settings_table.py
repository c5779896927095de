"""The table of settings: one row drives the flag, the environment variable, the YAML key and the docs.

Every value, defaults included, enters as text and goes through the parser of
its row's kind, so a wrong one gets the same words wherever it came from.
`python -m sidecar.settings_table` prints the table of docs/configuration.md.
"""

from __future__ import annotations

from typing import Any

from sidecar.setting import ENVIRONMENT_PREFIX, Setting, address, choice, count, duration, size, text
from sidecar.settings_values import (
    parse_alert_rate,
    parse_alert_url,
    parse_business_key,
    parse_digest,
    parse_label,
    parse_name,
    parse_path,
    parse_person,
    parse_redaction,
    parse_store,
    parse_upstream,
    shown_alert_url,
)

__all__ = ["BY_KEY", "ENVIRONMENT_PREFIX", "ROUTE_KEYS", "TABLE", "Setting", "default", "markdown"]

TABLE: tuple[Setting, ...] = (
    address("listen", None, "Where clients connect.", per_route=True),
    Setting("upstream", "URL", parse_upstream, None, "The model server, `http://HOST:PORT`.", per_route=True),
    Setting("model", "NAME", parse_name, "default", "The model's name in the records.", per_route=True),
    Setting(
        "image_digest",
        "DIGEST",
        parse_digest,
        None,
        "Digest of the model server's image, `sha256:` + 64 hex digits.",
        per_route=True,
    ),
    Setting(
        "artifact",
        "PATH",
        parse_path,
        None,
        "Model file or folder whose SHA-256 becomes part of the identity; may be given several times "
        "(`:` between them in the environment variable, a list in YAML).",
        per_route=True,
        many=True,
    ),
    Setting(
        "store",
        "URL",
        parse_store,
        None,
        "What takes the finished batches of records: a folder, `s3://BUCKET/FOLDER`, `gs://…`, `az://…`, or "
        "`http(s)://…` for CloudEvents ([stores](stores.md)). Required.",
    ),
    Setting("store_endpoint", "URL", parse_path, None, "An S3-compatible server, or another endpoint."),
    Setting(
        "store_region", "NAME", parse_name, None, "The bucket's region, where the platform does not say."
    ),
    Setting("store_ca", "FILE", parse_path, None, "PEM file of certificates to trust beside the system's."),
    duration("store_timeout", "60s", "Longest time of one request to the store.", minimum="1s", maximum="1h"),
    Setting("store_token_file", "FILE", parse_path, None, "Bearer token for a receiver of CloudEvents."),
    choice(
        "event_mode",
        ("structured", "binary"),
        "How CloudEvents are sent: `binary` is what KServe's own logger sends.",
    ),
    Setting(
        "cluster", "NAME", parse_label, None, "Where this sidecar runs, as the names of its logs say it."
    ),
    Setting("namespace", "NAME", parse_label, None, "Likewise: the namespace, or what stands for it."),
    Setting("workload", "NAME", parse_label, None, "Likewise: the Deployment, InferenceService or host."),
    Setting("pod_uid", "UID", parse_label, None, "Likewise: the pod's uid."),
    choice(
        "identity",
        ("static", "downward", "pod"),
        "Where the model's image is known from: `image_digest` and `artifact` alone, or also what a cluster "
        "says of its container ([identity](kubernetes-identity.md)), in `identity_file` or from the API.",
    ),
    Setting(
        "identity_file",
        "FILE",
        parse_path,
        None,
        "`downward`: file of the pod's annotations (downwardAPI), among them `sidecar.dev/digest`.",
    ),
    Setting(
        "model_container",
        "NAME",
        parse_label,
        None,
        "The model's container, if not the one that injection names in `sidecar.dev/status`.",
    ),
    Setting("pod_name", "NAME", parse_label, None, "The pod's name; `pod` needs it, and `namespace`."),
    duration(
        "identity_wait",
        "30s",
        "Longest wait, before records are sealed, for what the cluster says of a model that has just come.",
        maximum="10m",
    ),
    Setting(
        "identity_api",
        "URL",
        parse_path,
        None,
        "`pod`: address of the Kubernetes API, if not the one that the cluster names.",
    ),
    Setting(
        "identity_token",
        "DIR",
        parse_path,
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "`pod`: folder of `token` and `ca.crt`, of a service account that may read this pod.",
    ),
    Setting(
        "annotations_file",
        "FILE",
        parse_path,
        None,
        'File of the pod\'s annotations (downwardAPI): `sidecar.dev/splice-only: "true"` switches recording '
        "off while the sidecar runs.",
    ),
    Setting(
        "enrolment_key",
        "FILE",
        parse_path,
        None,
        "Private key (`sidecar keys new`) that certifies this boot's signing key; without it logs are "
        "self-signed.",
    ),
    Setting("journal", "DIR", parse_path, "./journal", "Folder of the journal: what is not shipped yet."),
    Setting(
        "redact",
        "RULE",
        parse_redaction,
        None,
        "What must not be stored, `WHERE=drop`, `=mask` or `=hash` ([privacy](privacy.md)); may be given "
        "several times (a line each in the environment variable, a list in YAML).",
        many=True,
        separator="\n",
    ),
    choice("redact_defaults", ("on", "off"), "Whether credentials in headers are dropped."),
    choice("count_redacted", ("on", "off"), "Whether redacted values are counted; they are never shown."),
    Setting(
        "keys",
        "NAME=WHERE",
        parse_business_key,
        None,
        "A business key to find records by, such as `applicant=request.body:$.applicant.id`; several like "
        "`redact`.",
        many=True,
        separator="\n",
    ),
    choice("hash_keys", ("off", "on"), "Whether business keys are stored as HMACs (encryption always does)."),
    Setting("hash_key", "FILE", parse_path, None, "32 random bytes for `=hash` rules and hashed keys."),
    Setting(
        "master_key",
        "FILE",
        parse_path,
        None,
        "32 random bytes: bodies are encrypted, and `sidecar erase` can forget a subject.",
    ),
    Setting("subject", "WHERE", parse_person, None, "Whom an exchange is about, for `sidecar erase`."),
    Setting(
        "subjects_store",
        "URL",
        parse_store,
        None,
        "Where the key objects of encrypted batches go, if not into the store: a bucket without versions, "
        "or a folder.",
    ),
    address("health", "127.0.0.1:9900", "Where the recorder answers `/healthz` and `/readyz`."),
    address("admin", "127.0.0.1:9901", "Where the analyst answers `/metrics` and `/api/v1/status`."),
    choice(
        "policy",
        ("open", "closed"),
        "What happens to traffic that cannot be recorded: `open` lets it flow and counts the gap, "
        "`closed` answers 503.",
    ),
    choice(
        "durability",
        ("relaxed", "before_response"),
        "`before_response` holds a response's last bytes until its record is on disk.",
    ),
    duration(
        "hold_limit",
        "200ms",
        "Longest wait of a response's last bytes under `open` + `before_response`.",
        maximum="1h",
    ),
    size(
        "capture_memory",
        "64MiB",
        "Captured bytes held in memory: in flight and waiting for the journal.",
        "1MiB",
    ),
    size(
        "body_limit",
        "8MiB",
        "Per body; of a longer one the first 64 KiB, the length and the SHA-256 are kept.",
        "64KiB",
        "1GiB",
    ),
    size(
        "high_water",
        "256KiB",
        "Per connection and direction: bytes waiting before the faster side is paused.",
        "4KiB",
        "1GiB",
    ),
    count("max_connections", "10000", "Client connections at a time, over all routes.", "1", "1000000"),
    choice(
        "connect",
        ("first_byte", "accept"),
        "When to connect upstream: on the client's first byte, or as soon as it is accepted.",
    ),
    duration(
        "connect_timeout",
        "10s",
        "Longest wait for the upstream to accept a connection.",
        minimum="1ms",
        maximum="1h",
    ),
    duration(
        "upstream_timeout",
        "0",
        "Longest wait for a response to begin: 504 and outcome `timeout`. `0` waits for ever.",
    ),
    size(
        "journal_max_bytes",
        "2GiB",
        "The journal's size over all volumes; beyond it new records are shed and counted.",
        "1MiB",
    ),
    size(
        "volume_bytes", "128MiB", "Size of one journal volume (less on a small file system).", "1MiB", "16GiB"
    ),
    duration("volume_age", "1h", "Age at which a volume is closed.", minimum="1s"),
    duration("commit_interval", "20ms", "Time between commits to the journal.", minimum="1ms", maximum="10s"),
    size("batch_bytes", "16MiB", "Raw bytes in a batch before it is shipped.", "64KiB", "1GiB"),
    duration(
        "batch_age",
        "30s",
        "Age of a batch's oldest record before it is shipped.",
        minimum="100ms",
        maximum="1d",
    ),
    duration(
        "heartbeat",
        "5m",
        "A log without another leaf for so long says that it is alive.",
        minimum="1s",
        maximum="1d",
    ),
    size("analyst_memory", "512MiB", "Memory limit of the analyst process.", "128MiB"),
    size("decode_limit", "32MiB", "Decompressed body bytes a decoder may look at.", "64KiB"),
    # The names are decode.registry's, which brings in more than a supervisor should carry.
    choice(
        "decoder",
        ("auto", "open_inference", "tf_serving", "mlflow", "plain_json"),
        "The wire format, by a decoder's name; `auto` tells by the path and the bodies.",
    ),
    count(
        "baseline_exchanges",
        "1000",
        "The first so many observed exchanges freeze the baseline.",
        "1",
        "1000000",
    ),
    duration(
        "pane",
        "60s",
        "Length of a pane: counts are kept, and detectors stepped, by panes.",
        minimum="100ms",
        maximum="1h",
    ),
    duration(
        "watermark",
        "2m",
        "How long after its end a pane is closed; what comes later is counted apart.",
        maximum="1h",
    ),
    text("false_alarms", "BUDGET", "1 per 30d", "Most false alarms for all that is watched of a model."),
    text(
        "decision", "RULE", None, "What counts as a yes, `outputs.predict[0] == 1` ([rules](statistics.md))."
    ),
    text(
        "watch_file",
        "FILE",
        None,
        "YAML of what else is watched: bands, means, weights ([statistics](statistics.md)).",
    ),
    text(
        "schema_file",
        "FILE",
        None,
        "Data-quality rules, made by `sidecar schema infer` ([data quality](data-quality.md)).",
    ),
    text(
        "baseline_file",
        "FILE",
        None,
        "Baseline made by `sidecar baseline create`, in place of the first exchanges; or a folder with one "
        "for each model digest ([statistics](statistics.md#baselines)).",
    ),
    duration(
        "statistics_ship",
        "5m",
        "How often closed panes go to the store ([statistics](statistics-store.md)); `0` ships none.",
        maximum="1d",
    ),
    Setting(
        "alert_url",
        "URL",
        parse_alert_url,
        None,
        "Who is told of this sidecar's own alarms, which are advice: `alertmanager+https://…`, "
        "`webhook+https://…` or `cloudevents+https://…` ([alerts](alerts.md)); may be given several times "
        "(spaces between them in the environment variable, a list in YAML).",
        many=True,
        separator=" ",
        shown=shown_alert_url,
    ),
    Setting("alert_secret_file", "FILE", parse_path, None, "The secret that signs what webhooks get."),
    Setting(
        "alert_rate", "RATE", parse_alert_rate, "30 per 1m", "Most alerts to each receiver; others wait."
    ),
    duration("drain_delay", "0s", "After SIGTERM: time to go on accepting while unready.", maximum="1h"),
    duration("grace", "25s", "After that: time for the exchanges in flight to end.", maximum="1d"),
    duration("ship_timeout", "10s", "After that: time for the analyst to ship what is left.", maximum="1d"),
    choice("log_format", ("auto", "json", "text"), "`auto` is text on a terminal, JSON lines otherwise."),
    choice("log_level", ("info", "debug", "warning", "error"), "Least level that is logged."),
)
BY_KEY = {setting.key: setting for setting in TABLE}
ROUTE_KEYS = tuple(setting.key for setting in TABLE if setting.per_route)


def default(key: str) -> Any:
    """The parsed default of a key."""
    setting = BY_KEY[key]
    return None if setting.default is None else setting.value(setting.default)


def markdown() -> str:
    """The table as it stands in docs/configuration.md."""
    lines = ["| YAML key | flag | environment | default | meaning |", "|---|---|---|---|---|"]
    for setting in TABLE:
        shown = "–" if setting.default is None else f"`{setting.default}`"
        limits = [f"at least {setting.minimum}"] if setting.minimum not in (None, "0") else []
        limits += [f"at most {setting.maximum}"] if setting.maximum is not None else []
        meaning = setting.meaning + (f" ({', '.join(limits)})" if limits else "")
        meaning = meaning.replace("|", "\\|")
        lines.append(f"| `{setting.key}` | `{setting.flag}` | `{setting.variable}` | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")

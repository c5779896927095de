"""Settings: read from flags, environment and YAML, checked once, frozen.

A flag wins over its environment variable, that over the YAML key, that over the
default; `settings_table.TABLE` holds them all. Every mistake is a ConfigError of
one line that names where the value came from, the value and the remedy.
`Handover` carries the checked settings into the two child processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sidecar.errors import ConfigError
from sidecar.records import Epoch
from sidecar.settings_sources import Flags, Raw, gather, service_variables
from sidecar.settings_table import BY_KEY, ROUTE_KEYS, TABLE, Setting, default
from sidecar.settings_values import EVERY_ADDRESS, Address, parse_route_name
from sidecar.shipping.location import shown

__all__ = ["Address", "Handover", "RouteSettings", "Settings", "journal_folder", "load", "service_variables"]


class RouteSettings(msgspec.Struct, frozen=True):
    """One listen → upstream pair and what is known of the model behind it."""

    name: str
    listen: Address
    upstream: Address
    model: str = "default"
    image_digest: str | None = None
    artifact: tuple[str, ...] = ()
    artifact_digest: str | None = None
    """Filled in by the supervisor, which hashes `artifact`."""


class Settings(msgspec.Struct, frozen=True):
    """Everything that can be set. Paths are absolute; `_s` fields are seconds; sizes are bytes."""

    routes: tuple[RouteSettings, ...]
    store: str
    journal: str = default("journal")
    health: Address = default("health")
    admin: Address = default("admin")
    policy: str = default("policy")
    durability: str = default("durability")
    hold_limit_s: float = default("hold_limit")
    capture_memory: int = default("capture_memory")
    body_limit: int = default("body_limit")
    high_water: int = default("high_water")
    max_connections: int = default("max_connections")
    connect: str = default("connect")
    connect_timeout_s: float = default("connect_timeout")
    upstream_timeout_s: float = default("upstream_timeout")
    journal_max_bytes: int = default("journal_max_bytes")
    volume_bytes: int = default("volume_bytes")
    volume_age_s: float = default("volume_age")
    commit_interval_s: float = default("commit_interval")
    batch_bytes: int = default("batch_bytes")
    batch_age_s: float = default("batch_age")
    store_endpoint: str | None = default("store_endpoint")
    store_region: str | None = default("store_region")
    store_ca: str | None = default("store_ca")
    store_timeout_s: float = default("store_timeout")
    store_token_file: str | None = default("store_token_file")
    event_mode: str = default("event_mode")
    heartbeat_s: float = default("heartbeat")
    redact: tuple[str, ...] = ()
    redact_defaults: str = default("redact_defaults")
    count_redacted: str = default("count_redacted")
    keys: tuple[str, ...] = ()
    hash_keys: str = default("hash_keys")
    hash_key: str | None = default("hash_key")
    master_key: str | None = default("master_key")
    subject: str | None = default("subject")
    subjects_store: str | None = default("subjects_store")
    cluster: str | None = default("cluster")
    namespace: str | None = default("namespace")
    workload: str | None = default("workload")
    pod_uid: str | None = default("pod_uid")
    identity: str = default("identity")
    identity_file: str | None = default("identity_file")
    model_container: str | None = default("model_container")
    pod_name: str | None = default("pod_name")
    identity_wait_s: float = default("identity_wait")
    identity_api: str | None = default("identity_api")
    identity_token: str = default("identity_token")
    annotations_file: str | None = default("annotations_file")
    enrolment_key: str | None = default("enrolment_key")
    analyst_memory: int = default("analyst_memory")
    decode_limit: int = default("decode_limit")
    decoder: str = default("decoder")
    baseline_exchanges: int = default("baseline_exchanges")
    pane_s: float = default("pane")
    watermark_s: float = default("watermark")
    false_alarms: str = default("false_alarms")
    decision: str | None = default("decision")
    watch_file: str | None = default("watch_file")
    schema_file: str | None = default("schema_file")
    baseline_file: str | None = default("baseline_file")
    statistics_ship_s: float = default("statistics_ship")
    alert_url: tuple[str, ...] = ()
    alert_secret_file: str | None = default("alert_secret_file")
    alert_rate: str = default("alert_rate")
    drain_delay_s: float = default("drain_delay")
    grace_s: float = default("grace")
    ship_timeout_s: float = default("ship_timeout")
    log_format: str = default("log_format")
    log_level: str = default("log_level")


class Handover(msgspec.Struct, frozen=True):
    """What the supervisor gives a child: settings, the boot's facts and inherited file descriptors.

    The recorder gets `listeners` and `health_fds`, the analyst `admin_fds`; what a
    child does not get is empty or -1, so that a socket closes when its owner closes it.
    """

    settings: Settings
    boot: str
    boot_wall_us: int
    counters_path: str
    """By way of an inherited descriptor: the very file, whatever has become of the folder it was made in."""
    listeners: dict[str, list[int]]
    health_fds: list[int]
    admin_fds: list[int]
    """One per address that the host resolves to, as in `listeners`."""
    life_fd: int
    lock_fd: int
    epochs: tuple[Epoch, ...] = ()
    signer_fd: int = -1
    """The analyst's end of the pair over which the supervisor signs."""
    public_key: bytes = b""
    """The boot's, 32 bytes."""
    enrolment: str | None = None
    """Signed note in which the enrolment key certifies it."""
    read_back: bool = False
    """Whether what is put into the store counts as stored only when it was read back."""

    def write(self) -> int:
        """A memory file that holds this value; its descriptor can be inherited and read many times."""
        descriptor = os.memfd_create("sidecar-handover")
        encoded = msgspec.json.encode(self)
        while encoded:
            encoded = encoded[os.write(descriptor, encoded) :]
        return descriptor

    @classmethod
    def read(cls, descriptor: int) -> Handover:
        """The value behind an inherited descriptor. Raises ConfigError when it is none."""
        try:
            return msgspec.json.decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(
                f"file descriptor {descriptor}: no handover: start this process through `sidecar run`"
            ) from error


def load(flags: Flags, environment: Mapping[str, str]) -> Settings:
    """Settings from the command line's flags (by key, plus `config`), the environment and the YAML file.

    Raises ConfigError for the first mistake found. Reads the YAML file; opens nothing else.
    """
    raws, route_list = gather(flags, environment)
    routes = _routes(raws, route_list)
    values: dict[str, Any] = {}
    for setting in TABLE:
        if setting.key in raws and not setting.per_route:
            values[setting.field] = _parse(setting, raws[setting.key])
    if "store" not in values:
        raise ConfigError("store: not set: give --store URL, SIDECAR_STORE or `store:` in the YAML file")
    if "://" not in values["store"]:
        values["store"] = str(Path(values["store"]).absolute())
    values["journal"] = str(Path(values.get("journal", default("journal"))).absolute())
    settings = Settings(routes=routes, **values)
    _check_addresses(settings)
    _check_sizes(settings)
    return settings


def journal_folder(flags: Flags, environment: Mapping[str, str]) -> Path:
    """Only the journal's folder, for commands that talk to a running sidecar."""
    raws, _ = gather(flags, environment)
    raw = raws.get("journal")
    return Path(_parse(BY_KEY["journal"], raw) if raw else default("journal")).absolute()


def _parse(setting: Setting, raw: Raw) -> Any:
    parsed = []
    for text in raw.texts:
        try:
            parsed.append(setting.value(text))
        except ValueError as error:
            raise raw.fail(f"{(setting.shown or shown)(text)!r} {error}") from error
    return tuple(parsed) if setting.many else parsed[-1]


def _routes(raws: Mapping[str, Raw], route_list: list[dict[str, Raw]] | None) -> tuple[RouteSettings, ...]:
    if route_list is None:
        return (_route(raws, ConfigError, "default"),)
    for key in ROUTE_KEYS:
        if key in raws:
            raise raws[key].fail("cannot stand beside `routes:`: put it into the route that it belongs to")
    routes = []
    seen: dict[str, str] = {}
    for entries in route_list:
        place = entries[""]
        if "name" not in entries:
            raise place.fail("has no `name`: give each route one")
        name = entries["name"].texts[0]
        try:
            parse_route_name(name)
        except ValueError as error:
            raise entries["name"].fail(f"{name!r} {error}") from error
        if name in seen:
            raise entries["name"].fail(
                f"{name!r} is the name of another route too: name each route differently"
            )
        seen[name] = name
        routes.append(_route(entries, place.fail, name))
    return tuple(routes)


def _route(raws: Mapping[str, Raw], fail: Callable[[str], ConfigError], name: str) -> RouteSettings:
    values = {key: _parse(BY_KEY[key], raws[key]) for key in ROUTE_KEYS if key in raws}
    for key in ("listen", "upstream"):
        if key not in values:
            example = "127.0.0.1:8080" if key == "listen" else "http://127.0.0.1:8000"
            setting = BY_KEY[key]
            raise fail(
                f"{key}: not set: give {setting.flag} {example}, {setting.variable} or `{key}:` in YAML"
            )
    if "artifact" in values:
        values["artifact"] = tuple(str(Path(path).absolute()) for path in values["artifact"])
    return RouteSettings(name=name, **values)


def _check_addresses(settings: Settings) -> None:
    """No two sockets on one address, and no route that forwards to the sidecar itself."""
    taken: list[tuple[str, Address]] = [
        (f"listen of route {route.name}", route.listen) for route in settings.routes
    ]
    taken += [("health", settings.health), ("admin", settings.admin)]
    for index, (name, address) in enumerate(taken):
        for other_name, other in taken[:index]:
            if _overlap(address, other):
                raise ConfigError(
                    f"{name}: {address} is also the {other_name} ({other}): give each its own port"
                )
    for route in settings.routes:
        for name, address in taken:
            if route.upstream.port == address.port and _same_host(route.upstream.host, address.host):
                raise ConfigError(
                    f"upstream of route {route.name}: {route.upstream} is the sidecar's own {name}: "
                    "give the model server's address"
                )


_WILDCARDS = ("0.0.0.0", "::", EVERY_ADDRESS)


def _overlap(one: Address, other: Address) -> bool:
    hosts = {one.host.lower(), other.host.lower()}
    return one.port == other.port != 0 and (len(hosts) == 1 or bool(hosts & set(_WILDCARDS)))


def _same_host(upstream: str, own: str) -> bool:
    local = upstream.lower() in ("localhost", "::1", *_WILDCARDS) or upstream.startswith("127.")
    return upstream.lower() == own.lower() or (local and own in _WILDCARDS)


def least_analyst_memory(body_limit: int) -> int:
    """Bytes with which an analyst can take in two bodies of that size."""
    return 96 * 2**20 + 8 * body_limit


def _check_sizes(settings: Settings) -> None:
    """Sizes that only make sense together."""
    least_volume = 2 * settings.body_limit + 4 * 2**20
    if settings.volume_bytes < least_volume:
        raise ConfigError(
            f"volume_bytes: {settings.volume_bytes} cannot hold an exchange of two bodies of body_limit "
            f"({settings.body_limit}): make it at least {least_volume} or lower body_limit"
        )
    if settings.journal_max_bytes < settings.volume_bytes:
        raise ConfigError(
            f"journal_max_bytes: {settings.journal_max_bytes} is less than one volume, volume_bytes "
            f"({settings.volume_bytes}): raise it or lower volume_bytes"
        )
    least_memory = least_analyst_memory(settings.body_limit)
    if settings.analyst_memory < least_memory:
        raise ConfigError(
            f"analyst_memory: {settings.analyst_memory} cannot take in two bodies of body_limit "
            f"({settings.body_limit}): make it at least {least_memory} or lower body_limit"
        )
    if settings.capture_memory < settings.body_limit:
        raise ConfigError(
            f"capture_memory: {settings.capture_memory} is less than body_limit ({settings.body_limit}): "
            "raise it or lower body_limit"
        )

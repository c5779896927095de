"""Settings from flags, environment and YAML: what wins, what is refused, and with which words."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import Address, Settings, journal_folder, load, service_variables
from sidecar.errors import ConfigError
from sidecar.settings_table import BY_KEY, TABLE, default
from sidecar.settings_values import parse_address, parse_duration, parse_listen, parse_size, parse_upstream

LEAST = {"listen": "127.0.0.1:8080", "upstream": "http://127.0.0.1:8000", "store": "/records"}
DIGEST = "sha256:" + "0123456789abcdef" * 4

# For every setting a value that is not its default, and what becomes of it.
OTHER: dict[str, tuple[str, Any]] = {
    "listen": ("127.0.0.1:81", Address("127.0.0.1", 81)),
    "upstream": ("http://model:82", Address("model", 82)),
    "model": ("approval", "approval"),
    "image_digest": (DIGEST, DIGEST),
    "artifact": ("/model", ("/model",)),
    "store": ("/other", "/other"),
    "journal": ("/journal", "/journal"),
    "health": ("[::1]:83", Address("::1", 83)),
    "admin": ("localhost:84", Address("localhost", 84)),
    "policy": ("closed", "closed"),
    "durability": ("before_response", "before_response"),
    "hold_limit": ("1.5s", 1.5),
    "capture_memory": ("1GB", 10**9),
    "body_limit": ("1MiB", 2**20),
    "high_water": ("64KiB", 65536),
    "max_connections": ("7", 7),
    "connect": ("accept", "accept"),
    "connect_timeout": ("3s", 3.0),
    "upstream_timeout": ("2m", 120.0),
    "journal_max_bytes": ("3GiB", 3 * 2**30),
    "volume_bytes": ("33554432", 33554432),
    "volume_age": ("2h", 7200.0),
    "commit_interval": ("50ms", 0.05),
    "batch_bytes": ("1MB", 10**6),
    "batch_age": ("1m", 60.0),
    "analyst_memory": ("1GiB", 2**30),
    "decode_limit": ("1MiB", 2**20),
    "decoder": ("mlflow", "mlflow"),
    "baseline_exchanges": ("50", 50),
    "statistics_ship": ("30s", 30.0),
    "pane": ("2s", 2.0),
    "watermark": ("3s", 3.0),
    "false_alarms": ("2 per w", "2 per w"),
    "decision": ("outputs.y > 1", "outputs.y > 1"),
    "watch_file": ("watch.yaml", "watch.yaml"),
    "schema_file": ("schema.yaml", "schema.yaml"),
    "baseline_file": ("base.json", "base.json"),
    "alert_url": ("webhook+http://h:1/x", ("webhook+http://h:1/x",)),
    "alert_secret_file": ("alert.secret", "alert.secret"),
    "alert_rate": ("2 per 1h", "2 per 1h"),
    "drain_delay": ("5s", 5.0),
    "grace": ("0", 0.0),
    "ship_timeout": ("1s", 1.0),
    "heartbeat": ("90s", 90.0),
    "redact": ("request.body:$.name=mask", ("request.body:$.name=mask",)),
    "redact_defaults": ("off", "off"),
    "count_redacted": ("off", "off"),
    "keys": ("order=header:x-order", ("order=header:x-order",)),
    "hash_keys": ("on", "on"),
    "hash_key": ("hash.key", "hash.key"),
    "master_key": ("master.key", "master.key"),
    "subject": ("header:x-customer", "header:x-customer"),
    "subjects_store": ("s3://keys/x", "s3://keys/x"),
    "store_endpoint": ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    "store_region": ("eu-central-1", "eu-central-1"),
    "store_ca": ("ca.pem", "ca.pem"),
    "store_timeout": ("5s", 5.0),
    "store_token_file": ("token", "token"),
    "event_mode": ("binary", "binary"),
    "cluster": ("prod", "prod"),
    "namespace": ("lending", "lending"),
    "workload": ("mortgage-v2", "mortgage-v2"),
    "pod_uid": ("2b1c7a52-8f4e-4c1d-9a57-0d6f6c1e7f11", "2b1c7a52-8f4e-4c1d-9a57-0d6f6c1e7f11"),
    "identity": ("downward", "downward"),
    "identity_file": ("/etc/pod/annotations", "/etc/pod/annotations"),
    "model_container": ("model", "model"),
    "pod_name": ("mortgage-0", "mortgage-0"),
    "identity_wait": ("5s", 5.0),
    "identity_api": ("https://10.0.0.1", "https://10.0.0.1"),
    "identity_token": ("/token", "/token"),
    "annotations_file": ("/etc/annotations", "/etc/annotations"),
    "enrolment_key": ("enrol.key", "enrol.key"),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}


def found(settings: Settings, key: str) -> Any:
    setting = BY_KEY[key]
    return getattr(settings.routes[0] if setting.per_route else settings, setting.field)


def yaml_file(folder: Path, text: str) -> str:
    path = folder / "sidecar.yaml"
    path.write_text(text)
    return str(path)


def mistake(flags: dict[str, Any], environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags, environment or {})
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table_and_the_settings_have_the_same_fields_and_defaults() -> None:
    settings = load(LEAST, {})
    assert {setting.key for setting in TABLE} == set(OTHER)
    fields = {field.name for field in msgspec.structs.fields(Settings)} - {"routes"}
    assert fields == {setting.field for setting in TABLE if not setting.per_route}
    for setting in TABLE:
        if setting.default is not None and setting.key != "journal":
            assert found(settings, setting.key) == default(setting.key)


@pytest.mark.parametrize("key", OTHER)
def test_each_setting_can_be_given_as_flag_variable_and_yaml_key(tmp_path: Path, key: str) -> None:
    text, value = OTHER[key]
    others = {name: given for name, given in LEAST.items() if name != key}
    assert found(load({**others, key: text}, {}), key) == value
    assert found(load(others, {BY_KEY[key].variable: text}), key) == value
    config = yaml_file(tmp_path, f"{key}: '{text}'\n")
    assert found(load({**others, "config": config}, {}), key) == value


def test_a_flag_wins_over_the_variable_and_that_over_the_file(tmp_path: Path) -> None:
    flags = {**LEAST, "config": yaml_file(tmp_path, "grace: 1s\ndrain_delay: 1s\nhold_limit: 1s\n")}
    settings = load({**flags, "grace": "3s"}, {"SIDECAR_GRACE": "2s", "SIDECAR_DRAIN_DELAY": "2s"})
    assert (settings.grace_s, settings.drain_delay_s, settings.hold_limit_s) == (3, 2, 1)


def test_the_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    config = yaml_file(tmp_path, "listen: 127.0.0.1:1\nupstream: http://a:2\nstore: s\n")
    assert load({}, {"SIDECAR_CONFIG": config}).routes[0].listen.port == 1


def test_an_empty_variable_or_yaml_value_is_not_given(tmp_path: Path) -> None:
    config = yaml_file(tmp_path, "image_digest:\nmodel: null\n")
    settings = load({**LEAST, "config": config}, {"SIDECAR_ARTIFACT": "", "SIDECAR_GRACE": ""})
    assert settings == load(LEAST, {})


def test_an_empty_file_is_a_file_without_settings(tmp_path: Path) -> None:
    assert load({**LEAST, "config": yaml_file(tmp_path, "# nothing\n")}, {}) == load(LEAST, {})


def test_artifacts_come_as_repeated_flags_as_a_path_list_or_as_a_yaml_list(tmp_path: Path) -> None:
    expected = ("/a", "/b")
    assert load({**LEAST, "artifact": ("/a", "/b")}, {}).routes[0].artifact == expected
    assert load(LEAST, {"SIDECAR_ARTIFACT": "/a:/b"}).routes[0].artifact == expected
    config = yaml_file(tmp_path, "artifact: [/a, /b]\n")
    assert load({**LEAST, "config": config}, {}).routes[0].artifact == expected


def test_yaml_scalars_are_taken_as_written(tmp_path: Path) -> None:
    settings = load({**LEAST, "config": yaml_file(tmp_path, "model: 0x10\nmax_connections: 010\n")}, {})
    assert (settings.routes[0].model, settings.max_connections) == ("0x10", 10)


ROUTES = f"""
store: /records
routes:
  - name: approval
    listen: 127.0.0.1:1
    upstream: http://127.0.0.1:11
    model: loans
    image_digest: {DIGEST}
    artifact: [a.bin, b.bin]
  - name: pricing-2
    listen: 127.0.0.1:2
    upstream: http://127.0.0.1:12
"""


def test_several_routes_stand_in_the_file(tmp_path: Path) -> None:
    first, second = load({"config": yaml_file(tmp_path, ROUTES)}, {}).routes
    assert (first.name, first.model, first.image_digest) == ("approval", "loans", DIGEST)
    assert first.artifact == (str(Path.cwd() / "a.bin"), str(Path.cwd() / "b.bin"))
    assert (second.name, second.model, second.upstream) == ("pricing-2", "default", Address("127.0.0.1", 12))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("name: approval", "name: Approval"), "'Approval' is no route name"),
        (("name: pricing-2", "name: approval"), ":10: name: 'approval' is the name of another route"),
        (("  - name: pricing-2\n    listen", "  - listen"), ":10: route: has no `name`"),
        (("    listen: 127.0.0.1:2\n", ""), "listen: not set"),
        (("127.0.0.1:2", "127.0.0.1:1"), "give each its own port"),
        (("upstream: http://127.0.0.1:12", "upstrem: http://127.0.0.1:12"), "did you mean upstream?"),
        (("routes:\n  - name: approval", "routes:\n    name: approval"), "not valid YAML"),
        (("store: /records", "store: /records\nlisten: 127.0.0.1:5"), "cannot stand beside `routes:`"),
    ],
)
def test_mistakes_in_routes_are_named(tmp_path: Path, edit: tuple[str, str], words: str) -> None:
    assert edit[0] in ROUTES
    assert words in mistake({"config": yaml_file(tmp_path, ROUTES.replace(*edit))})


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("listen", "8080", "'8080' is no address"),
        ("listen", ":8080", "is no address"),
        ("listen", "::1:8080", "in brackets"),
        ("listen", "300.1.1.1:80", "no valid host"),
        ("listen", "1.2.3:80", "no valid host"),
        ("listen", "a b:80", "no valid host"),
        ("listen", "localhost:65536", "no port from 0 to 65535"),
        ("listen", "localhost:http", "no port"),
        ("upstream", "127.0.0.1:8000", "has no scheme: write http://HOST:PORT"),
        ("upstream", "https://model", "is https"),
        ("upstream", "unix:///run/model.sock", "only http is known"),
        ("upstream", "http://model:1/v1", "carries a path or query"),
        ("upstream", "http://model:1?x", "carries a path or query"),
        ("upstream", "http://user:secret@model:1", "carries a user name or password"),
        ("upstream", "http://model:0", "no port from 1"),
        ("upstream", "http://", "is no address"),
        ("image_digest", "sha256:abc", "is no digest: write sha256: and 64"),
        ("image_digest", DIGEST.upper(), "is no digest"),
        ("image_digest", "repo/model@" + DIGEST, "only what follows the @"),
        ("model", "", "is no name"),
        ("model", "a\nb", "is no name"),
        ("store", "ftp://bucket/x", "has the scheme"),
        ("policy", "ajar", "is not one of open, closed"),
        ("hold_limit", "200", "is no duration"),
        ("hold_limit", "-1s", "is no duration"),
        ("commit_interval", "0", "is below the least, 1ms"),
        ("commit_interval", "11s", "is above the most, 10s"),
        ("body_limit", "8 apples", "is no size"),
        ("body_limit", "9" * 400 + ".0", "is no size"),
        ("decoder", "guess", "is not one of auto, open_inference"),
        ("max_connections", "0", "is below the least, 1"),
        ("max_connections", "many", "is no whole number"),
    ],
)
def test_a_bad_value_is_named_with_its_source_and_a_remedy(
    tmp_path: Path, key: str, text: str, words: str
) -> None:
    setting = BY_KEY[key]
    others = {name: given for name, given in LEAST.items() if name != key}
    message = mistake({**others, key: text})
    assert message.startswith(f"{setting.flag}: ")
    assert words in message
    assert "secret" not in message
    if text:
        assert mistake(others, {setting.variable: text}).startswith(f"{setting.variable}: ")
        quoted = text.replace("\n", "\\n")
        config = yaml_file(tmp_path, f'# first line\n{key}: "{quoted}"\n')
        assert mistake({**others, "config": config}).startswith(f"{config}:2: {key}: ")


@pytest.mark.parametrize("key", ["listen", "upstream", "store"])
def test_what_must_be_set_is_asked_for_in_all_three_ways(key: str) -> None:
    message = mistake({name: given for name, given in LEAST.items() if name != key})
    assert message.startswith(f"{key}: not set")
    for form in (BY_KEY[key].flag, BY_KEY[key].variable, f"`{key}:`"):
        assert form in message


def test_an_unknown_variable_is_named_with_the_nearest_setting() -> None:
    assert "SIDECAR_HOLDLIMIT: no such setting (did you mean SIDECAR_HOLD_LIMIT?)" in mistake(
        LEAST, {"SIDECAR_HOLDLIMIT": "1s"}
    )
    assert mistake(LEAST, {"SIDECAR_": "1s"}).startswith("SIDECAR_: no such setting")


def test_variables_of_a_kubernetes_service_named_sidecar_are_told_apart() -> None:
    environment = {
        "SIDECAR_SERVICE_HOST": "10.0.0.1",
        "SIDECAR_SERVICE_PORT": "80",
        "SIDECAR_SERVICE_PORT_HTTP": "80",
        "SIDECAR_PORT": "tcp://10.0.0.1:80",
        "SIDECAR_PORT_80_TCP_ADDR": "10.0.0.1",
        "SIDECAR_GRACE": "1s",
        "HOME": "/",
    }
    assert load(LEAST, environment).grace_s == 1
    assert service_variables(environment) == sorted(set(environment) - {"SIDECAR_GRACE", "HOME"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grace: 1s\ngrase: 2s\n", ":2: grase: no such key (did you mean grace?)"),
        ("grace: 1s\n\ngrace: 2s\n", ":3: grace: already set in line 1"),
        ("a: [1\nb: 2\n", ":2: not valid YAML"),
        ("\tgrace: 1s\n", ":1: not valid YAML"),
        ("- grace\n", ":1: must hold `key: value` lines"),
        ("grace: [1s, 2s]\n", ":1: grace: must be one value"),
        ("artifact: {a: b}\n", ":1: artifact: must be one value or a list"),
        ("grace: 1s\n---\ngrace: 2s\n", "not valid YAML"),
        ("grace: !!python/object:os.system x\n? [a]\n: b\n", ":2: ?: no such key"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    config = yaml_file(tmp_path, text)
    message = mistake({**LEAST, "config": config})
    assert message.startswith(config)
    assert words in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "No such file" in mistake({**LEAST, "config": str(tmp_path / "absent.yaml")})
    assert "Is a directory" in mistake({**LEAST, "config": str(tmp_path)})
    (tmp_path / "binary.yaml").write_bytes(b"model: \xff\xfe\x00\n")
    assert "not valid YAML" in mistake({**LEAST, "config": str(tmp_path / "binary.yaml")})


@pytest.mark.parametrize(
    "flags",
    [
        {"health": "127.0.0.1:8080"},
        {"admin": "127.0.0.1:9900"},
        {"listen": "0.0.0.0:9901"},
        {"health": "[::]:8080"},
        {"upstream": "http://localhost:8080", "listen": "0.0.0.0:8080"},
        {"upstream": "http://127.0.0.1:8080"},
        {"upstream": "http://127.0.0.1:9900"},
    ],
)
def test_addresses_that_collide_are_refused(flags: dict[str, str]) -> None:
    message = mistake({**LEAST, **flags})
    assert "give each its own port" in message or "give the model server's address" in message


def test_port_0_collides_with_nothing() -> None:
    load({**LEAST, "listen": "127.0.0.1:0", "health": "127.0.0.1:0", "admin": "127.0.0.1:0"}, {})


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"body_limit": "128MiB", "capture_memory": "1GiB"}, "volume_bytes"),
        ({"volume_bytes": "4GiB"}, "journal_max_bytes"),
        ({"capture_memory": "4MiB"}, "capture_memory"),
        ({"analyst_memory": "128MiB"}, "analyst_memory"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(flags: dict[str, str], key: str) -> None:
    assert mistake({**LEAST, **flags}).startswith(key)


def test_relative_paths_become_absolute() -> None:
    settings = load({**LEAST, "store": "./s"}, {})
    assert (settings.store, settings.journal) == (str(Path.cwd() / "s"), str(Path.cwd() / "journal"))


def test_the_journal_alone_can_be_asked_for(tmp_path: Path) -> None:
    config = yaml_file(tmp_path, "journal: /from-file\n")
    assert journal_folder({}, {}) == Path.cwd() / "journal"
    assert journal_folder({"config": config}, {}) == Path("/from-file")
    assert journal_folder({"config": config}, {"SIDECAR_JOURNAL": "/from-variable"}) == Path("/from-variable")
    assert journal_folder({"journal": "/from-flag"}, {"SIDECAR_JOURNAL": "/x"}) == Path("/from-flag")


@given(st.integers(0, 10**12), st.sampled_from(["", "B", "kB", "MB", "GB", "KiB", "mib", "GiB", "TiB"]))
def test_sizes_are_exact(number: int, unit: str) -> None:
    base = 1024 if "i" in unit.lower() else 1000
    power = ["", "k", "m", "g", "t"].index(unit.lower().rstrip("b").rstrip("i"))
    assert parse_size(f"{number}{unit}") == number * base**power


@given(st.integers(0, 10**6), st.sampled_from([("us", 1e-6), ("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3600)]))
def test_durations_are_seconds(number: int, unit: tuple[str, float]) -> None:
    assert parse_duration(f"{number}{unit[0]}") == pytest.approx(number * unit[1])


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_ip_address_survives_its_text(ip: Any, port: int) -> None:
    address = Address(str(ip), port)
    assert parse_address(str(address)) == address
    assert parse_upstream(f"http://{address}") == parse_upstream(f"http://{address}/") == address


@given(st.text(max_size=40))
def test_no_text_is_worse_than_a_named_mistake(text: str) -> None:
    for setting in TABLE:
        with suppress(ValueError):
            setting.value(text)


def test_routes_that_are_no_list_are_refused(tmp_path: Path) -> None:
    for text in ("routes: none\n", "routes: []\n", "routes: {a: b}\n"):
        assert "must be a list of routes" in mistake({"config": yaml_file(tmp_path, text)})
    assert "must hold `key: value` lines" in mistake({"config": yaml_file(tmp_path, "routes: [a]\n")})


def test_star_listens_on_both_families_and_is_no_upstream() -> None:
    assert parse_listen("*:8080") == Address("*", 8080)
    with pytest.raises(ValueError, match="no valid host"):
        parse_upstream("http://*:8080")
    with pytest.raises(ConfigError, match="the sidecar's own listen"):
        load({**LEAST, "listen": "*:8080", "upstream": "http://127.0.0.1:8080"}, {})
    with pytest.raises(ConfigError, match="give each its own port"):
        load({**LEAST, "listen": "*:9900"}, {})


def test_an_ipv4_address_may_stand_in_brackets_but_no_name() -> None:
    assert parse_upstream("http://[10.1.2.3]:8080") == Address("10.1.2.3", 8080)
    assert parse_upstream("http://[fd00::1]:8080") == Address("fd00::1", 8080)
    for text in ("http://[model]:8080", "http://[10.1.2]:8080", "http://[]:8080"):
        with pytest.raises(ValueError):
            parse_upstream(text)

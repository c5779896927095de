"""Where settings come from: flags, environment variables and the YAML file, before any is parsed.

A flag wins over its environment variable and that over the YAML key. Unknown
names are refused here, with the nearest known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.errors import ConfigError
from sidecar.settings_table import BY_KEY, ENVIRONMENT_PREFIX, ROUTE_KEYS, TABLE

if TYPE_CHECKING:
    import yaml

Flags = Mapping[str, str | Sequence[str] | None]
"""Values of the command line by key (plus `config`); None or empty when not given."""

_MEMBERS = {"redact": ("where", "action")}
"""Settings whose items may also be written as mappings."""
_SERVICE_VARIABLE = re.compile(
    r"^SIDECAR_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)$"
)


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as written, and where: `--listen`, `SIDECAR_LISTEN` or `sidecar.yaml:3: listen`."""

    texts: tuple[str, ...]
    origin: str

    def fail(self, reason: str) -> ConfigError:
        """The error to raise about this value."""
        return ConfigError(f"{self.origin}: {reason}")


def service_variables(environment: Mapping[str, str]) -> list[str]:
    """`SIDECAR_…` variables that Kubernetes injects for a Service of that name; they are no settings."""
    known = {setting.variable for setting in TABLE}
    return sorted(name for name in environment if name not in known and _SERVICE_VARIABLE.match(name))


def gather(
    flags: Flags, environment: Mapping[str, str]
) -> tuple[dict[str, Raw], list[dict[str, Raw]] | None]:
    """Every key that was set, the strongest source winning; and the YAML file's `routes`, if any."""
    from_flags = _from_flags(flags)
    from_environment = _from_environment(environment)
    config = from_flags.pop("config", None) or from_environment.get("config")
    from_environment.pop("config", None)
    from_file, routes = _from_file(config) if config else ({}, None)
    return {**from_file, **from_environment, **from_flags}, routes


def _from_flags(flags: Flags) -> dict[str, Raw]:
    raws = {}
    for key, value in flags.items():
        if value is None or value == () or value == []:
            continue
        texts = (value,) if isinstance(value, str) else tuple(value)
        raws[key] = Raw(texts, "--" + key.replace("_", "-"))
    return raws


def _from_environment(environment: Mapping[str, str]) -> dict[str, Raw]:
    known = {setting.variable: setting for setting in TABLE}
    service = set(service_variables(environment))
    raws = {}
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in service:
            continue
        if name == ENVIRONMENT_PREFIX + "CONFIG":
            setting, many = None, False
        elif name in known:
            setting, many = known[name], known[name].many
        else:
            hint = _close_match(name, [*known, "SIDECAR_CONFIG"])
            raise ConfigError(f"{name}: no such setting{hint}: unset it or correct it")
        # Manifests often pass a variable empty to mean "not given".
        if value:
            texts = tuple(filter(None, value.split(setting.separator))) if setting and many else (value,)
            raws[setting.key if setting else "config"] = Raw(texts, name)
    return raws


def _close_match(name: str, known: Iterable[str]) -> str:
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _from_file(config: Raw) -> tuple[dict[str, Raw], list[dict[str, Raw]] | None]:
    """The YAML file's keys; scalars are taken as written, so `on` or `1:30` mean what they look like."""
    path = config.texts[-1]
    import yaml

    try:
        root = yaml.compose(Path(path).read_bytes(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise config.fail(f"cannot read {path}: {error.strerror}: give the path of a YAML file") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            f"{path}:{line}: not valid YAML: {error.problem or error.context}: correct that line"
        ) from error
    except yaml.YAMLError as error:
        # Reader errors span several lines and carry the file's name as <byte string>.
        raise ConfigError(
            f"{path}:1: not valid YAML: {str(error).splitlines()[0]}: save it as UTF-8 text"
        ) from error
    if root is None:
        return {}, None
    raws: dict[str, Raw] = {}
    routes: list[dict[str, Raw]] | None = None
    keys = [setting.key for setting in TABLE]
    for key, node, origin in _entries(root, path, [*keys, "routes"]):
        if key == "routes":
            if not isinstance(node, yaml.SequenceNode) or not node.value:
                raise ConfigError(f"{origin}: must be a list of routes, each with name, listen and upstream")
            routes = [_route_entries(item, path) for item in node.value]
        else:
            texts = _texts(node, origin, BY_KEY[key].many, _MEMBERS.get(key))
            if texts is not None:
                raws[key] = Raw(texts, origin)
    return raws, routes


def _route_entries(node: yaml.Node, path: str) -> dict[str, Raw]:
    raws = {}
    for key, value, origin in _entries(node, path, ["name", *ROUTE_KEYS]):
        texts = _texts(value, origin, many=key != "name" and BY_KEY[key].many)
        if texts is not None:
            raws[key] = Raw(texts, origin)
    raws[""] = Raw((), f"{path}:{node.start_mark.line + 1}: route")
    return raws


def _entries(node: yaml.Node, path: str, known: list[str]) -> list[tuple[str, yaml.Node, str]]:
    """Key, value and origin of each entry of a mapping; refuses unknown and repeated keys."""
    import yaml

    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:{line}: must hold `key: value` lines")
    entries: list[tuple[str, yaml.Node, str]] = []
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        if key not in known:
            raise ConfigError(
                f"{path}:{line}: {key}: no such key{_close_match(key, known)}: remove it or correct it"
            )
        if key in seen:
            raise ConfigError(f"{path}:{line}: {key}: already set in line {seen[key]}: keep one")
        seen[key] = line
        entries.append((key, value_node, f"{path}:{line}: {key}"))
    return entries


def _texts(
    node: yaml.Node, origin: str, many: bool, members: tuple[str, str] | None = None
) -> tuple[str, ...] | None:
    """The scalar, or list of scalars, as written; None for an empty value.

    An item with two `members` is the text of both, joined by an equals sign.
    """
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else (node.value,)
    if many and isinstance(node, yaml.SequenceNode):
        items = [_joined(item, members) if members else item for item in node.value]
        if all(isinstance(item, yaml.ScalarNode) for item in items):
            return tuple(item.value for item in items) or None
    hint = f", or of mappings with {' and '.join(members)}" if members else ""
    raise ConfigError(f"{origin}: must be {'one value or a list of values' if many else 'one value'}{hint}")


def _joined(node: yaml.Node, members: tuple[str, str]) -> yaml.Node:
    """A mapping of just these members as one scalar; any other node as it is."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return node
    pairs = {key.value: value.value for key, value in node.value if isinstance(value, yaml.ScalarNode)}
    if len(node.value) != len(members) or pairs.keys() != set(members):
        return node
    return yaml.ScalarNode("tag:yaml.org,2002:str", "=".join(pairs[name] for name in members))

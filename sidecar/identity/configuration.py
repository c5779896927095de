"""How a container was told to run: a digest of its command, arguments and environment.

SHA-256 of this JSON, without spaces and with sorted names, non-ASCII characters
as they are, in UTF-8:

    {"args":[…],"command":[…],"environment":[names, sorted],"from":[[kind, name, prefix], …],
     "values":{name: HMAC-SHA256 in hex, …}}

`environment` has the names of `env`, `from` what `envFrom` names, in its order.
`values` has those that the spec itself gives, and is there only with a key: a
value may be a password, and short ones could be guessed from a plain hash. The
HMAC is over `environment`, a zero byte, the name, a zero byte and the value.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]
_SOURCES = ("configMapRef", "secretRef")


def configuration_digest(container: Object, key: bytes | None = None) -> str:
    """`sha256:` + hex of a container of a pod's spec; `key` is that of the values' HMACs."""
    variables = _objects(container.get("env"))
    told: dict[str, Any] = {
        "command": _texts(container.get("command")),
        "args": _texts(container.get("args")),
        "environment": sorted(str(each.get("name")) for each in variables),
        "from": [_source(each) for each in _objects(container.get("envFrom"))],
    }
    if key is not None:
        told["values"] = {
            str(each.get("name")): _hmac(key, str(each.get("name")), each["value"])
            for each in variables
            if isinstance(each.get("value"), str)
        }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def configuration_of(pod: Object, name: str, key: bytes | None = None) -> str | None:
    """That of the container of this name in a pod's spec; None if the spec has none."""
    spec = pod.get("spec")
    for part in ("containers", "initContainers"):
        for each in _objects(spec.get(part) if isinstance(spec, Mapping) else None):
            if each.get("name") == name:
                return configuration_digest(each, key)
    return None


def _source(value: Object) -> list[str]:
    for kind in _SOURCES:
        reference = value.get(kind)
        if isinstance(reference, Mapping):
            return [kind, str(reference.get("name") or ""), str(value.get("prefix") or "")]
    return ["", "", str(value.get("prefix") or "")]


def _hmac(key: bytes, name: str, value: str) -> str:
    message = f"environment\0{name}\0{value}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256").hex()


def _objects(value: Any) -> list[Object]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []

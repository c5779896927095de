"""A MutatingAdmissionPolicy, evaluated as the API server does: Google's CEL with what Kubernetes adds to it.

Type-checked, with the extensions that every API server with such policies has:
strings (version 2), optionals, `quantity` and `JSONPatch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]
from cel_expr_python.ext import ext_optional  # type: ignore[import-untyped]
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2

from sidecar.inject.quantity import amount

Object = dict[str, Any]
NAMES = ("object", "oldObject", "request", "namespaceObject", "params")


KIND = descriptor_pb2.FieldDescriptorProto


def _types() -> descriptor_pb2.FileDescriptorProto:
    """`JSONPatch`, and what Kubernetes declares of a Namespace; an object is of no declared type there either."""
    assert struct_pb2.DESCRIPTOR.name == "google/protobuf/struct.proto", "its import registers it"
    file = descriptor_pb2.FileDescriptorProto(
        name="kubernetes.proto", syntax="proto3", dependency=["google/protobuf/struct.proto"]
    )
    patch = file.message_type.add(name="JSONPatch")
    for number, name in enumerate(("op", "path", "from"), 1):
        _text(patch, name, number)
    _message(patch, "value", 4, ".google.protobuf.Value")
    metadata = file.message_type.add(name="NamespaceMetadata")
    _text(metadata, "name", 1)
    for number, name in enumerate(("labels", "annotations"), 2):
        entry = metadata.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _text(entry, "key", 1)
        _text(entry, "value", 2)
        _message(metadata, name, number, f".NamespaceMetadata.{entry.name}", KIND.LABEL_REPEATED)
    _message(file.message_type.add(name="Namespace"), "metadata", 1, ".NamespaceMetadata")
    return file


def _text(of: descriptor_pb2.DescriptorProto, name: str, number: int) -> None:
    of.field.add(name=name, number=number, type=KIND.TYPE_STRING, label=KIND.LABEL_OPTIONAL)


def _message(
    of: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    what: str,
    label: descriptor_pb2.FieldDescriptorProto.Label.ValueType = KIND.LABEL_OPTIONAL,
) -> None:
    of.field.add(name=name, number=number, type=KIND.TYPE_MESSAGE, label=label, type_name=what)


Types = Mapping[str, Any]
"""Of variables, by name."""


@cache
def _pool() -> Any:
    pool = descriptor_pool.Default()
    pool.Add(_types())
    return pool


def environment(types: Types) -> Any:
    text, whole = cel.Type.STRING, cel.Type.INT
    functions = [
        cel.FunctionDecl("quantity", [cel.Overload("quantity", text, [text], impl=lambda value: value)]),
        cel.FunctionDecl(
            "compareTo",
            [cel.Overload("compareTo", whole, [text, text], is_member=True, impl=_compared)],
        ),
    ]
    strings = cel.NewEnvConfigFromYaml("name: kubernetes\nextensions:\n- name: strings\n  version: 2\n")
    return cel.NewEnv(
        _pool(),
        strings,
        variables=dict.fromkeys(NAMES, cel.Type.DYN)
        | {"namespaceObject": cel.Type("Namespace")}
        | dict(types),
        extensions=[ext_optional.ExtOptional()],
        functions=functions,
    )


def _compared(one: str, other: str) -> int:
    first, second = amount(one), amount(other)
    return (first > second) - (first < second)


@cache
def _untyped() -> Any:
    return environment({"variables": cel.Type.DYN})


@cache
def compiled(expression: str) -> Any:
    """An expression that stands alone: nothing is known of its variables' types."""
    return _untyped().compile(expression)


def evaluated(expression: str, given: Mapping[str, Any]) -> Any:
    """The value. Raises ValueError for an error of evaluation."""
    return value_of(compiled(expression), given)


def value_of(program: Any, given: Mapping[str, Any]) -> Any:
    value = program.eval(data=dict(given))
    if value.type() == cel.Type.ERROR:
        raise ValueError(str(value.plain_value()))
    return value.plain_value()


class Policy:
    """A policy's programs. Each variable is checked with the types that those before it turned out to have."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        spec = policy["spec"]
        alone = environment({})
        self.conditions = [alone.compile(each["expression"]) for each in spec["matchConditions"]]
        self.variables: dict[str, Any] = {}
        types: dict[str, Any] = {}
        for each in spec["variables"]:
            program = environment(types).compile(each["expression"])
            self.variables[f"variables.{each['name']}"] = program
            types[f"variables.{each['name']}"] = program.return_type()
        (mutation,) = spec["mutations"]
        self.mutation = environment(types).compile(mutation["jsonPatch"]["expression"])

    def patch(self, pod: Object, namespace: Object) -> list[Object] | None:
        """The JSON patch; None when a match condition is false."""
        given: Object = dict.fromkeys(NAMES)
        given |= {"object": pod, "namespaceObject": _namespace(namespace), "request": {"operation": "CREATE"}}
        if not all(value_of(each, given) for each in self.conditions):
            return None
        for name, program in self.variables.items():
            try:
                given[name] = value_of(program, given)
            except ValueError:
                # As there: an error counts only where the variable is asked for, here as one that is missing.
                continue
        return [_operation(each) for each in value_of(self.mutation, given)]


def _namespace(namespace: Object) -> Any:
    made = message_factory.GetMessageClass(_pool().FindMessageTypeByName("Namespace"))
    return json_format.ParseDict(namespace, made())


def _operation(message: Any) -> Object:
    operation: Object = json_format.MessageToDict(message)
    operation["value"] = _whole(operation["value"]) if "value" in operation else None
    return {key: value for key, value in operation.items() if value is not None}


def _whole(value: Any) -> Any:
    """JSON has one kind of number: what is whole was an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {key: _whole(each) for key, each in value.items()} if isinstance(value, dict) else value

"""Operators that the ONNX standard defines by a function body: what a runtime inlines.

ONNX Runtime replaces a node that no provider has a kernel for by its schema's body. Whether that
serves a 16-bit type depends on the body's own operators, so the body is walked with the types
that its values would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, helper
from onnx.defs import OpSchema, SchemaError, get_schema

from halve.types import DType

__all__ = ["allows", "body_calls", "find_schema", "has_body", "input_variables"]

Types = tuple[tuple[str, int], ...]
Call = tuple[str, str, int, dict[str, int]]

_CODES = {
    f"tensor({'float' if code is DType.FLOAT else code.name.lower()})": int(code) for code in DType
}
_TYPE_STRINGS = {code: text for text, code in _CODES.items()}
# Values for attributes that a schema requires; a body's operators do not depend on them.
_PLACEHOLDERS: dict[str, object] = {"INT": 1, "INTS": [1], "FLOAT": 1.0, "STRING": "x"}
# Operators whose output type is an attribute, and what it is where the attribute is absent:
# None is the type of the first input.
_TYPE_ATTRIBUTES: dict[str, tuple[str, int | None]] = {
    "Cast": ("to", 0),
    "ConstantOfShape": ("value", int(DType.FLOAT)),
    "Constant": ("value", int(DType.FLOAT)),
    "EyeLike": ("dtype", None),
    "RandomNormalLike": ("dtype", None),
    "RandomUniformLike": ("dtype", None),
}


class _TypeConflictError(Exception):
    """A body binds one type variable to two types."""


def find_schema(domain: str, op_type: str, opset: int) -> OpSchema | None:
    """The schema that a node of this opset has, or None where the standard has none."""
    try:
        return get_schema(op_type, opset, "" if domain == "ai.onnx" else domain)
    except SchemaError:
        return None


def input_variables(schema: OpSchema) -> frozenset[str]:
    """The type variables (or fixed types) of an operator's inputs."""
    return frozenset(formal.type_str for formal in schema.inputs)


def allows(schema: OpSchema | None, types: Mapping[str, int]) -> bool:
    """Whether a schema lets its type variables have these element types."""
    if schema is None:
        return False
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    return all(_TYPE_STRINGS.get(code) in allowed.get(name, ()) for name, code in types.items())


def has_body(domain: str, op_type: str, opset: int, types: Mapping[str, int]) -> bool:
    """Whether the standard defines this operator by a body for these types."""
    function = _function(domain, op_type, opset, tuple(sorted(types.items())))
    return function is not None and len(function.node) > 0


def body_calls(
    domain: str, op_type: str, opset: int, types: Mapping[str, int]
) -> list[Call] | None:
    """What an operator's body calls: (domain, operator, opset, {type variable: element type}).

    Only the types that follow from `types` are given; others are left out. None where there is no
    body, where it cannot be built without the node, or where it contradicts itself in these types
    (MeanVarianceNormalization adds a float32 constant to its input).
    """
    function = _function(domain, op_type, opset, tuple(sorted(types.items())))
    schema = find_schema(domain, op_type, opset)
    if function is None or schema is None or not function.node:
        return None
    opsets = {entry.domain: entry.version for entry in function.opset_import}
    try:
        return list(_walk(function, opsets, _bind_inputs(function, schema, types)))
    except _TypeConflictError:
        return None


def _bind_inputs(
    function: FunctionProto, schema: OpSchema, types: Mapping[str, int]
) -> dict[str, int]:
    pairs = zip(function.input, schema.inputs, strict=False)
    known = {name: _code(formal.type_str, types) for name, formal in pairs}
    return {name: code for name, code in known.items() if code}


def _walk(
    function: FunctionProto, opsets: Mapping[str, int], values: dict[str, int]
) -> Iterator[Call]:
    for node in function.node:
        opset = opsets.get(node.domain, 1)
        schema = find_schema(node.domain, node.op_type, opset)
        if schema is None:
            continue
        bound = _bind_node(node, schema, values)
        for name, formal in _matched(node.output, schema.outputs):
            code = _code(formal.type_str, bound)
            if code:
                values[name] = code
        yield node.domain, node.op_type, opset, bound


def _bind_node(node: NodeProto, schema: OpSchema, values: Mapping[str, int]) -> dict[str, int]:
    variables = {constraint.type_param_str for constraint in schema.type_constraints}
    bound: dict[str, int] = {}
    for name, formal in _matched(node.input, schema.inputs):
        if name not in values or formal.type_str not in variables:
            continue
        if (
            bound.setdefault(formal.type_str, values[name]) != values[name]
            and formal.is_homogeneous
        ):
            raise _TypeConflictError
    output = _output_code(node, values)
    if output and schema.outputs[0].type_str in variables:
        bound[schema.outputs[0].type_str] = output
    return bound


def _output_code(node: NodeProto, values: Mapping[str, int]) -> int:
    """The element type of an output that an attribute sets, or 0."""
    if node.op_type not in _TYPE_ATTRIBUTES:
        return 0
    name, default = _TYPE_ATTRIBUTES[node.op_type]
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            return 0  # decided by the node's own attribute, which is not known here
        if attribute.name == name:
            is_tensor = attribute.type == AttributeProto.TENSOR
            return int(attribute.t.data_type if is_tensor else attribute.i)
        if attribute.name in ("value_int", "value_ints"):
            return int(DType.INT64)
    return default if default is not None else values.get(node.input[0], 0)


def _matched(
    names: Sequence[str], formals: Sequence[OpSchema.FormalParameter]
) -> list[tuple[str, OpSchema.FormalParameter]]:
    """Each name with its formal parameter; the last one repeats, as variadic operators need."""
    return [(name, formals[min(i, len(formals) - 1)]) for i, name in enumerate(names)]


def _code(type_str: str, types: Mapping[str, int]) -> int:
    return types.get(type_str, _CODES.get(type_str, 0))


@lru_cache(maxsize=1024)
def _function(domain: str, op_type: str, opset: int, types: Types) -> FunctionProto | None:
    # The members that deal with bodies are missing from onnx's type stubs.
    schema: Any = find_schema(domain, op_type, opset)
    if schema is None:
        return None
    if schema.has_function:
        versions = schema.function_opset_versions
        return _newest(versions, opset, schema.get_function_with_opset_version)
    example = _example_node(schema) if schema.has_context_dependent_function else None
    if example is None:
        return None
    versions = schema.context_dependent_function_opset_versions
    build = schema.get_context_dependent_function_with_opset_version
    node, protos = example.SerializeToString(), _input_types(schema, dict(types))
    return _newest(versions, opset, lambda version: build(version, node, protos))


def _newest(versions: list[int], opset: int, build: Callable[[int], bytes]) -> FunctionProto | None:
    usable = [version for version in versions if version <= opset]
    data = build(max(usable)) if usable else b""
    return FunctionProto.FromString(data) if data else None


def _example_node(schema: OpSchema) -> NodeProto | None:
    """A node with every input and output and the required attributes; None where that needs a
    subgraph.
    """
    inputs = [formal.name for formal in schema.inputs]
    node = helper.make_node(schema.name, inputs, [formal.name for formal in schema.outputs])
    for name, attribute in schema.attributes.items():
        kind = str(attribute.type).rpartition(".")[2]
        if attribute.required and kind not in _PLACEHOLDERS:
            return None
        if attribute.required:
            node.attribute.append(onnx.helper.make_attribute(name, _PLACEHOLDERS[kind]))
    return node


def _input_types(schema: OpSchema, types: Mapping[str, int]) -> list[bytes]:
    allowed = {c.type_param_str: c.allowed_type_strs[0] for c in schema.type_constraints}
    result = []
    for formal in schema.inputs:
        fallback = _CODES.get(allowed.get(formal.type_str, ""), int(DType.INT64))
        proto = TypeProto()
        proto.tensor_type.elem_type = _code(formal.type_str, types) or fallback
        result.append(proto.SerializeToString())
    return result

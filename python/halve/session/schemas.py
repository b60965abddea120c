"""Which operands of an op share a type: onnx's schemas, then those of ONNX Runtime."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx.defs

from halve.errors import BackendUnavailableError

__all__ = ["OpSignature", "find_signature"]


@dataclass(frozen=True, slots=True)
class OpSignature:
    """The types of an op's operands, each a variable ("T") or a type ("tensor(float)").

    `allowed` maps a variable to the types it can take. The last input or output repeats where
    `variadic_*` says so; where `heterogeneous`, its repetitions need not have the same type.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    allowed: Mapping[str, frozenset[str]]
    variadic_inputs: bool
    variadic_outputs: bool
    heterogeneous: bool

    def input_type(self, index: int) -> str:
        """The type or variable of an input slot; "" where the op has no such slot."""
        return _slot(self.inputs, self.variadic_inputs, index)

    def output_type(self, index: int) -> str:
        """The type or variable of an output slot; "" where the op has no such slot."""
        return _slot(self.outputs, self.variadic_outputs, index)


@functools.lru_cache(maxsize=4096)
def find_signature(domain: str, op_type: str, version: int) -> OpSignature | None:
    """The newest signature of an op up to an opset version, or None where nobody knows it."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return _runtime_signature(domain, op_type, version)
    return _from_onnx(schema)


def _slot(types: tuple[str, ...], variadic: bool, index: int) -> str:
    if index < len(types):
        return types[index]
    return types[-1] if variadic and types else ""


def _from_onnx(schema: onnx.defs.OpSchema) -> OpSignature:
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    operands = (*schema.inputs, *schema.outputs)
    return OpSignature(
        inputs=tuple(item.type_str for item in schema.inputs),
        outputs=tuple(item.type_str for item in schema.outputs),
        allowed=_allowed(schema),
        variadic_inputs=bool(schema.inputs) and schema.inputs[-1].option == variadic,
        variadic_outputs=bool(schema.outputs) and schema.outputs[-1].option == variadic,
        heterogeneous=not all(item.is_homogeneous for item in operands),
    )


def _allowed(schema: Any) -> dict[str, frozenset[str]]:
    return {
        constraint.type_param_str: frozenset(constraint.allowed_type_strs)
        for constraint in schema.type_constraints
    }


def _runtime_signature(domain: str, op_type: str, version: int) -> OpSignature | None:
    known = [
        schema
        for schema in _runtime_schemas().get((domain, op_type), ())
        if schema.since_version <= version
    ]
    return _from_runtime(max(known, key=lambda schema: schema.since_version)) if known else None


@functools.lru_cache(maxsize=1)
def _runtime_schemas() -> dict[tuple[str, str], list[Any]]:
    from halve.session.installed import operator_schemas

    try:
        schemas = operator_schemas()
    except BackendUnavailableError:
        return {}  # onnx's own schemas remain; what only ONNX Runtime knows is then unknown
    found: dict[tuple[str, str], list[Any]] = {}
    for schema in schemas:
        found.setdefault((schema.domain, schema.name), []).append(schema)
    return found


def _from_runtime(schema: Any) -> OpSignature:
    operands = (*schema.inputs, *schema.outputs)
    return OpSignature(
        inputs=tuple(item.typeStr for item in schema.inputs),
        outputs=tuple(item.typeStr for item in schema.outputs),
        allowed=_allowed(schema),
        variadic_inputs=bool(schema.inputs) and _is_variadic(schema.inputs[-1]),
        variadic_outputs=bool(schema.outputs) and _is_variadic(schema.outputs[-1]),
        heterogeneous=not all(item.isHomogeneous for item in operands),
    )


def _is_variadic(operand: Any) -> bool:
    # The enum's class is not the same object in every release; its name is.
    return str(operand.option).rpartition(".")[2].lower().startswith("variadic")

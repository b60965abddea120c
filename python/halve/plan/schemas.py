"""What an operator's schema says about element types: which operands share one, which are fixed.

Derived at run time from the schemas that the installed onnx package carries, for every opset, and
from the packaged ones of ONNX Runtime's own operators; what a schema cannot say stands in
`halve.plan.type_attributes` and `halve.plan.operand_rules`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

import onnx
from onnx import defs

from halve.plan.kernels import load_contrib_schemas

__all__ = ["OPAQUE", "UNKNOWN", "Formal", "OpRule", "known_opset", "normal_domain", "rule_for"]

# Element types are TensorProto.DataType codes; two more values stand for "not known" and for what
# is not a plain tensor (sequence, optional, map, sparse tensor), which is never cast.
UNKNOWN = 0
OPAQUE = -1

_CODES = {name.lower(): code for name, code in onnx.TensorProto.DataType.items()}
_TENSOR = re.compile(r"tensor\((\w+)\)")
_SEQUENCE = re.compile(r"seq\((tensor\(\w+\))\)")


@dataclass(frozen=True, slots=True)
class Formal:
    """A formal parameter: a type variable `var`, or a fixed element type `elem` where var is ""."""

    var: str
    elem: int
    variadic: bool
    homogeneous: bool


@dataclass(frozen=True, slots=True)
class OpRule:
    """The element types that an operator's schema allows.

    `allowed` holds, a type variable, the element types of plain tensors; `opaque` names the
    variables that stand for nothing but sequences, optionals or maps, for which `allowed` has the
    element types of the tensors in sequences. `least` are the numbers of
    inputs and outputs that a node has at the least.
    """

    since_version: int
    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    allowed: dict[str, frozenset[int]]
    opaque: frozenset[str]
    least: tuple[int, int] = (0, 0)
    _slots: dict[tuple[str, int], tuple[tuple[str, int], ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def slot_types(self, kind: str, count: int) -> tuple[tuple[str, int], ...]:
        """(type variable, fixed element type) of the first `count` inputs ("in") or outputs
        ("out"); one of the two is empty. A slot beyond the schema's has neither.
        """
        known = self._slots.get((kind, count))
        if known is None:
            formals = self.inputs if kind == "in" else self.outputs
            known = tuple(_slot_type(formals, kind, slot) for slot in range(count))
            self._slots[kind, count] = known
        return known

    def allows(self, var: str, elem: int) -> bool:
        """Whether type variable `var` may be a tensor of `elem`.

        Slots of a heterogeneous variadic operand have variables of their own, "V#in2".
        """
        allowed = self.allowed.get(var)
        if allowed is None:
            allowed = self.allowed.get(var.partition("#")[0], frozenset())
        return elem in allowed


def normal_domain(domain: str) -> str:
    """The default domain under its one spelling, "" (a file may call it "ai.onnx")."""
    return "" if domain == "ai.onnx" else domain


@cache
def known_opset(domain: str) -> int:
    """The newest opset of `domain` that the installed onnx package knows; 0 for a foreign one."""
    return int(defs.onnx_opset_version()) if domain == "" else _domain_opsets().get(domain, 0)


@cache
def _domain_opsets() -> dict[str, int]:
    newest: dict[str, int] = {}
    for schema in defs.get_all_schemas():
        newest[schema.domain] = max(newest.get(schema.domain, 0), schema.since_version)
    return newest


@lru_cache(maxsize=4096)
def rule_for(domain: str, op_type: str, opset: int) -> OpRule | None:
    """The rule of an operator in force at `opset`; None where neither has a schema for it."""
    try:
        schema = defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return _contrib_rule(domain, op_type, opset)
    allowed: dict[str, frozenset[int]] = {}
    opaque: set[str] = set()
    for constraint in schema.type_constraints:
        codes = frozenset(map(_elem, constraint.allowed_type_strs)) - {OPAQUE}
        if not codes:
            opaque.add(constraint.type_param_str)
            codes = frozenset(map(_held_elem, constraint.allowed_type_strs)) - {OPAQUE}
        allowed[constraint.type_param_str] = codes
    return OpRule(
        int(schema.since_version),
        tuple(_formal(p, allowed) for p in schema.inputs),
        tuple(_formal(p, allowed) for p in schema.outputs),
        allowed,
        frozenset(opaque),
        (int(schema.min_input), int(schema.min_output)),
    )


def _contrib_rule(domain: str, op_type: str, opset: int) -> OpRule | None:
    """The rule of one of ONNX Runtime's own operators."""
    rows = load_contrib_schemas().get(f"{domain}::{op_type}", ())
    row = max((r for r in rows if r["since"] <= opset), key=lambda r: int(r["since"]), default=None)
    if row is None:
        return None
    allowed = {var: frozenset(map(_elem, types)) - {OPAQUE} for var, types in row["types"].items()}
    inputs, outputs = (
        tuple(_named_formal(name, many, same, allowed) for name, many, same in row[kind])
        for kind in ("inputs", "outputs")
    )
    opaque = frozenset(var for var, codes in allowed.items() if not codes)
    return OpRule(int(row["since"]), inputs, outputs, allowed, opaque)


def _elem(type_str: str) -> int:
    match = _TENSOR.fullmatch(type_str)
    return _CODES.get(match[1], OPAQUE) if match else OPAQUE


def _held_elem(type_str: str) -> int:
    match = _SEQUENCE.fullmatch(type_str)
    return _elem(match[1]) if match else OPAQUE


def _formal(param: defs.OpSchema.FormalParameter, allowed: dict[str, frozenset[int]]) -> Formal:
    variadic = param.option == defs.OpSchema.FormalParameterOption.Variadic
    return _named_formal(param.type_str, variadic, param.is_homogeneous, allowed)


def _named_formal(
    type_str: str, variadic: bool, homogeneous: bool, allowed: dict[str, frozenset[int]]
) -> Formal:
    if type_str in allowed:
        return Formal(type_str, UNKNOWN, variadic, homogeneous)
    return Formal("", _elem(type_str), variadic, homogeneous)


def _slot_type(formals: tuple[Formal, ...], kind: str, slot: int) -> tuple[str, int]:
    if slot < len(formals):
        formal = formals[slot]
    elif formals and formals[-1].variadic:
        formal = formals[-1]
    else:
        return "", UNKNOWN
    if formal.variadic and not formal.homogeneous and formal.var:
        return f"{formal.var}#{kind}{slot}", UNKNOWN
    return formal.var, formal.elem

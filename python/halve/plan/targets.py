"""Target profiles: what the chosen runtime can compute in which float type.

Rules, in the order in which they apply (the code cites the numbers):

1. Constants are folded, and control flow passes values through: any type.
2. Sequence and optional operators move handles on the CPU: float16 as float32, no bfloat16.
3. An operand that a kernel reads as float32 whatever its type variable says must be float32.
4. A kernel of the target that takes every type asked for: supported.
5. float32 and float64 are the state that a model comes in, and fall back to the CPU provider:
   supported, except where the target's kernel exists for 16-bit types only.
6. An operator that nobody has a kernel for in these types is replaced by its schema's function
   body: supported if everything in the body is. A body with a loop is no kernel where the
   operator has one in float32.
7. Target "cpu" alone: ONNX Runtime computes a float16 node that has neither kernel nor body in
   float32, if one of its operands is float16. It does so for no other type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

from halve.errors import OptionError
from halve.options import TARGETS
from halve.plan.inlining import (
    allows,
    body_calls,
    find_schema,
    has_body,
    input_variables,
)
from halve.plan.kernels import (
    CPU,
    CUDA,
    FLOATS,
    HALVES,
    KernelTable,
    load_ort_table,
    load_tensorrt_table,
)
from halve.types import DType

__all__ = ["TargetProfile", "load_target"]

_NAMES = {"f32": "float32", "f16": "float16", "f64": "float64", "bf16": "bfloat16"}
_STANDARD = ("", "ai.onnx")
# Rule 1. If, Loop and Scan have kernels for every type; SequenceMap is inlined as a Loop.
_TRANSPARENT = frozenset({"Constant", "If", "Loop", "Scan", "SequenceMap"})
# Rule 2. Their kernels are registered for sequence or optional types, which the tables leave out,
# or only on the CPU provider.
_CONTAINERS = frozenset({
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt",
    "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SplitToSequence",
})  # fmt: skip
# Rule 3. Resize takes roi in any float type by its schema; ONNX Runtime reads it as float32.
_FLOAT32_OPERANDS = {("ai.onnx::Resize", "T2")}
_LOOPS = frozenset({"Loop", "Scan"})

_Types = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class TargetProfile:
    """What one target computes in which float type. Immutable and safe to share.

    `name` is the option's value; `runtime`, `version` and `source` are the provenance for
    reports. This class is the target "any": it asks no runtime and supports whatever the ONNX
    schemas allow.
    """

    name: str
    runtime: str = "ONNX schemas"
    version: str = ""
    source: str = ""

    def supports(self, domain: str, op_type: str, opset: int, types: Mapping[str, int]) -> bool:
        """Whether the target runs this operator with these float types.

        `opset` is the model's for `domain`; `types` maps the schema's type variables to
        TensorProto.DataType codes. Codes outside the float family (float32, float16, float64,
        bfloat16) are ignored. Whether the schema itself allows the types is not asked. Variables
        are independent, so one operand's type can be asked for alone.
        """
        return not self.reason(domain, op_type, opset, types)

    def reason(self, domain: str, op_type: str, opset: int, types: Mapping[str, int]) -> str:
        """Why `supports` is false, as a phrase for a report; "" where it is true."""
        floats = tuple(sorted((name, int(c)) for name, c in types.items() if int(c) in FLOATS))
        return _reason(self, domain, op_type, int(opset), floats) if floats else ""

    def only_half(self, domain: str, op_type: str, opset: int) -> bool:
        """Whether the target has this operator in 16-bit types and not in float32."""
        return False

    def _explain(self, domain: str, op_type: str, opset: int, types: _Types) -> str:
        return ""


@lru_cache(maxsize=65536)
def _reason(profile: TargetProfile, domain: str, op_type: str, opset: int, types: _Types) -> str:
    """Plans ask the same question for each of many equal nodes; profiles live forever."""
    if domain in _STANDARD and op_type in _TRANSPARENT:  # rule 1
        return ""
    return profile._explain(domain, op_type, opset, types)


@dataclass(frozen=True, slots=True, eq=False)
class _OrtProfile(TargetProfile):
    """An execution provider of ONNX Runtime, with the CPU provider behind it."""

    kernels: KernelTable = field(kw_only=True)
    fallback: KernelTable = field(kw_only=True)

    def only_half(self, domain: str, op_type: str, opset: int) -> bool:
        found = self.kernels.types(domain, op_type, opset) or {}
        return any("f32" not in types and types & {"f16", "bf16"} for types in found.values())

    def _explain(self, domain: str, op_type: str, opset: int, types: _Types) -> str:
        for variable, code in types:  # rule 3
            if (_key(domain, op_type), variable) in _FLOAT32_OPERANDS and code in HALVES:
                return f"{op_type} (opset {opset}) reads operand type {variable} as float32"
        refused = self._refused(domain, op_type, self.kernels.clamp(domain, opset), types)
        if refused is None:
            return ""
        where = f"{self.kernels.provider} of {self.runtime} {self.version}"
        return f"no {_NAMES[FLOATS[refused]]} kernel for {op_type} (opset {opset}) in {where}"

    def _refused(self, domain: str, op_type: str, opset: int, types: _Types) -> int | None:
        """The element type that the runtime cannot compute here, or None."""
        if domain in _STANDARD and op_type in _CONTAINERS:  # rule 2
            bfloat16 = int(DType.BFLOAT16)
            return bfloat16 if any(code == bfloat16 for _, code in types) else None
        missing = _missing(self.kernels.types(domain, op_type, opset), types)
        if missing is None:  # rule 4
            return None
        if missing not in HALVES:  # rule 5
            return missing if self.only_half(domain, op_type, opset) else None
        return None if self._computes(domain, op_type, opset, types) else missing

    def _computes(self, domain: str, op_type: str, opset: int, types: _Types) -> bool:
        """Whether 16-bit types without a kernel of the target are computed all the same."""
        if _missing(self.fallback.types(domain, op_type, opset), types) is None:
            return False  # the CPU provider takes the node before it would be inlined
        return self._inlines(domain, op_type, opset, types)

    def _inlines(self, domain: str, op_type: str, opset: int, types: _Types) -> bool:
        """Rule 6."""
        calls = body_calls(domain, op_type, opset, dict(types))
        if not calls or not allows(find_schema(domain, op_type, opset), dict(types)):
            return False
        tables = (self.kernels, self.fallback)
        has_kernel = any(table.types(domain, op_type, opset) is not None for table in tables)
        if has_kernel and any(op in _LOOPS for _, op, _, _ in calls):
            return False
        return all(self.supports(*call) for call in calls)


@dataclass(frozen=True, slots=True, eq=False)
class _CpuProfile(_OrtProfile):
    """ONNX Runtime's CPU provider, which computes float16 nodes in float32 where it must."""

    def _computes(self, domain: str, op_type: str, opset: int, types: _Types) -> bool:
        if has_body(domain, op_type, opset, dict(types)):
            return self._inlines(domain, op_type, opset, types)
        return self._casts_around(domain, op_type, opset, types)

    def _casts_around(self, domain: str, op_type: str, opset: int, types: _Types) -> bool:
        """Rule 7."""
        half, single = int(DType.FLOAT16), int(DType.FLOAT)
        widened = tuple((name, single if code == half else code) for name, code in types)
        if _missing(self.kernels.types(domain, op_type, opset), widened) is not None:
            return False
        schema = find_schema(domain, op_type, opset)
        # Operators outside the standard have no schema here; none of them is without operands.
        operands = input_variables(schema) if schema else {name for name, _ in types}
        return any(code == half and name in operands for name, code in types)


@dataclass(frozen=True, slots=True, eq=False)
class _TensorrtProfile(TargetProfile):
    """TensorRT's ONNX parser, by its documentation."""

    accepted: Mapping[str, frozenset[str]] = field(kw_only=True)

    def _explain(self, domain: str, op_type: str, opset: int, types: _Types) -> str:
        accepted = self.accepted.get(op_type) if domain in _STANDARD else None
        for _, code in types:
            if code in HALVES and FLOATS[code] not in (accepted or ()):
                return self._refusal(op_type, code, accepted is not None)
        return ""

    def _refusal(self, op_type: str, code: int, listed: bool) -> str:
        what = f"takes no {_NAMES[FLOATS[code]]} for" if listed else "does not take"
        return f"the ONNX parser of {self.runtime} {self.version} {what} {op_type}"


def _key(domain: str, op_type: str) -> str:
    return f"{domain or 'ai.onnx'}::{op_type}"


def _missing(kernels: Mapping[str, frozenset[str]] | None, types: _Types) -> int | None:
    """The first element type that the kernels lack (16-bit ones first), or None.

    A kernel that says nothing about a variable takes float32 and promises no more.
    """
    for variable, code in sorted(types, key=lambda item: item[1] not in HALVES):
        if kernels is None or FLOATS[code] not in kernels.get(variable, {"f32", "f64"}):
            return code
    return None


def _load_ort(name: str) -> TargetProfile:
    cpu = load_ort_table(CPU)
    kernels = cpu if name == "cpu" else load_ort_table(CUDA)
    kind = _CpuProfile if name == "cpu" else _OrtProfile
    head = (name, kernels.runtime, kernels.version, kernels.source)
    return kind(*head, kernels=kernels, fallback=cpu)


def _load_tensorrt() -> TargetProfile:
    data = load_tensorrt_table()
    accepted = dict.fromkeys(data["both"] + data["inferred_both"], frozenset({"f16", "bf16"}))
    accepted |= dict.fromkeys(data["float16_only"], frozenset({"f16"}))
    accepted |= dict.fromkeys(data["float32_only"], frozenset())
    head = ("tensorrt", data["runtime"], data["version"], data["source"])
    return _TensorrtProfile(*head, accepted=accepted)


@cache
def load_target(name: str) -> TargetProfile:
    """The profile of a target: "cuda", "cpu", "tensorrt" or "any". Tables are read on first use.

    Raises:
        OptionError: there is no such target.
    """
    if name not in TARGETS:
        raise OptionError(f"target is {name!r}; allowed: {', '.join(TARGETS)}")
    if name == "any":
        return TargetProfile(name)
    return _load_tensorrt() if name == "tensorrt" else _load_ort(name)

"""Kernel tables that ship with the package: which operator has which float kernel, by version."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from halve.types import DType

__all__ = [
    "CONTRIB_SCHEMAS",
    "CPU",
    "CUDA",
    "FLOATS",
    "HALVES",
    "ORT_TABLE",
    "TENSORRT_TABLE",
    "KernelTable",
    "load_contrib_schemas",
    "load_ort_table",
    "load_tensorrt_table",
    "table_path",
]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
ORT_TABLE = "onnxruntime.json"
CONTRIB_SCHEMAS = "onnxruntime_schemas.json"
TENSORRT_TABLE = "tensorrt.toml"

# The float family: TensorProto.DataType code -> its short name in the tables.
FLOATS = {
    int(DType.FLOAT): "f32",
    int(DType.FLOAT16): "f16",
    int(DType.DOUBLE): "f64",
    int(DType.BFLOAT16): "bf16",
}
HALVES = frozenset({int(DType.FLOAT16), int(DType.BFLOAT16)})

# A kernel as the table has it: [since, until or None, {type variable: [float types]}].
_Row = tuple[int, int | None, Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True, eq=False)
class KernelTable:
    """Float kernels of one provider: `rows` by "domain::op", the versions of each schema, and the
    `newest` opset of each domain that the runtime knows.

    `runtime`, `version` and `source` say where the table is from.
    """

    provider: str
    runtime: str
    version: str
    source: str
    rows: Mapping[str, Sequence[_Row]]
    schemas: Mapping[str, Sequence[int]]
    newest: Mapping[str, int]

    def clamp(self, domain: str, opset: int) -> int:
        """The opset by which the runtime reads a model of this one: at most the newest it knows."""
        return min(opset, self.newest.get(domain or "ai.onnx", opset))

    def types(self, domain: str, op_type: str, opset: int) -> Mapping[str, frozenset[str]] | None:
        """Type variable -> float types of the kernels that a node of this opset can get.

        None where there is no such kernel. A range without an end holds only for the schema
        version that it begins with: ONNX Runtime does not assume that a kernel fits a later one.
        """
        key = f"{domain or 'ai.onnx'}::{op_type}"
        known = [version for version in self.schemas.get(key, ()) if version <= opset]
        version = max(known, default=opset)
        merged: dict[str, frozenset[str]] = {}
        found = False
        for since, until, variables in self.rows.get(key, ()):
            if since == version or (until is not None and since <= version <= until):
                found = True
                for name, types in variables.items():
                    merged[name] = merged.get(name, frozenset()).union(types)
        return merged if found else None


def table_path(name: str) -> Traversable:
    """A packaged table's place."""
    return resources.files("halve") / "data" / "kernels" / name


@cache
def load_ort_table(provider: str) -> KernelTable:
    """ONNX Runtime's kernels of one provider (`CPU` or `CUDA`)."""
    data = _ort_data()
    head = (data["runtime"], data["version"], data["source"])
    schemas = data["schemas"]
    return KernelTable(provider, *head, data["providers"][provider], schemas, _newest(schemas))


@cache
def _ort_data() -> dict[str, Any]:
    """The file, parsed once for both providers; nothing changes it."""
    result: dict[str, Any] = json.loads(table_path(ORT_TABLE).read_text(encoding="utf-8"))
    return result


def _newest(schemas: Mapping[str, Sequence[int]]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for op, versions in schemas.items():
        domain = op.partition("::")[0]
        newest[domain] = max(newest.get(domain, 0), *versions)
    return newest


@cache
def load_contrib_schemas() -> Mapping[str, Any]:
    """Operand types of ONNX Runtime's own operators: "domain::operator" -> schemas by version."""
    data: dict[str, Any] = json.loads(table_path(CONTRIB_SCHEMAS).read_text(encoding="utf-8"))
    schemas: dict[str, Any] = data["schemas"]
    return schemas


@cache
def load_tensorrt_table() -> Mapping[str, Any]:
    """TensorRT's operators as the commented data file has them (its head says from where)."""
    return tomllib.loads(table_path(TENSORRT_TABLE).read_text(encoding="utf-8"))

"""Prints the float kernels of the installed ONNX Runtime as JSON. Run as a program, never imported.

Asking for the kernel definitions can end the process (a build with TensorRT does so where
TensorRT's libraries are missing), which is why `halve.plan.refresh_kernels` runs this as a child.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

__all__ = ["read_registry"]

_FLOATS = {
    "tensor(float)": "f32",
    "tensor(float16)": "f16",
    "tensor(double)": "f64",
    "tensor(bfloat16)": "bf16",
}
# How ONNX Runtime writes "no upper version" in a kernel's range.
_OPEN_ENDED = 2**31 - 1

_Rows = dict[tuple[int, int | None], dict[str, set[str]]]


def _key(domain: str, op_type: str) -> str:
    return f"{domain or 'ai.onnx'}::{op_type}"


def _collect(kernels: list[Any]) -> dict[str, dict[str, _Rows]]:
    """Provider -> op -> version range -> type variable -> float types, over all registrations."""
    found: dict[str, dict[str, _Rows]] = defaultdict(lambda: defaultdict(dict))
    for kernel in kernels:
        since, until = kernel.version_range
        span = (since, None if until >= _OPEN_ENDED else until)
        row = found[kernel.provider][_key(kernel.domain, kernel.op_name)].setdefault(span, {})
        for variable, types in kernel.type_constraints.items():
            row.setdefault(variable, set()).update(_FLOATS[t] for t in types if t in _FLOATS)
    return found


def _rows(spans: _Rows) -> list[list[object]]:
    """The version ranges in order, without variables and ranges that take no float type."""
    result: list[list[object]] = []
    for (since, until), variables in sorted(spans.items(), key=lambda item: item[0][0]):
        floats = {name: sorted(types) for name, types in sorted(variables.items()) if types}
        if floats:
            result.append([since, until, floats])
    return result


def read_registry() -> dict[str, object]:
    """The runtime's version, its float kernels by provider, and the versions of their schemas.

    A kernel is `[since, until or null, {type variable: [float types]}]`; registrations of one
    operator and range are merged. Operators without a float kernel are left out.
    """
    import onnxruntime  # type: ignore[import-untyped]  # ships no annotations
    from onnxruntime.capi import (  # type: ignore[import-untyped]  # ships no annotations
        onnxruntime_pybind11_state as state,
    )

    providers = {}
    for provider, ops in _collect(state.get_all_opkernel_def()).items():
        table = {op: _rows(spans) for op, spans in sorted(ops.items())}
        providers[provider] = {op: rows for op, rows in table.items() if rows}
    schemas: dict[str, set[int]] = defaultdict(set)
    for schema in state.get_all_operator_schema():
        schemas[_key(schema.domain, schema.name)].add(schema.since_version)
    return {
        "version": onnxruntime.__version__,
        "providers": providers,
        "schemas": {op: sorted(versions) for op, versions in sorted(schemas.items())},
    }


if __name__ == "__main__":
    json.dump(read_registry(), sys.stdout)

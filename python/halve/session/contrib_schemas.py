"""Prints the operand types of ONNX Runtime's own operators as JSON. Run as a program.

`halve.plan.refresh_contrib` runs this as a child, so that planning needs no runtime.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

import onnx.defs

__all__ = ["read_schemas"]

_HALVES = {"tensor(float16)", "tensor(bfloat16)"}


def read_schemas() -> dict[str, object]:
    """The runtime's version, and a list of schemas a "domain::operator" that onnx does not know.

    A schema is {"since", "inputs", "outputs", "types"}: an operand is [type or variable, variadic,
    homogeneous], "types" holds the tensor types that each variable allows. Operators without a
    16-bit type are left out.
    """
    import onnxruntime  # type: ignore[import-untyped]  # ships no annotations
    from onnxruntime.capi import (  # type: ignore[import-untyped]  # ships no annotations
        onnxruntime_pybind11_state as state,
    )

    known = {(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history()}
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for schema in state.get_all_operator_schema():
        if (schema.domain, schema.name) not in known:
            found[f"{schema.domain}::{schema.name}"].append(_row(schema))
    schemas = {
        name: sorted(rows, key=lambda row: int(row["since"]))
        for name, rows in found.items()
        if any(_HALVES & set(types) for row in rows for types in row["types"].values())
    }
    return {"version": onnxruntime.__version__, "schemas": schemas}


def _row(schema: Any) -> dict[str, Any]:  # noqa: ANN401 - ONNX Runtime's objects have no type
    return {
        "since": schema.since_version,
        "inputs": [_operand(item) for item in schema.inputs],
        "outputs": [_operand(item) for item in schema.outputs],
        "types": {c.type_param_str: sorted(c.allowed_type_strs) for c in schema.type_constraints},
    }


def _operand(item: Any) -> list[object]:  # noqa: ANN401 - as above
    # The enum's class is not the same object in every release; its name is.
    variadic = str(item.option).rpartition(".")[2].lower().startswith("variadic")
    return [item.typeStr, variadic, bool(item.isHomogeneous)]


if __name__ == "__main__":
    json.dump(read_schemas(), sys.stdout)

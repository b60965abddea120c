"""Plan files, version 1: JSON with a row a node."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halve.errors import OutputError, PlanError
from halve.plan.analysis import Analysis
from halve.plan.keys import node_keys
from halve.types import Plan, PlanNode

__all__ = ["SCHEMA_VERSION", "load_plan", "match_plan", "plan_record", "save_plan"]

SCHEMA_VERSION = 1
_DTYPES = ("float32", "float16", "bfloat16", "")


def plan_record(plan: Plan) -> dict[str, object]:
    """The plan as the JSON object of a plan file."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model_hash": plan.model_hash,
        "runtime": plan.runtime,
        "provider": plan.provider,
        "options": dict(plan.options),
        "nodes": [_node_record(node) for node in plan.nodes],
    }


def _node_record(node: PlanNode) -> dict[str, object]:
    record: dict[str, object] = {
        "id": node.id,
        "name": node.name,
        "type": node.type,
        "scope": node.scope,
        "key": node.key,
        "dtype": node.dtype,
    }
    if node.operands:
        record["operands"] = dict(node.operands)
    if node.reason:
        record["reason"] = node.reason
    return record


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan file, whole or not at all.

    Raises:
        OutputError: the file cannot be written; one that was there is untouched.
    """
    target = Path(path)
    text = json.dumps(plan_record(plan), indent=1, ensure_ascii=True) + "\n"
    try:
        handle, name = tempfile.mkstemp(prefix=".halve-tmp-", dir=target.parent)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text)
        Path(name).replace(target)
    except OSError as error:
        raise OutputError(f"plan file {target} cannot be written: {error.strerror}") from error


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan file.

    Raises:
        PlanError: the file is missing, is not JSON, is of another version, or has a malformed row.
    """
    try:
        record: object = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise PlanError(f"plan file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PlanError(f"plan file {path} is not JSON: {error}") from error
    return _plan(record, str(path))


def _plan(record: object, where: str) -> Plan:
    received = record.get("schema_version") if isinstance(record, Mapping) else type(record)
    if not isinstance(record, Mapping) or received != SCHEMA_VERSION:
        raise PlanError(
            f"{where} has schema_version {received!r}; this version reads {SCHEMA_VERSION}"
        )
    try:
        nodes = tuple(_plan_node(row) for row in record["nodes"])
        return Plan(
            str(record["model_hash"]),
            dict(record["options"]),
            nodes,
            str(record["runtime"]),
            str(record["provider"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{where} is not a plan of version {SCHEMA_VERSION}: {error!r}") from error


def _plan_node(row: Mapping[str, Any]) -> PlanNode:
    if row["dtype"] not in _DTYPES:
        raise ValueError(f"node {row['id']} has dtype {row['dtype']!r}")
    return PlanNode(
        int(row["id"]),
        str(row["name"]),
        str(row["type"]),
        str(row["scope"]),
        str(row["key"]),
        row["dtype"],
        dict(row.get("operands", {})),
        str(row.get("reason", "")),
    )


def match_plan(plan: Plan, analysis: Analysis, model_hash: str) -> tuple[list[int], list[str]]:
    """The ids that a plan keeps float32, found in this model, and warnings.

    Ids hold where the model is the plan's own; else nodes are found by their structural keys.

    Raises:
        PlanError: a float32 node of the plan is not in this model.
    """
    kept = [node for node in plan.nodes if node.dtype == "float32"]
    if plan.model_hash == model_hash:
        return [node.id for node in kept], []
    ids = {key: number for number, key in enumerate(node_keys(analysis))}
    missing = [node for node in kept if node.key not in ids]
    if missing:
        first = missing[0]
        raise PlanError(
            f"the plan belongs to another model: {len(missing)} of its {len(kept)} float32 nodes"
            f" are not here, the first is node {first.id} ({first.type} {first.name!r});"
            " make a new plan for this model"
        )
    return [ids[node.key] for node in kept], [
        "the plan was made for another file; its nodes were found by their structure"
    ]

"""The plan of a model, and its file: JSON with a row a node, version 1."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halve.errors import PlanError
from halve.files import given_path, write_text

__all__ = ["SCHEMA_VERSION", "Plan", "PlanNode"]

SCHEMA_VERSION = 1
_DTYPES = ("float32", "float16", "bfloat16", "")
_SLOT = re.compile(r"(in|out)(0|[1-9][0-9]*)")
_NEXT_STEP = "make the plan again, or correct the file"


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One node's decision.

    `id` is the node's place in the source file; `key` identifies it structurally, so that a plan
    survives a re-export with other names. `dtype` is "float32", "float16", "bfloat16", or "" for
    a node without float operands. `operands` holds what deviates, by slot ("in2", "out0").
    """

    id: int
    name: str
    type: str
    scope: str
    key: str
    dtype: str
    operands: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which node computes in which type, and on what that holds.

    `runtime` and `provider` are empty where nothing was run to make it.
    """

    model_hash: str
    options: Mapping[str, object]
    nodes: tuple[PlanNode, ...]
    runtime: str = ""
    provider: str = ""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan file.

        Raises:
            PlanError: the file is missing, is not JSON, is of another version, or has a malformed
                row.
            OptionError: the path is ''.
        """
        file = given_path(path, what="the plan")
        try:
            record: object = json.loads(file.read_bytes())
        except OSError as error:
            reason = error.strerror
            raise PlanError(f"plan file {path} cannot be read: {reason}; check the path") from error
        except (ValueError, RecursionError) as error:
            raise PlanError(f"plan file {path} is not JSON: {error}; {_NEXT_STEP}") from error
        return _plan(record, os.fspath(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a plan file, whole or not at all; the same bytes for the same plan.

        Raises:
            OutputError: the file cannot be written; one that was there is untouched.
        """
        text = json.dumps(self.record(), indent=1, allow_nan=False) + "\n"
        write_text(Path(path), text, what="plan file", encoding="ascii")

    def record(self) -> dict[str, object]:
        """The plan as the JSON object of a plan file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model_hash": self.model_hash,
            "runtime": self.runtime,
            "provider": self.provider,
            "options": {name: _plain(value) for name, value in self.options.items()},
            "nodes": [_node_record(node) for node in self.nodes],
        }


def _plain(value: object) -> object:
    """An option in JSON's types, which have no infinity: that is the text "inf" there."""
    return "inf" if value == math.inf else value


def _unplain(value: object) -> object:
    return math.inf if value == "inf" else value


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


def _plan(record: object, where: str) -> Plan:
    received = record.get("schema_version") if isinstance(record, Mapping) else type(record)
    if not isinstance(record, Mapping) or received != SCHEMA_VERSION:
        raise PlanError(
            f"{where} has schema_version {received!r}; this version reads {SCHEMA_VERSION}; "
            f"{_NEXT_STEP}"
        )
    try:
        if not isinstance(record["nodes"], list):
            raise TypeError("nodes is not a list")
        nodes = tuple(_plan_node(row) for row in record["nodes"])
        return Plan(
            str(record["model_hash"]),
            {name: _unplain(value) for name, value in dict(record["options"]).items()},
            nodes,
            str(record["runtime"]),
            str(record["provider"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(
            f"{where} is not a plan of version {SCHEMA_VERSION}: {error!r}; {_NEXT_STEP}"
        ) from error


def _plan_node(row: Mapping[str, Any]) -> PlanNode:
    number, operands = row["id"], dict(row.get("operands", {}))
    if type(number) is not int or number < 0:
        raise ValueError(f"a node has id {number!r}; allowed: a whole number, 0 or more")
    for dtype in (row["dtype"], *operands.values()):
        if dtype not in _DTYPES:
            raise ValueError(f"node {number} has dtype {dtype!r}; allowed: {_DTYPES}")
    for slot in operands:
        if not _SLOT.fullmatch(slot):
            raise ValueError(f"node {number} has operand {slot!r}; allowed: in0, out1 and so on")
    return PlanNode(
        number,
        str(row["name"]),
        str(row["type"]),
        str(row["scope"]),
        str(row["key"]),
        row["dtype"],
        operands,
        str(row.get("reason", "")),
    )

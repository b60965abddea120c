"""The record of a conversion (schema version 1; docs/report.schema.json describes its JSON)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from halve.files import write_text
from halve.types import CastCounts, CastRow, ConvertResult, DType, PlanNode, TensorRow

__all__ = [
    "SCHEMA_VERSION",
    "ConversionReport",
    "dtype_name",
    "merge_counts",
    "plain_json",
    "write_json",
]

SCHEMA_VERSION = 1
_MAXIMA = ("max_abs", "max_abs_error", "max_rel_error")


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion did, with where it came from; every reporter reads this record.

    `options` are the plan's; `runtime` and `provider` are those that the plan was verified on,
    empty where nothing was run. `kept` are the nodes with float operands that stay float32.
    """

    halve_version: str
    source: str | None
    source_digest: str
    source_nbytes: int
    target: str | None
    files: tuple[str, ...]
    bytes_read: int
    bytes_written: int
    options: Mapping[str, object]
    runtime: str
    provider: str
    node_count: int
    float_node_count: int
    half_node_count: int
    kept: tuple[PlanNode, ...]
    casts: tuple[CastRow, ...]
    cast_lower_bound: int
    tensors: tuple[TensorRow, ...]
    identity: bool
    warnings: tuple[str, ...]
    elapsed_s: float

    @classmethod
    def of(
        cls, result: ConvertResult, *, halve_version: str, source: Path | None = None
    ) -> ConversionReport:
        """The record of `result`; `source` is the path that was converted, if it was one."""
        summary = result.summary
        return cls(
            halve_version=halve_version,
            source=None if source is None else os.fspath(source),
            source_digest=result.plan.model_hash,
            source_nbytes=result.source_nbytes,
            target=None if result.target is None else os.fspath(result.target),
            files=tuple(path.name for path in summary.files),
            bytes_read=summary.bytes_read,
            bytes_written=summary.bytes_written,
            options=dict(result.plan.options),
            runtime=result.plan.runtime,
            provider=result.plan.provider,
            node_count=result.node_count,
            float_node_count=result.float_node_count,
            half_node_count=result.half_node_count,
            kept=tuple(node for node in result.plan.nodes if node.dtype == "float32"),
            casts=result.casts,
            cast_lower_bound=result.cast_lower_bound,
            tensors=summary.rows,
            identity=result.identity,
            warnings=tuple(dict.fromkeys((*result.warnings, *summary.warnings))),
            elapsed_s=result.elapsed_s,
        )

    @property
    def totals(self) -> CastCounts:
        """The counts of all cast tensors together."""
        return merge_counts(row.counts for row in self.tensors)

    def as_json(self) -> dict[str, object]:
        """The record as JSON values (schema version 1)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "convert",
            "halve_version": self.halve_version,
            "source": {
                "path": self.source,
                "digest": self.source_digest,
                "nbytes": self.source_nbytes,
            },
            "target": {
                "path": self.target,
                "files": list(self.files),
                "bytes_written": self.bytes_written,
            },
            "options": plain_json(self.options),
            "verified_on": {"runtime": self.runtime, "provider": self.provider},
            "nodes": {
                "total": self.node_count,
                "float": self.float_node_count,
                "half": self.half_node_count,
                "kept_float32": [_kept_json(node) for node in self.kept],
            },
            "casts": {
                "count": len(self.casts),
                "lower_bound": self.cast_lower_bound,
                "rows": [_cast_json(row) for row in self.casts],
            },
            "totals": asdict(self.totals),
            "tensors": [_tensor_json(row) for row in self.tensors],
            "identity": self.identity,
            "warnings": list(self.warnings),
            "elapsed_s": self.elapsed_s,
            "bytes_read": self.bytes_read,
        }


def merge_counts(parts: Iterable[CastCounts]) -> CastCounts:
    """Sums of the counts and maxima of the magnitudes and errors of `parts`."""
    rows = list(parts)
    merged: dict[str, int | float] = {}
    for name in (item.name for item in fields(CastCounts)):
        values = [getattr(row, name) for row in rows]
        merged[name] = max(values, default=0.0) if name in _MAXIMA else sum(values)
    return CastCounts(**merged)  # type: ignore[arg-type]  # counts are int, maxima float


def dtype_name(code: int) -> str:
    """ "float16" for 10; "dtype 99" for a code newer than this version."""
    try:
        return DType(code).name.lower()
    except ValueError:
        return f"dtype {code}"


def write_json(path: Path, value: object) -> None:
    """Writes JSON to `path`; what was there stays until the new file is whole.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", what="report")


def _kept_json(node: PlanNode) -> dict[str, object]:
    return {
        "id": node.id,
        "name": node.name,
        "type": node.type,
        "scope": node.scope,
        "reason": node.reason,
    }


def _cast_json(row: CastRow) -> dict[str, object]:
    return {**asdict(row), "to": dtype_name(row.to)}


def _tensor_json(row: TensorRow) -> dict[str, object]:
    return {
        "name": row.name,
        "source_dtype": dtype_name(row.source_dtype),
        "dtype": dtype_name(row.dtype),
        "shape": list(row.shape),
        "source_nbytes": row.source_nbytes,
        "nbytes": row.nbytes,
        "file": row.file,
        "offset": row.offset,
        "counts": asdict(row.counts),
    }


def plain_json(value: object) -> object:
    """`value` in JSON's types; a float that JSON lacks becomes its name ("inf")."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)

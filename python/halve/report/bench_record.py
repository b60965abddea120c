"""The record of a benchmark (schema version 1; docs/bench.schema.json describes its JSON)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import PurePath

from halve.bench_types import BenchModel, BenchResult, BenchRow, PlacedNode
from halve.report.record import plain_json

__all__ = ["BENCH_SCHEMA_VERSION", "BenchReport"]

BENCH_SCHEMA_VERSION = 1
_NOT_IN_JSON = ("progress",)


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What a benchmark measured, with what measured it; every reporter reads this record."""

    halve_version: str
    result: BenchResult

    @property
    def labels(self) -> tuple[str, ...]:
        """A short name for each model: its file's, with its folder where two are alike."""
        paths = [PurePath(model.path) for model in self.result.models]
        names = [path.name for path in paths]
        return tuple(
            path.name
            if names.count(path.name) == 1
            else f"{number + 1}: {'/'.join(path.parts[-2:])}"
            for number, path in enumerate(paths)
        )

    def groups(self) -> Iterator[tuple[str, Sequence[BenchRow]]]:
        """Rows that belong side by side, those of all models at one setting, with its name."""
        settings = dict.fromkeys((row.batch, row.concurrency) for row in self.result.rows)
        for batch, concurrency in settings:
            rows = [r for r in self.result.rows if (r.batch, r.concurrency) == (batch, concurrency)]
            size = "sample as given" if batch is None else f"batch {batch}"
            yield f"{size}, {concurrency} at a time", rows

    def as_json(self) -> dict[str, object]:
        """The record as JSON values (schema version 1)."""
        result = self.result
        options = {
            item.name: getattr(result.options, item.name)
            for item in fields(result.options)
            if item.name not in _NOT_IN_JSON
        }
        return {
            "schema_version": BENCH_SCHEMA_VERSION,
            "kind": "bench",
            "halve_version": self.halve_version,
            "runtime": result.runtime,
            "machine": dict(result.machine),
            "threads": result.threads,
            "options": plain_json(options),
            "models": [_model_json(model) for model in result.models],
            "rows": [plain_json(asdict(row)) for row in result.rows],
            "warnings": list(result.warnings),
            "elapsed_s": result.elapsed_s,
        }


def _model_json(model: BenchModel) -> dict[str, object]:
    return {
        "path": model.path,
        "nbytes": model.nbytes,
        "half_nodes": model.half_nodes,
        "float32": [_node_json(node) for node in model.float32],
        "elsewhere": [_node_json(node) for node in model.elsewhere],
        "inserted_casts": model.inserted_casts,
        "load_s": model.load_s,
        "loaded_bytes": model.loaded_bytes,
        "peak_bytes": model.peak_bytes,
        "unknown": model.unknown,
    }


def _node_json(node: PlacedNode) -> dict[str, object]:
    return {
        "id": node.id,
        "name": node.name,
        "type": node.op_type,
        "provider": node.provider,
        "types": list(node.types),
    }

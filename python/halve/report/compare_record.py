"""The record of `halve compare` (schema version 1; docs/compare.schema.json describes its JSON)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from halve.comparisons import (
    ComparedOutput,
    ComparedSample,
    ComparedSide,
    ModelComparison,
    WorstElement,
)
from halve.report.record import plain_json
from halve.types import Comparison

__all__ = ["SCHEMA_VERSION", "CompareReport", "OutputSummary"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """One output over all samples: the worst of each metric, and sums of the counts.

    `norm_ratio` is the one farthest from 1. `worst_sample` is where the most of the tolerance is
    used. The metrics are None where no sample has them (see ComparedOutput.reason).
    """

    name: str
    passed: bool
    failed_samples: int
    error: float
    worst_sample: int | None
    elements: int
    mismatches: int
    max_abs_error: float | None
    max_rel_error: float | None
    cosine: float | None
    norm_ratio: float | None
    a_nan: int
    a_inf: int
    b_nan: int
    b_inf: int


@dataclass(frozen=True, slots=True)
class CompareReport:
    """A comparison, with the version that made it; every reader takes this record.

    `notes` are the comparison's own and those of the caller (random samples).
    """

    halve_version: str
    result: ModelComparison
    notes: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[OutputSummary, ...]:
        """A row an output, in the order of the reference's outputs."""
        samples = self.result.samples
        names = dict.fromkeys(row.name for sample in samples for row in sample.outputs)
        return tuple(_summary(name, samples) for name in names)

    def as_json(self) -> dict[str, object]:
        """The record as JSON values (schema version 1); equal records give equal values."""
        result = self.result
        limits = {"all": result.tolerances.default, **result.tolerances.outputs}
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "compare",
            "halve_version": self.halve_version,
            "a": _side(result.a),
            "b": _side(result.b),
            "passed": result.passed,
            "tolerances": {name: asdict(limits[name]) for name in limits},
            "outputs": [plain_json(asdict(row)) for row in self.outputs],
            "samples": [
                {"id": sample.id, "outputs": [_output(row) for row in sample.outputs]}
                for sample in result.samples
            ],
            "left_out": list(result.left_out),
            "notes": [*result.notes, *self.notes],
        }


def _summary(name: str, samples: Sequence[ComparedSample]) -> OutputSummary:
    found = [(sample.id, row) for sample in samples for row in sample.outputs if row.name == name]
    rows = [row for _, row in found]
    metrics = [row.comparison for row in rows if row.comparison is not None]
    return OutputSummary(
        name=name,
        passed=all(row.passed for row in rows),
        failed_samples=sum(not row.passed for row in rows),
        error=max(row.error for row in rows),
        worst_sample=max(found, key=lambda pair: pair[1].error)[0],
        elements=sum(row.elements for row in rows),
        mismatches=sum(row.mismatches for row in rows),
        max_abs_error=max((item.max_abs_error for item in metrics), default=None),
        max_rel_error=max((item.max_rel_error for item in metrics), default=None),
        cosine=min((item.cosine for item in metrics), key=_low, default=None),
        norm_ratio=max((item.norm_ratio for item in metrics), key=_far, default=None),
        a_nan=sum(item.a_nan for item in metrics),
        a_inf=sum(item.a_inf for item in metrics),
        b_nan=sum(item.b_nan for item in metrics),
        b_inf=sum(item.b_inf for item in metrics),
    )


def _low(cosine: float) -> float:
    """An order of cosines in which one that is no number is the worst."""
    return -math.inf if math.isnan(cosine) else cosine


def _far(ratio: float) -> float:
    return math.inf if math.isnan(ratio) else abs(1 - ratio)


def _side(side: ComparedSide) -> dict[str, object]:
    return {**asdict(side), "half_types": list(side.half_types)}


def _output(row: ComparedOutput) -> dict[str, object]:
    found = row.comparison
    return {
        "name": row.name,
        "passed": row.passed,
        "error": plain_json(row.error),
        "reason": row.reason,
        "a": {"dtype": row.a_dtype, "shape": list(row.a_shape)},
        "b": {"dtype": row.b_dtype, "shape": list(row.b_shape)},
        "elements": row.elements,
        "mismatches": row.mismatches,
        "comparison": None if found is None else _comparison(found, row.b_shape),
        "worst": [_worst(item) for item in row.worst],
    }


def _comparison(found: Comparison, shape: tuple[int, ...]) -> dict[str, object]:
    numbers = {
        "allclose": found.allclose,
        "a_nan": found.a_nan,
        "a_inf": found.a_inf,
        "b_nan": found.b_nan,
        "b_inf": found.b_inf,
        "max_abs_error": found.max_abs_error,
        "max_abs_index": _place(found.max_abs_index, shape),
        "max_rel_error": found.max_rel_error,
        "max_rel_index": _place(found.max_rel_index, shape),
        "a_norm": found.a_norm,
        "b_norm": found.b_norm,
        "norm_ratio": found.norm_ratio,
        "dot": found.dot,
        "cosine": found.cosine,
        "mse": found.mse,
    }
    return {name: plain_json(value) for name, value in numbers.items()}


def _place(index: int | None, shape: tuple[int, ...]) -> list[int] | None:
    """An index in C order as one a dimension."""
    if index is None:
        return None
    place = []
    for size in reversed(shape):
        index, here = divmod(index, size)
        place.append(here)
    return place[::-1]


def _worst(item: WorstElement) -> dict[str, object]:
    return {name: plain_json(value) for name, value in asdict(item).items()}

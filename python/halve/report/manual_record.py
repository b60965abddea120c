"""Manual mode's JSON: the fields of docs/manual.schema.json, by mode."""

from __future__ import annotations

from collections.abc import Mapping

from halve.manual_types import (
    ManualReport,
    ModelOutput,
    NodeStatistics,
    OutputBlock,
    OutputFiles,
    OutputStatistics,
    RunStatistics,
    SampleStatistics,
)
from halve.report.record import plain_json
from halve.types import Comparison

__all__ = ["SCHEMA_VERSION", "manual_json"]

SCHEMA_VERSION = 1
_FILES = (
    "fp16_executable",
    "fp16_hlir",
    "fp32_executable",
    "fp32_hlir",
    "deploy",
    "plan",
)
_COUNTS = ("element_count", "nan_count", "inf_count")


def manual_json(report: ManualReport) -> dict[str, object]:
    """The report as a JSON object; what is not finite is a text ("inf", "-inf", "nan").

    `op_statistic` and `model_outputs` have one element a sample; `merged` has all samples
    together.
    """
    record = plain_json(_record(report))
    return record if isinstance(record, dict) else {}


def _record(report: ManualReport) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "mode": report.mode,
        "level": report.level,
        "local": report.local,
        "model_hash": report.plan.model_hash,
        "runtime": report.runtime,
        "provider": report.provider,
        "thresholds": {"ge": report.ge, "le": report.le, "limit": report.limit},
        "fp32_nodes": list(report.fp32_nodes),
        "passed": report.passed,
        "samples": [sample.id for sample in report.samples],
        "op_statistic": [_nodes(sample, report) for sample in report.samples],
        "model_outputs": [_outputs(sample) for sample in report.samples],
        "merged": {
            "op_statistic": _nodes(report.merged, report),
            "model_outputs": _outputs(report.merged),
        },
        "output_files": _files(report.files),
        "options": dict(report.options),
        "warnings": list(report.warnings),
        "notes": list(report.notes),
        "reused": list(report.reused),
        "prepare_s": round(report.prepare_s, 3),
        "elapsed_s": round(report.elapsed_s, 3),
    }


def _files(files: OutputFiles) -> dict[str, str | None]:
    given = {name: getattr(files, name) for name in _FILES}
    return {name: None if path is None else str(path) for name, path in given.items()}


def _nodes(sample: SampleStatistics, report: ManualReport) -> dict[str, object]:
    return {str(node.id): _node(node, report) for node in sample.nodes}


def _node(node: NodeStatistics, report: ManualReport) -> dict[str, object]:
    return {
        "id": node.id,
        "name": node.name,
        "type": node.type,
        "scope": node.scope,
        "precision": node.precision,
        "outputs": [_output(item, report) for item in node.outputs],
        "over_limit": node.over_limit,
        "unmeasured": node.unmeasured,
    }


def _output(item: OutputStatistics, report: ManualReport) -> dict[str, object]:
    fields = _calc(item) if report.mode == "calc" else _raw(item)
    return {
        "name": item.name,
        "slot": item.slot,
        "dtype": item.dtype,
        "shape": list(item.shape),
        **fields,
        "fp16_inherited_count": None if item.fp16 is None else item.fp16.inherited,
        "fp32_inherited_count": None if item.fp32 is None else item.fp32.inherited,
        "fp16_max_abs": None if item.fp16 is None else item.fp16.max_abs,
        "fp32_max_abs": None if item.fp32 is None else item.fp32.max_abs,
        "head_room": item.head_room(report.limit),
        "local_error": item.local_error,
        "inherited_error": item.inherited_error,
        "total_error": item.total_error,
        **_worst(item.total),
    }


def _worst(total: Comparison | None) -> dict[str, object]:
    if total is None:
        return {"worst_abs_error": None, "worst_index": None}
    return {"worst_abs_error": total.max_abs_error, "worst_index": total.max_abs_index}


def _calc(item: OutputStatistics) -> dict[str, object]:
    return {**_shares("fp16", item.fp16), **_shares("fp32", item.fp32)}


def _shares(run: str, found: RunStatistics | None) -> dict[str, object]:
    """Nulls where that run did not get here."""
    return {
        f"{run}_ge_ratio": None if found is None else found.ge_ratio,
        f"{run}_le_ratio": None if found is None else found.le_ratio,
        f"{run}_clip_ratio": None if found is None else found.clip_ratio,
        f"{run}_check_nan": None if found is None else found.check_nan,
    }


def _raw(item: OutputStatistics) -> dict[str, object]:
    counts = {**_run_counts("fp16", item.fp16), **_run_counts("fp32", item.fp32)}
    exceed = None if item.total is None else item.total.mismatches
    return counts | _verdict(item.total, exceed, close=item.close, passed=item.passed)


def _run_counts(run: str, found: RunStatistics | None) -> dict[str, object]:
    values = (None,) * 3 if found is None else (found.elements, found.nan, found.inf)
    return {f"{run}_{name}": value for name, value in zip(_COUNTS, values, strict=True)}


def _verdict(
    found: Comparison | None, exceed: int | None, *, close: bool | None, passed: bool | None
) -> dict[str, object]:
    return {
        "numpy_allclose": None if close is None else "pass" if close else "fail",
        "exceed_tol_count": exceed,
        "cos_sim_value": None if found is None else found.cosine,
        "norm_rel": None if found is None else found.norm_ratio,
        "passed": passed,
    }


def _outputs(sample: SampleStatistics) -> dict[str, object]:
    return {row.name: _model_output(row) for row in sample.model_outputs}


def _model_output(row: ModelOutput) -> dict[str, object]:
    blocks: Mapping[str, OutputBlock | None] = {
        "fp16_golden": row.fp16_golden,
        "fp32_golden": row.fp32_golden,
        "fp16_fp32": row.fp16_fp32,
    }
    return {name: _block(block) for name, block in blocks.items()}


def _block(block: OutputBlock | None) -> dict[str, object]:
    """`fp16_*` counts the value that the block names first, `fp32_*` the one it names second."""
    if block is None:
        names = [f"{run}_{name}" for run in ("fp16", "fp32") for name in _COUNTS]
        nothing = _verdict(None, None, close=None, passed=None)
        return dict.fromkeys(names) | nothing | {"error": None}
    found = block.comparison
    nan_inf = (None,) * 4 if found is None else (found.a_nan, found.a_inf, found.b_nan, found.b_inf)
    return {
        "fp16_element_count": block.a_elements,
        "fp16_nan_count": nan_inf[0],
        "fp16_inf_count": nan_inf[1],
        "fp32_element_count": block.b_elements,
        "fp32_nan_count": nan_inf[2],
        "fp32_inf_count": nan_inf[3],
        **_verdict(found, block.mismatches, close=block.close, passed=block.passed),
        "error": block.error,
    }

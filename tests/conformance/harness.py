"""What is asked of a converted test model, and how its results are compared."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from conformance.backend_cases import Case
from conformance.stepwise import run_stepwise
from halve.convert import convert
from halve.errors import HalveError
from halve.options import ConvertOptions
from halve.session import load, lower, run
from halve.source.scopes import iter_nodes
from halve.types import ConvertResult

__all__ = ["FLOAT16_BOUND", "Finding", "Outcome", "baseline", "evaluate"]

Results = list[Any]
Feeds = Mapping[str, Any]
# |d| <= 4·2^-11·max|y| + 2^-14: four roundings to float16, and its smallest normal number.
FLOAT16_BOUND = (4 * 2.0**-11, 2.0**-14)


class Finding(Exception):
    """What does not hold of a case: the stage that says so, and the evidence."""

    def __init__(self, stage: str, evidence: object) -> None:
        super().__init__(f"{stage}: {' '.join(str(evidence).split())[:500]}")
        self.stage = stage


@dataclass
class Outcome:
    """What one conversion of a case came to.

    `runner` ran the source, `written` the converted file ("onnxruntime" or "reference"); `exact`
    whether that run equals the lowering bit for bit; `error` is the worst |d| over the bound.
    """

    result: ConvertResult
    runner: str
    written: str = ""
    exact: bool = False
    drift: float = 0.0
    error: float = 0.0
    notes: list[str] = field(default_factory=list)


def run_ort(model: ModelProto, feeds: Feeds) -> Results:
    """Results of ONNX Runtime, one thread, optimisations off."""
    # Copies, for its BatchNormalization in training mode writes into its inputs.
    return run(load(model, optimise=False), copy.deepcopy(dict(feeds)))


def run_reference(model: ModelProto, feeds: Feeds) -> Results:
    """Results of onnx's reference evaluator."""
    ready = rounded(model, feeds)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return list(ReferenceEvaluator(model).run(None, ready))


def rounded(model: ModelProto, feeds: Feeds) -> dict[str, Any]:
    """Feeds in the types of the model's inputs."""
    types = {info.name: info.type.tensor_type.elem_type for info in model.graph.input}
    return {name: _round_feed(value, types.get(name, 0)) for name, value in feeds.items()}


def _round_feed(value: Any, elem: int) -> Any:
    if elem != onnx.TensorProto.FLOAT16 or not isinstance(value, np.ndarray):
        return value
    with np.errstate(over="ignore"):
        return value.astype(np.float16) if value.dtype == np.float32 else value


RUNNERS = {"onnxruntime": run_ort, "reference": run_reference}


def attempt(name: str, model: ModelProto, feeds: Feeds) -> Results | Exception:
    """A runner's results, or why it has none."""
    try:
        return RUNNERS[name](model, feeds)
    except Exception as error:
        return error


def baseline(case: Case) -> tuple[str, Results] | str:
    """Who runs the source, and the float32 results; or why nobody does."""
    reasons = []
    for name in RUNNERS:
        results = attempt(name, case.model, case.feeds)
        if not isinstance(results, Exception):
            return name, results
        reasons.append(f"{name}: {results}")
    return "; ".join(reasons)


def evaluate(case: Case, runner: str, expected: Results, **options: Any) -> Outcome:
    """Convert a case and hold the result against everything that must be true of it.

    Raises:
        Finding: something does not hold.
    """
    outcome = Outcome(convert_soundly(case, **options), runner)
    model = outcome.result.model
    assert model is not None
    lowered = _lowered(model, runner, case.feeds)
    _check_written(outcome, model, case.feeds, lowered)
    outcome.error = worst_error(lowered, expected)
    return outcome


def convert_soundly(case: Case, **options: Any) -> ConvertResult:
    """Convert a case and hold the result against everything that can be told without a run.

    Raises:
        Finding: something does not hold.
    """
    settings = ConvertOptions(**{"target": "any"} | options)  # type: ignore[arg-type]
    result = _converted(case.model, settings)
    assert result.model is not None
    _check(case.model, result.model)
    _check_casts(result)
    if not settings.node_block:
        _check_names(case.model, result, settings)
    _check_again(result.model, settings)
    return result


def _converted(model: ModelProto, settings: ConvertOptions) -> ConvertResult:
    try:
        return convert(model, options=settings)
    except HalveError as error:
        raise Finding("convert", error) from error


def _check(source: ModelProto, model: ModelProto) -> None:
    refusal = checker_refusal(model)
    if refusal and not checker_refusal(source):
        raise Finding("checker", refusal)


def checker_refusal(model: ModelProto) -> str:
    """What onnx's full check says against a model, or ""."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        return str(error) or repr(error)
    return ""


def _check_casts(result: ConvertResult) -> None:
    if len(result.casts) != result.cast_lower_bound:
        raise Finding("casts", f"{len(result.casts)} casts, bound {result.cast_lower_bound}")


def _check_names(source: ModelProto, result: ConvertResult, settings: ConvertOptions) -> None:
    """Names of nodes change nothing: with them, the same model but for these names comes out."""
    named = ModelProto()
    named.CopyFrom(source)
    for number, _, node in iter_nodes(named):
        node.name = "" if node.name else f"n{number}"
    other = convert(named, options=settings).model
    assert other is not None
    assert result.model is not None
    if without_names(other) != without_names(result.model):
        raise Finding("names", "node names change the result")


def without_names(model: ModelProto) -> ModelProto:
    """A copy in which no node has a name."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for _, _, node in iter_nodes(copy):
        node.ClearField("name")
    return copy


def _check_again(model: ModelProto, settings: ConvertOptions) -> None:
    try:
        again = convert(model, options=settings)
    except HalveError as error:
        raise Finding("again", error) from error
    if again.model != model:
        rows = [(row.tensor, row.to) for row in again.casts]
        raise Finding("again", f"a second conversion changes the model: casts {rows}")


def _lowered(model: ModelProto, runner: str, feeds: Feeds) -> Results:
    try:
        lowered = lower(model)
    except HalveError as error:
        raise Finding("lower", error) from error
    results = attempt(runner, lowered, feeds)
    if isinstance(results, Exception):
        raise Finding("run lowered", results)
    return results


def _check_written(outcome: Outcome, model: ModelProto, feeds: Feeds, lowered: Results) -> None:
    """The written file loads and runs, and node by node it does what its lowering does."""
    results = attempt("onnxruntime", model, feeds)
    outcome.written = "onnxruntime"
    if isinstance(results, Exception):
        outcome.notes.append(str(results))
        results = attempt("reference", model, feeds)
        outcome.written = "reference"
    if isinstance(results, Exception):
        raise Finding("run", f"{outcome.notes[0]}; reference: {results!r}")
    outcome.drift = worst_error(results, lowered)
    if outcome.written == "onnxruntime":
        results = run_stepwise(model, rounded(model, feeds), run_ort) or results
    outcome.exact = all(map(same_bits, leaves(results), leaves(lowered)))
    outcome.drift = max(outcome.drift, worst_error(results, lowered))


def leaves(value: Any) -> Iterator[Any]:
    """The arrays and texts inside lists and maps."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield np.asarray(key)
            yield from leaves(value[key])
    else:
        yield np.asarray(value)


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays are equal in type, shape and every bit (any NaN equals any other)."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind in "OUST":
        return bool(np.all(a == b))
    nan = _nan(a) & _nan(b)
    return bool(np.all((_bits(a) == _bits(b)) | nan))


def _nan(array: Any) -> Any:
    is_float = array.dtype.kind in "fc" or "float" in array.dtype.name
    return np.isnan(array) if is_float else np.zeros(array.shape, bool)


def _bits(array: Any) -> Any:
    if array.dtype.kind == "c":
        return array
    return np.ascontiguousarray(array).reshape(array.shape).view(f"u{array.dtype.itemsize}")


def worst_error(results: Results, expected: Results) -> float:
    """The largest |d| as a multiple of the bound; inf where anything but floats differs."""
    ours, theirs = list(leaves(results)), list(leaves(expected))
    if len(ours) != len(theirs):
        return float("inf")
    return max(map(_error, ours, theirs), default=0.0)


def _error(ours: Any, theirs: Any) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    if not (ours.dtype.kind in "fc" or "float" in ours.dtype.name):
        return 0.0 if ours.dtype == theirs.dtype and np.all(ours == theirs) else float("inf")
    kind = np.complex128 if ours.dtype.kind == "c" else np.float64
    a, b = ours.astype(kind), theirs.astype(kind)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        finite = b[np.isfinite(b)]
        bound = FLOAT16_BOUND[0] * np.abs(finite).max(initial=0) + FLOAT16_BOUND[1]
        off = np.abs(a - b)[~same] / bound
    return float(np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0.0))

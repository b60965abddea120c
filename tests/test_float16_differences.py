"""`halve.float16` beside onnxconverter-common 1.16.0, model by model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import ModelProto
from onnxconverter_common import float16 as original

from float16_cases import BOTH_WORK, MORE_CASTS, ORIGINAL_FAILS, Case
from halve import float16
from halve.errors import HalveError
from halve.session import Sample, judge, load
from models import FLOAT, FLOAT16, mlp, text_model
from onnx_text import io_types, ops, weights

ALL = (*ORIGINAL_FAILS, *MORE_CASTS, *BOTH_WORK)
Converter = Callable[..., ModelProto]


def converted(convert: Converter, model: ModelProto, **options: Any) -> ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert(model, **options)


def by_halve(case: Case) -> ModelProto:
    return converted(float16.convert_float_to_float16, case.model(), **case.options)


def by_original(case: Case) -> ModelProto:
    return converted(original.convert_float_to_float16, case.model(), **case.options)


def name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", ALL, ids=name)
def test_halve_is_right(case: Case) -> None:
    half = by_halve(case)
    onnx.checker.check_model(half, full_check=True)
    if case.loads:
        verdict = judge(case.model(), half, [Sample(0, case.feeds)])
        assert (verdict.passed, verdict.loaded) == (True, True)


@pytest.mark.parametrize("case", ORIGINAL_FAILS, ids=name)
def test_the_original_s_result_is_refused(case: Case) -> None:
    theirs = by_original(case)
    refusals = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, HalveError)
    with pytest.raises(refusals):
        _check_and_load(theirs)


def _check_and_load(model: ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    load(model)


@pytest.mark.parametrize("case", MORE_CASTS, ids=name)
def test_the_original_inserts_more_casts(case: Case) -> None:
    assert ops(by_halve(case))["Cast"] < ops(by_original(case))["Cast"]


@pytest.mark.parametrize("case", [*MORE_CASTS, *BOTH_WORK], ids=name)
def test_same_types_weights_and_nodes_where_both_work(case: Case) -> None:
    half, theirs = by_halve(case), by_original(case)
    assert io_types(half) == io_types(theirs)
    assert _payloads(half) == _payloads(theirs)
    assert ops(half) - ops(theirs) == {}  # casts aside, where it may have more


def test_everything_blocked_is_the_identity() -> None:
    text = "g (float[2,3] x) => (float[2,3] y) { a = Exp(x)  y = Softmax(a) }"
    model = text_model(text)
    options = {"op_block_list": ["Exp", "Softmax"], "keep_io_types": True}
    assert converted(float16.convert_float_to_float16, model, **options) == model
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    theirs = converted(original.convert_float_to_float16, model, **options)
    assert io_types(theirs) == {"x": FLOAT, "y": FLOAT16}  # the output was to be kept


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("bounds", [(1e-7, 1e4), (2.0**-24, 65504.0), (0.1, 0.4)])
@pytest.mark.parametrize("blocked", [(), ("Relu",), ("MatMul", "Add")])
def test_same_weights_bit_for_bit(
    keep: bool, bounds: tuple[float, float], blocked: tuple[str, ...]
) -> None:
    model = mlp((16, 24, 16, 8), seed=3)
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    options = {
        "min_positive_val": bounds[0],
        "max_finite_val": bounds[1],
        "keep_io_types": keep,
        "op_block_list": list(blocked),
    }
    half = converted(float16.convert_float_to_float16, model, **options)
    theirs = converted(original.convert_float_to_float16, model, **options)
    assert weights(half) == weights(theirs)
    assert _payloads(half) == _payloads(theirs)


def _payloads(model: ModelProto) -> dict[str, bytes]:
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor).tobytes()
        for tensor in model.graph.initializer
    }

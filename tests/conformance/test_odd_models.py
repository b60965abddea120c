"""Valid models that are merely unusual: each converts, checks, loads and computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from conformance import odd_models, odd_operators
from conformance.backend_cases import Case
from conformance.harness import (
    attempt,
    baseline,
    checker_refusal,
    convert_soundly,
    leaves,
    worst_error,
)
from conformance.odd_models import Odd
from halve.session import describe_runtime, lower
from models import text_model

MODELS = odd_models.MODELS | odd_operators.MODELS
# Multiples of the bound for float16: a rounding to bfloat16 is eight times as coarse.
BOUNDS = {"float16": 1, "bfloat16": 8}


PLAIN = """g (bool c, float[2, 3] x) => (float[2, 2] y) <float[3, 2] w = {1, 2, 0.5, 4, 0.25, 6}> {
    a = Exp(x) b = MatMul(a, w) t = Transpose(b) s = Softmax<axis = 1>(t)
    y = If(c) <then_branch = t () => (float[2, 2] p) { p = Mul(s, b) },
               else_branch = e () => (float[2, 2] q) { q = LeakyRelu<alpha = 0.5>(b) }> }"""


def hold(name: str, **options: Any) -> None:
    hold_case(MODELS[name], name, **options)


def hold_case(odd: Odd, name: str, **options: Any) -> None:
    assert checker_refusal(odd.model) == ""
    case = Case("odd", name, odd.model, odd.inputs)
    base = baseline(case)
    assert not isinstance(base, str), base
    runner, expected = base
    model = convert_soundly(case, **options).model
    assert model is not None
    lowered = attempt(runner, lower(model), case.feeds)
    assert not isinstance(lowered, Exception), lowered
    assert worst_error(floats(lowered), floats(expected)) <= BOUNDS[options["dtype"]]
    if options["dtype"] == "float16":  # ONNX Runtime has hardly a kernel for the other
        written = attempt("onnxruntime", model, case.feeds)
        assert not isinstance(written, Exception) or runner == "reference", written
        if not isinstance(written, Exception):
            assert worst_error(written, lowered) <= 1


def floats(results: list[Any]) -> list[Any]:
    """Every array in the results, bfloat16 as float32."""
    found = list(leaves(results))
    return [a.astype(np.float32) if "float16" in a.dtype.name else a for a in found]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_odd_models(name: str, dtype: str, keep: bool) -> None:
    if "overload" in name and describe_runtime().version < "1.21":
        pytest.skip("ONNX Runtime before 1.21 takes the first function of that name")
    if dtype == "bfloat16" and not keep and has_maps(name):
        pytest.skip("ONNX Runtime's Python interface has no maps beside bfloat16")
    hold(name, dtype=dtype, keep_io_types=keep)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("opset", range(7, 25))
def test_every_opset(opset: int, dtype: str) -> None:
    x = np.array([[0.5, -1.25, 0], [1, 0.25, -0.75]], np.float32)
    needed = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model = text_model(PLAIN, opset=opset, ir_version=max(needed, 4))
    hold_case(Odd(model, (np.array(True), x)), "plain", dtype=dtype, keep_io_types=opset % 2 == 0)


def has_maps(name: str) -> bool:
    graph = MODELS[name].model.graph
    return any("map_type" in str(info.type) for info in (*graph.input, *graph.output))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cuda", "cpu", "tensorrt"])
@pytest.mark.parametrize("name", MODELS)
def test_odd_models_for_every_target(name: str, target: str) -> None:
    for keep in (False, True):
        hold(name, dtype="float16", keep_io_types=keep, target=target)

"""Searches at bfloat16 on models of an opset that does not have it: told in the file's ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import halve
from halve import ConvertOptions, OutputError, OutputTolerance, SearchOptions, Tolerances
from halve.types import Plan
from onnx_text import parse

# 300 + x has no bit left of x in bfloat16; the Softmax becomes several nodes at opset 13.
TEXT = """g (float[2, 3, 4] x) => (float[2, 3, 4] y) {
    [soft] s = Softmax<axis = 1>(x)
    [plus] a = Add(s, big)
    [minus] b = Sub(a, big)
    [last] y = Mul(b, x)
}"""
FEED = {"x": np.linspace(-3.0, 3.0, 24, dtype=np.float32).reshape(2, 3, 4)}


def model() -> ModelProto:
    made = parse(TEXT, opset=9)
    big = np.full((4,), 300.0, np.float32)
    made.graph.initializer.append(numpy_helper.from_array(big, "big"))
    return made


def options(**convert: object) -> SearchOptions:
    fields: dict[str, object] = {"dtype": "bfloat16", "target": "any", "keep_io_types": True}
    made = ConvertOptions(**fields | convert)  # type: ignore[arg-type]
    return SearchOptions(convert=made, tolerances=Tolerances(OutputTolerance(2e-2, 2e-2)))


def test_what_is_kept_is_told_in_ids_of_the_file(tmp_path: Path) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model(), source)
    found = halve.auto(source, target, [FEED], options=options())
    assert set(found.search.required) == {1, 2}
    assert [node.name for node in found.search.plan.nodes] == ["soft", "plus", "minus", "last"]
    assert [node.dtype for node in found.search.plan.nodes][1:3] == ["float32", "float32"]
    assert found.search.verdict.passed
    assert sum("raised to 13" in text for text in found.convert.warnings) == 1
    written = onnx.load(target)
    assert written.opset_import[0].version == 13
    assert found.convert.plan.nodes[1].dtype == "float32"
    again = halve.convert(source, options=ConvertOptions(
        dtype="bfloat16", target="any", keep_io_types=True, fp32_nodes=found.search.required
    ))  # fmt: skip
    assert again.model is not None
    assert [n.op_type for n in again.model.graph.node] == [n.op_type for n in written.graph.node]


def test_the_workspace_has_the_plan_of_the_file(tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    onnx.save(model(), source)
    asked = replace(options(), workspace=tmp_path / "w")
    first = halve.search(source, [FEED], options=asked)
    plan = Plan.load(tmp_path / "w" / "plan.json")
    assert len(plan.nodes) == 4
    resumed = halve.search(source, [FEED], options=asked)
    assert resumed.required == first.required
    assert halve.verify_plan(source, tmp_path / "w" / "plan.json", [FEED], options=options()).passed


def test_what_the_user_keeps_stays(tmp_path: Path) -> None:
    found = halve.search(model(), [FEED], options=options(op_block=("Mul",), fp32_nodes=(0,)))
    assert found.plan.nodes[0].dtype == found.plan.nodes[3].dtype == "float32"
    assert set(found.required) == {1, 2}


def test_the_source_is_not_the_target(tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    onnx.save(model(), source)
    before = source.read_bytes()
    with pytest.raises(OutputError):
        halve.auto(source, source, [FEED], options=options())
    assert source.read_bytes() == before

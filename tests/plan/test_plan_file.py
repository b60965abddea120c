"""A plan file applied to a model: what is found, and what is said where things differ."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from halve import Plan, PlanError
from halve.convert import convert
from halve.options import ConvertOptions
from halve.types import ConvertResult
from onnx_text import parse

MODEL = """g (float[2] x) => (float[2] y)
<float[1] s = {1.0}> { [a] t = Exp(x) [b] u = Resize(t, , s) [c] y = Tanh(u) }"""


def saved(folder: Path, **changes: object) -> Path:
    """A plan of MODEL in which the first node is float32, with fields changed."""
    plan = convert(parse(MODEL), options=ConvertOptions(target="any", fp32_nodes=(0,))).plan
    path = folder / "plan.json"
    path.write_text(json.dumps(plan.record() | changes))
    return path


def applied(path: Path, **options: object) -> ConvertResult:
    options.setdefault("target", "any")
    return convert(parse(MODEL), options=ConvertOptions(plan=path, **options))  # type: ignore[arg-type]


def test_applied_as_it_was_made_it_says_nothing(tmp_path: Path) -> None:
    result = applied(saved(tmp_path))
    assert result.warnings == ()
    assert [node.dtype for node in result.plan.nodes] == ["float32", "float16", "float16"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "bfloat16"}, "made with dtype 'float16' and is applied with 'bfloat16'"),
        ({"target": "cpu"}, "made with target 'any' and is applied with 'cpu'"),
        ({"max_finite": 1e4}, "made with max_finite 65504.0 and is applied with 10000.0"),
        ({"keep_io_types": ("x",)}, r"made with keep_io_types False and is applied with \['x'\]"),
    ],
)
def test_other_options(tmp_path: Path, options: dict[str, object], words: str) -> None:
    assert re.search(words, "\n".join(applied(saved(tmp_path), **options).warnings))


def test_another_runtime_or_provider(tmp_path: Path) -> None:
    version = f"onnxruntime {metadata.version('onnxruntime')}"
    same = saved(tmp_path, runtime=version, provider="CUDAExecutionProvider")
    assert applied(same).warnings == ()
    (warning,) = applied(saved(tmp_path, runtime="onnxruntime 1.2.3")).warnings
    assert warning == (
        f"the plan was verified on onnxruntime 1.2.3, this is {version}; judge it again with "
        "halve auto --verify-plan"
    )
    options = {"target": "cpu"}
    path = saved(tmp_path, provider="CUDAExecutionProvider")
    first, second = applied(path, **options).warnings[:2]
    assert "made with target" in first
    assert "verified on CUDAExecutionProvider and is applied for target 'cpu'" in second


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (2, {"dtype": "float16", "operands": {"in0": "float32"}}, "float16 (in0 float32) there"),
        (1, {"operands": {}}, "node 1 (Resize 'b'): float16 there, float16 (in2 float32) here"),
    ],
)
def test_rows_that_come_out_otherwise(
    tmp_path: Path, number: int, change: dict[str, object], words: str
) -> None:
    rows = json.loads(saved(tmp_path).read_text())["nodes"]
    rows[number] |= change
    (warning,) = applied(saved(tmp_path, nodes=rows)).warnings
    assert warning.startswith("1 nodes come out otherwise")
    assert words in warning


def test_a_plan_without_nodes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="lists no nodes, and the model has 3"):
        applied(saved(tmp_path, nodes=[]))
    empty = parse("g (float[2] x) => (float[2] x) { }")
    result = convert(empty, options=ConvertOptions(keep_io_types=True))
    Plan.save(result.plan, tmp_path / "empty.json")
    convert(empty, options=ConvertOptions(keep_io_types=True, plan=tmp_path / "empty.json"))


def test_op_types_that_no_node_has() -> None:
    options = ConvertOptions(target="any", op_block=("Exp", "Gone", "Soft.*", "T.*"))
    assert convert(parse(MODEL), options=options).warnings == (
        "op_block names what no node is: Gone, Soft.*",
    )

"""Transformers exported from PyTorch: converted, loaded, run, and searched to a verified model."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

import halve
from halve import ConvertOptions, Sample, SearchOptions
from halve.from_torch import EXPORTERS, export_torch
from halve.session import load
from halve.session.judging import load_lowered
from halve.session.runtime import run

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),
]
NAMES = ("bert", "llama", "vit")


class Exported(NamedTuple):
    name: str
    path: Path
    samples: tuple[Sample, ...]


@pytest.fixture(
    scope="module",
    params=[(name, exporter) for name in NAMES for exporter in EXPORTERS],
    ids="-".join,
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A float32 model, and what PyTorch computes with it."""
    models: ModuleType = importlib.import_module("torch_models")
    name, exporter = request.param
    case = models.made(models.TRANSFORMERS[name])
    path = tmp_path_factory.mktemp(name) / "model.onnx"
    export_torch(
        case.module,
        case.args,
        path,
        exporter=exporter,
        input_names=case.inputs,
        output_names=case.outputs,
    )
    return Exported(name, path, tuple(samples(models, case)))


def samples(models: ModuleType, case: Any) -> list[Sample]:
    """The arguments, and others of the same shapes; position ids grow, integers stay indices."""
    torch = importlib.import_module("torch")
    rows = []
    for number in range(3):
        torch.manual_seed(number)
        args = tuple(
            torch.randn_like(arg) if arg.is_floating_point() else varied(name, arg, number)
            for name, arg in zip(case.inputs, case.args, strict=True)
        )
        rows.append(Sample(number, models.arrays(case, args), models.expected(case, args)))
    return rows


def varied(name: str, value: Any, number: int) -> Any:
    if name == "positions":
        return value + 3000 * number  # up to 9004: float16 counts by eights there
    return value if name == "attention_mask" else (value + number) % 100


def test_converts_loads_and_runs(exported: Exported, tmp_path: Path) -> None:
    """All float16, with -3.4e38 in masks clamped: no NaN, and the types asked for."""
    target = tmp_path / "half.onnx"
    result = halve.convert(exported.path, target)
    assert result.half_node_count > 0.9 * result.float_node_count
    floats = {port.type for port in load(target).outputs}
    assert floats == {"tensor(float16)"}
    if exported.name != "vit":
        assert any("lowered to the maximum" in text for text in result.warnings)
    for value in run(load_lowered(target, optimise=False), exported.samples[0].inputs):
        assert np.isfinite(value).all()


def test_auto_ends_verified(exported: Exported, tmp_path: Path) -> None:
    options = SearchOptions(convert=ConvertOptions(target="cuda"))
    found = halve.auto(exported.path, tmp_path / "m.onnx", exported.samples, options=options)
    assert found.verdict.level == "emulated"
    assert found.verdict.passed
    causes = {row.cause for row in found.search.evidence}
    if exported.name == "llama":  # positions above 2048, and the angles that they make
        assert "position" in causes
    else:
        assert not causes
    kept = {node.type for node in found.search.plan.nodes if node.id in found.search.required}
    assert not kept & {"Add", "Where", "Softmax"}, "the masks need no float32"

"""halve.from_torch: PyTorch's modules to 16-bit models, with both of its exporters."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import halve
from halve import ConvertOptions, Sample
from halve.from_torch import EXPORTERS, export_torch
from halve.session import judge, load
from halve.session.judging import load_lowered
from halve.session.runtime import run

pytestmark = [
    pytest.mark.torch,
    # PyTorch's own: of its older exporter, of its internals, and of what tracing fixes.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),
]
EACH = pytest.mark.parametrize("exporter", EXPORTERS)


@pytest.fixture(scope="module")
def models() -> ModuleType:
    """The networks; not imported where the file is only collected."""
    return importlib.import_module("torch_models")


@pytest.fixture(scope="module")
def torch() -> Any:
    return importlib.import_module("torch")


def results(target: Path, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What the written model computes with every 16-bit value rounded."""
    return run(load_lowered(target, optimise=False), feeds)


def size(path: Path) -> int:
    """Bytes of a model, its external data included."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def close(value: NDArray[Any], reference: NDArray[Any], limit: float = 1e-2) -> bool:
    """Whether a difference is a small share of the reference's largest value."""
    error = np.abs(value.astype(np.float64) - reference.astype(np.float64)).max()
    return bool(error <= limit * np.abs(reference).max())


@EACH
def test_resnet(exporter: str, models: ModuleType, tmp_path: Path) -> None:
    case = models.made(models.make_resnet)
    names = {"input_names": case.inputs, "output_names": case.outputs}
    single = export_torch(case.module, case.args, tmp_path / "f.onnx", exporter=exporter, **names)
    target = tmp_path / "half.onnx"
    result = halve.from_torch(case.module, case.args, target, exporter=exporter, **names)
    assert result.target == target
    assert size(target) <= 0.51 * size(single)
    session = load(target)
    assert [port.type for port in (*session.inputs, *session.outputs)] == ["tensor(float16)"] * 2
    assert session.inputs[0].shape == (1, 3, 64, 64)
    sample = Sample(0, models.arrays(case), models.expected(case))
    assert judge(single, target, [sample], rtol=1e-2, atol=1e-2).passed


@EACH
def test_kernel_in_forward(exporter: str, models: ModuleType, torch: Any, tmp_path: Path) -> None:
    module = models.FixedKernel().eval()
    x = torch.randn(1, 1, 16, 16)
    with pytest.raises(RuntimeError, match="Half"):
        models.FixedKernel().half()(x.half())
    target = tmp_path / "half.onnx"
    halve.from_torch(module, (x,), target, exporter=exporter, input_names=["x"])
    graph = onnx.load(target).graph
    assert {tensor.data_type for tensor in graph.initializer} <= {
        onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64,
    }  # fmt: skip
    assert close(results(target, {"x": x.numpy()})[0], module(x).detach().numpy())


@EACH
@pytest.mark.parametrize("inside", [True, False], ids=["in-forward", "around-the-export"])
def test_autocast(
    exporter: str, inside: bool, models: ModuleType, torch: Any, tmp_path: Path
) -> None:
    """Exported under autocast, a model is mixed already."""
    inner = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    module = (models.Autocast(inner) if inside else inner).eval()
    x = torch.randn(3, 16)
    mixed = tmp_path / "mixed.onnx"
    with torch.autocast("cpu", dtype=torch.float16):
        torch.onnx.export(
            module, (x,), mixed, dynamo=exporter == "dynamo", input_names=["x"], verbose=False
        )
    assert has_halves(mixed), "PyTorch was to cast"
    target = tmp_path / "half.onnx"
    halve.convert(mixed, target)
    (found,) = results(target, {"x": x.numpy()})
    assert close(found, module(x).detach().float().numpy())
    assert has_singles(target) is False


@EACH
def test_autocast_through_from_torch(
    exporter: str, models: ModuleType, torch: Any, tmp_path: Path
) -> None:
    """One inside `forward` belongs to the module; one around the call is off meanwhile."""
    inner = torch.nn.Linear(16, 4)
    x = torch.randn(3, 16)
    casts = {}
    for name, module in (("inside", models.Autocast(inner)), ("plain", inner)):
        single = tmp_path / f"{name}.onnx"
        with torch.autocast("cpu", dtype=torch.float16):
            export_torch(module, x, single, exporter=exporter)
        casts[name] = has_halves(single)
        target = tmp_path / f"{name}16.onnx"
        halve.from_torch(module, x, target, exporter=exporter, input_names=["x"])
        want = module(x).detach().float().numpy()
        assert close(results(target, {"x": x.numpy()})[0], want)
    assert casts == {"inside": True, "plain": False}


@EACH
def test_half_module(exporter: str, models: ModuleType, torch: Any, tmp_path: Path) -> None:
    """Its values pass unchanged, and the module stays what it was."""
    module = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.GELU()).half()
    module.train()
    x = torch.randn(2, 16).half()
    target = tmp_path / "half.onnx"
    halve.from_torch(module, (x,), target, exporter=exporter, input_names=["x"])
    assert {p.dtype for p in module.parameters()} == {torch.float16}
    assert all(part.training for part in module.modules())
    weights = [onnx.numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer]
    found = {w.tobytes() for w in weights if w.dtype == np.float16}
    weight = module[0].weight.detach().numpy()
    assert found & {weight.tobytes(), np.ascontiguousarray(weight.T).tobytes()}
    want = module.float()(x.float()).detach().numpy()
    assert close(results(target, {"x": x.numpy()})[0], want, 5e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_control_flow(dtype: str, models: ModuleType, torch: Any, tmp_path: Path) -> None:
    """torch.cond becomes an If; both branches are right."""
    module = models.Branches().eval()
    x = torch.randn(4, 8)
    target = tmp_path / "half.onnx"
    halve.from_torch(module, (x,), target, dtype=dtype, input_names=["x"])
    assert "If" in {node.op_type for node in onnx.load(target).graph.node}
    for value in (x.abs(), -x.abs()):
        want = module(value).detach().numpy()
        assert close(results(target, {"x": value.numpy()})[0], want, 3e-2)


@EACH
def test_dynamic_axes(exporter: str, models: ModuleType, torch: Any, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU()).eval()
    x = torch.randn(2, 3, 16, 16)
    axes = {0: "batch", 2: "height"}
    dynamic: dict[str, Any] = {"dynamic_axes": {"x": axes, "y": axes}}
    if exporter == "dynamo":
        batch, height = torch.export.Dim("batch"), torch.export.Dim("height")
        dynamic = {"dynamic_shapes": ({0: batch, 2: height},)}
    target = tmp_path / "half.onnx"
    names = {"input_names": ["x"], "output_names": ["y"]}
    halve.from_torch(module, (x,), target, exporter=exporter, **names, **dynamic)
    session = load(target)
    for port in (*session.inputs, *session.outputs):
        assert port.shape == ("batch", port.shape[1], "height", 16)
    other = torch.randn(5, 3, 8, 16)
    assert close(results(target, {"x": other.numpy()})[0], module(other).detach().numpy())


def test_names_by_keyword_and_options(torch: Any) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: Any, *, scale: Any) -> Any:
            return torch.exp(x) * scale["by"]

    x, scale = torch.randn(4), {"by": torch.tensor(2.0)}
    options = ConvertOptions(op_block=("Exp",), keep_io_types=True)
    result = halve.from_torch(Scaled(), x, kwargs={"scale": scale}, options=options)
    assert result.model is not None
    assert [node.dtype for node in result.plan.nodes if node.type == "Exp"] == ["float32"]
    assert {node.dtype for node in result.plan.nodes if node.type == "Mul"} == {"float16"}


def test_what_cannot_be_exported(torch: Any, tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x if float(x.sum()) > 0 else -x

    target = tmp_path / "half.onnx"
    target.write_bytes(b"what was there")
    with pytest.raises(halve.ModelError, match=r"Odd: torch.onnx.export .*'torchscript'"):
        halve.from_torch(Odd(), torch.randn(3), target)
    assert target.read_bytes() == b"what was there"


def test_wrong_arguments(torch: Any) -> None:
    x, module = torch.randn(2, 2), torch.nn.Linear(2, 2)
    with pytest.raises(halve.OptionError, match="exporter is 'fast'; allowed: dynamo"):
        halve.from_torch(module, x, exporter="fast")
    with pytest.raises(halve.OptionError, match=r"dynamic_axes is not what .*dynamic_shapes"):
        halve.from_torch(module, x, dynamic_axes={"x": {0: "n"}})
    with pytest.raises(halve.OptionError, match=r"dynamic_shapes is not what .*dynamic_axes"):
        halve.from_torch(module, x, exporter="torchscript", dynamic_shapes=({0: "n"},))
    with pytest.raises(halve.OptionError, match=r"module is function; allowed: a torch.nn.Module"):
        halve.from_torch(lambda v: v, x)
    with pytest.raises(halve.OptionError, match=re.escape("options.dtype is 'bfloat16'")):
        halve.from_torch(module, x, options=ConvertOptions(dtype="bfloat16"))


def has_halves(path: Path) -> bool:
    """Whether anything is cast to float16."""
    text = onnx.printer.to_text(onnx.load(path))
    return bool(re.search(r"Cast\s*<to.*?=\s*10>|float16\[", text))


def has_singles(path: Path) -> bool:
    """Whether a weight is float32."""
    tensors = onnx.load(path).graph.initializer
    return any(t.data_type == onnx.TensorProto.FLOAT for t in tensors)

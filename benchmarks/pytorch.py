"""PyTorch's modules in float16, by several ways: whose result loads, and whose is right.

    python benchmarks/pytorch.py

The networks are those of the tests (tests/pytorch/torch_models.py), exported with both of
PyTorch's exporters. `half()` is the module made half by PyTorch and exported so. The converters get
the float32 export, and the best result over a converter's arguments counts: with shape inference
and without; both functions of ModelOpt, which is left out where it is not installed. A result is
right if it loads in ONNX Runtime and, with every float16 value really rounded around float32
arithmetic, all outputs are within 1e-2 of what PyTorch computes in float32, relative to the largest
value of that output. `halve.auto` is right only where it ends verified as well. Open dimensions
have other sizes in the run than in the export. Beside "right" stands which share of the elements of
weights and constants is float16.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from timing import versions, write_json

import halve
from halve.from_torch import EXPORTERS, export_torch
from halve.session import Sample, load
from halve.session.judging import load_lowered
from halve.session.runtime import run
from halve.source.scopes import iter_nodes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "pytorch"))
import torch_models as networks

LIMIT = 1e-2


def make_kernel() -> networks.Case:
    return networks.Case(networks.FixedKernel(), (torch.randn(1, 1, 16, 16),), ("x",), ("y",))


def make_autocast() -> networks.Case:
    inner = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    return networks.Case(networks.Autocast(inner), (torch.randn(3, 16),), ("x",), ("y",))


def make_branches() -> networks.Case:
    return networks.Case(networks.Branches(), (torch.randn(4, 8),), ("x",), ("y",))


def make_halves() -> networks.Case:
    """Values that float16 holds; `measure` exports the module made half."""
    inner = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.GELU()).half().float()
    return networks.Case(inner, (torch.randn(2, 16).half().float(),), ("x",), ("y",))


def make_open() -> networks.Case:
    inner = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    return networks.Case(inner, (torch.randn(2, 3, 16, 16),), ("x",), ("y",))


HALVES, OPEN = "half() module", "open dimensions"
CASES: Mapping[str, Callable[[], networks.Case]] = {
    "resnet": networks.make_resnet,
    "kernel in forward": make_kernel,
    "autocast": make_autocast,
    HALVES: make_halves,
    "torch.cond": make_branches,
    OPEN: make_open,
    **networks.TRANSFORMERS,
}


def settings(name: str, case: networks.Case, exporter: str) -> dict[str, Any]:
    """What both exports are given: names, and which dimensions are open."""
    found: dict[str, Any] = {"input_names": list(case.inputs), "output_names": list(case.outputs)}
    if name == OPEN and exporter == "dynamo":
        batch, height = torch.export.Dim("batch"), torch.export.Dim("height")
        found["dynamic_shapes"] = ({0: batch, 2: height},)
    elif name == OPEN:
        found["dynamic_axes"] = {key: {0: "batch", 2: "height"} for key in ("x", "y")}
    return found


def half_export(
    case: networks.Case, exporter: str, folder: Path, given: Mapping[str, Any]
) -> ModelProto:
    """What PyTorch's own `.half()` gives."""
    module = case.module.half()
    args = tuple(arg.half() if arg.is_floating_point() else arg for arg in case.args)
    path = folder / "own.onnx"
    torch.onnx.export(module, args, path, dynamo=exporter == "dynamo", verbose=False, **given)
    return onnx.load(path)


def halve_convert(single: Path, _: Sample, __: Path) -> ModelProto:
    model = halve.convert(single).model
    assert model is not None
    return model


def halve_auto(single: Path, sample: Sample, folder: Path) -> ModelProto:
    found = halve.auto(single, folder / "mixed.onnx", [sample])
    if not found.verdict.passed:
        raise RuntimeError("not verified")
    return onnx.load(folder / "mixed.onnx")


def common(infer: bool) -> Way:
    def convert(single: Path, _: Sample, __: Path) -> ModelProto:
        from onnxconverter_common.float16 import convert_float_to_float16

        given = {"max_finite_val": 65504.0, "disable_shape_infer": not infer}
        return convert_float_to_float16(onnx.load(single), **given)

    return convert


def transformers(infer: bool) -> Way:
    def convert(single: Path, _: Sample, __: Path) -> ModelProto:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        return convert_float_to_float16(onnx.load(single), disable_shape_infer=not infer)

    return convert


def autocast(single: Path, _: Sample, __: Path) -> ModelProto:
    from modelopt.onnx.autocast import convert_to_f16

    return convert_to_f16(onnx.load(single), keep_io_types=False)


def autocast_mixed(single: Path, sample: Sample, folder: Path) -> ModelProto:
    from modelopt.onnx.autocast import convert_to_mixed_precision

    np.savez(folder / "calibration.npz", **sample.inputs)
    calibration = str(folder / "calibration.npz")
    return convert_to_mixed_precision(
        str(single), low_precision_type="fp16", calibration_data=calibration
    )


Way = Callable[[Path, Sample, Path], ModelProto]
WAYS: dict[str, Sequence[Way]] = {
    "onnxconverter-common": (common(True), common(False)),
    "ort-transformers": (transformers(True), transformers(False)),
    "ModelOpt AutoCast": (autocast, autocast_mixed),
    "halve.convert": (halve_convert,),
    "halve.auto": (halve_auto,),
}
if importlib.util.find_spec("modelopt") is None:
    del WAYS["ModelOpt AutoCast"]
# From the worst.
STEPS = ("does not convert", "does not load", "cannot be judged", "wrong", "right")


class Verdict(NamedTuple):
    """How far a result came, and the share of the weights' elements that are float16."""

    step: str
    half: float = 0.0

    def __str__(self) -> str:
        return f"{self.step}, {self.half:.0%}" if self.step == STEPS[-1] else self.step


def best(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: (STEPS.index(verdict.step), verdict.half))


def judged(make: Callable[[], ModelProto], sample: Sample) -> Verdict:
    step = "does not convert"
    try:
        model = make()
        step = "does not load"
        load(model)
        step = "cannot be judged"
        values = run(load_lowered(model, optimise=False), sample.inputs)
    except ImportError:  # a peer that lacks a package has no result
        raise
    except Exception as error:  # whatever a peer raises is its result
        print(f"  {step}: {type(error).__name__}: {str(error)[:150]}", file=sys.stderr)
        return Verdict(step)
    wanted = list((sample.outputs or {}).values())
    right = all(_near(value, want) for value, want in zip(values, wanted, strict=True))
    return Verdict("right" if right else "wrong", half_share(model))


def half_share(model: ModelProto) -> float:
    """The share of float elements of weights and constants that are stored as float16."""
    tensors = list(model.graph.initializer)
    for _, _, node in iter_nodes(model):
        tensors += [item.t for item in node.attribute if item.HasField("t")]
        tensors += [tensor for item in node.attribute for tensor in item.g.initializer]
    counts = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in tensors:
        if tensor.data_type in counts:
            counts[tensor.data_type] += math.prod(tensor.dims)
    return counts[TensorProto.FLOAT16] / max(1, sum(counts.values()))


def _near(value: NDArray[Any], want: NDArray[Any]) -> bool:
    error = np.abs(value.astype(np.float64) - want).max()
    return bool(error <= LIMIT * np.abs(want).max())


def measure(name: str, exporter: str) -> dict[str, str]:
    case = networks.made(CASES[name])
    args = (torch.randn(5, 3, 8, 16),) if name == OPEN else case.args
    sample = Sample(0, networks.arrays(case, args), networks.expected(case, args))
    row, given = {"model": name, "exporter": exporter}, settings(name, case, exporter)
    module = case.module.half() if name == HALVES else case.module
    with tempfile.TemporaryDirectory() as text:
        folder, single = Path(text), Path(text) / "single.onnx"
        try:
            export_torch(module, case.args, single, exporter=exporter, **given)
        except halve.HalveError:
            return row  # no exporter of PyTorch's, no model
        for label, ways in WAYS.items():
            found = (partial(way, single, sample, folder) for way in ways)
            row[label] = str(best(judged(make, sample) for make in found))
        own = partial(half_export, case, exporter, folder, given)
        row["half()"] = str(judged(own, sample))
    return row


def table(rows: Sequence[Mapping[str, str]]) -> str:
    tools = ["half()", *WAYS]
    lines = [f"| | exporter | {' | '.join(tools)} |", "|---" * (len(tools) + 2) + "|"]
    for row in rows:
        cells = " | ".join(row.get(tool, "-") for tool in tools)
        lines.append(f"| {row['model']} | {row['exporter']} | {cells} |")
    shares = [sum(row.get(tool, "").startswith("right") for row in rows) for tool in tools]
    total = sum(len(row) > 2 for row in rows)
    lines.append(f"| right, of {total} | | {' | '.join(map(str, shares))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    rows = [measure(name, exporter) for name in CASES for exporter in EXPORTERS]
    print(table(rows))
    if args.json is not None:
        found = versions(
            "torch", "onnxscript", "onnx", "onnxruntime", "onnxconverter-common", "nvidia-modelopt"
        )
        write_json(args.json, {"versions": found, "rows": rows})


if __name__ == "__main__":
    main()

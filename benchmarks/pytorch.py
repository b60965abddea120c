"""PyTorch's modules in float16, by several ways: whose result loads, and whose is right.

    python benchmarks/pytorch.py

The networks are those of the tests (tests/pytorch/torch_models.py), exported with both of
PyTorch's exporters. `half()` is the module made half by PyTorch and exported so; the converters get
the float32 export, with the arguments that serve them best. A result is right if it loads in ONNX
Runtime and, with every float16 value really rounded around float32 arithmetic, all outputs are
within 1e-2 of what PyTorch computes in float32, relative to the largest value of that output.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from peers import PEERS
from timing import versions, write_json

import halve
from halve.from_torch import EXPORTERS, export_torch
from halve.session import Sample, load
from halve.session.judging import load_lowered
from halve.session.runtime import run

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


CASES: Mapping[str, Callable[[], networks.Case]] = {
    "resnet": networks.make_resnet,
    "kernel in forward": make_kernel,
    "autocast": make_autocast,
    "torch.cond": make_branches,
    **networks.TRANSFORMERS,
}


def half_export(case: networks.Case, exporter: str, folder: Path) -> ModelProto:
    """What PyTorch's own `.half()` gives."""
    module = case.module.half()
    args = tuple(arg.half() if arg.is_floating_point() else arg for arg in case.args)
    path = folder / "own.onnx"
    names = {"input_names": list(case.inputs), "output_names": list(case.outputs)}
    torch.onnx.export(module, args, path, dynamo=exporter == "dynamo", verbose=False, **names)
    return onnx.load(path)


def halve_convert(single: Path, _: Sample, __: Path) -> ModelProto:
    model = halve.convert(single).model
    assert model is not None
    return model


def halve_auto(single: Path, sample: Sample, folder: Path) -> ModelProto:
    halve.auto(single, folder / "mixed.onnx", [sample])
    return onnx.load(folder / "mixed.onnx")


Way = Callable[[Path, Sample, Path], ModelProto]
WAYS: dict[str, Way] = {
    **{name: lambda path, _, __, peer=peer: peer(str(path)) for name, peer in PEERS.items()},
    "halve.convert": halve_convert,
    "halve.auto": halve_auto,
}


def verdict(make: Callable[[], ModelProto], sample: Sample) -> str:
    """ "right", or the first thing that is not."""
    step = "does not convert"
    try:
        model = make()
        step = "does not load"
        load(model)
        step = "cannot be judged"
        values = run(load_lowered(model, optimise=False), sample.inputs)
    except Exception as error:  # whatever a peer raises is its result
        print(f"  {step}: {type(error).__name__}: {str(error)[:150]}", file=sys.stderr)
        return step
    wanted = list((sample.outputs or {}).values())
    right = all(_near(value, want) for value, want in zip(values, wanted, strict=True))
    return "right" if right else "wrong"


def _near(value: NDArray[Any], want: NDArray[Any]) -> bool:
    error = np.abs(value.astype(np.float64) - want).max()
    return bool(error <= LIMIT * np.abs(want).max())


def measure(name: str, exporter: str) -> dict[str, str]:
    case = networks.made(CASES[name])
    sample = Sample(0, networks.arrays(case), networks.expected(case))
    row = {"model": name, "exporter": exporter}
    with tempfile.TemporaryDirectory() as text:
        folder, single = Path(text), Path(text) / "single.onnx"
        names = {"input_names": case.inputs, "output_names": case.outputs}
        try:
            export_torch(case.module, case.args, single, exporter=exporter, **names)
        except halve.HalveError:
            return row  # no exporter of PyTorch's, no model
        for label, way in WAYS.items():
            row[label] = verdict(lambda way=way: way(single, sample, folder), sample)
        row["half()"] = verdict(lambda: half_export(case, exporter, folder), sample)
    return row


def table(rows: Sequence[Mapping[str, str]]) -> str:
    tools = ["half()", *WAYS]
    lines = [f"| | exporter | {' | '.join(tools)} |", "|---" * (len(tools) + 2) + "|"]
    for row in rows:
        cells = " | ".join(row.get(tool, "-") for tool in tools)
        lines.append(f"| {row['model']} | {row['exporter']} | {cells} |")
    shares = [sum(row.get(tool) == "right" for row in rows) for tool in tools]
    total = sum(len(row) > 2 for row in rows)
    lines.append(f"| right, of {total} | | {' | '.join(map(str, shares))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rows = [measure(name, exporter) for name in CASES for exporter in EXPORTERS]
    print(table(rows))
    if args.json is not None:
        found = versions("torch", "onnxscript", "onnx", "onnxruntime", "onnxconverter-common")
        write_json(args.json, {"versions": found, "rows": rows})


if __name__ == "__main__":
    main()

"""onnxconverter-common's search in a process of its own.

Reads a pickle (model path, feed, target path, emulated) from standard input, writes the model that
was found, and prints a JSON object, also where the search fails: `trials`, and `apart_s`, the
seconds spent on emulation alone.

The CPU provider computes float16 nodes in float32, so that the search as it is hardly sees what it
looks for. With `emulated`, each of its candidates runs as a model whose float16 tensors are really
rounded: the search that one would see on a provider that computes in float16.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxconverter_common import auto_mixed_precision
from onnxruntime import GraphOptimizationLevel, SessionOptions

from halve.session.lowering import lower

TOLERANCE = {"rtol": 1e-2, "atol": 1e-3}


class _Watched:
    """Stands in for the peer's function that runs a model: counts, and rounds where asked."""

    def __init__(self, emulated: bool) -> None:
        self.trials = 0
        self.apart_s = 0.0
        self._emulated = emulated
        self._run = auto_mixed_precision.get_tensor_values_using_ort

    def __call__(
        self,
        model: ModelProto,
        feed: dict[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        options: SessionOptions | None = None,
    ) -> list[NDArray[Any]]:
        """Run a model as the peer's function does."""
        if outputs is None:
            self.trials += 1
            if self._emulated and self.trials > 1:  # the first is the float32 model
                started = time.perf_counter()
                model, options = lower(_sorted(model)), SessionOptions()
                self.apart_s += time.perf_counter() - started
                # Some fusions take the roundings out, or fail on them.
                options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
        values: list[NDArray[Any]] = self._run(model, feed, outputs, options)
        return values


def _sorted(model: ModelProto) -> ModelProto:
    """The peer appends its casts at the end, which is no valid order."""
    nodes = list(model.graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    needs = {
        number: {makers[name] for name in node.input if name in makers}
        for number, node in enumerate(nodes)
    }
    order = list(TopologicalSorter(needs).static_order())
    ordered = ModelProto()
    ordered.CopyFrom(model)
    del ordered.graph.node[:]
    ordered.graph.node.extend(nodes[number] for number in order)
    return ordered


def main() -> None:
    source, feed, target, emulated = pickle.load(sys.stdin.buffer)
    watched = _Watched(emulated)
    auto_mixed_precision.get_tensor_values_using_ort = watched
    said = sys.stdout
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:
            found = auto_mixed_precision.auto_convert_mixed_precision(
                onnx.load(source), feed, keep_io_types=True, **TOLERANCE
            )
        onnx.save(found, target)
    finally:
        sys.stdout = said
        print(json.dumps({"trials": watched.trials, "apart_s": watched.apart_s}))


if __name__ == "__main__":
    main()

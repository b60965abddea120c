"""Models to write, and the simplest rewrite: every float32 payload becomes 16-bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from halve.source import iter_tensors, open_model, payload_index
from halve.types import CastBounds, CastJob, RewrittenModel, SourceModel

FLOAT, FLOAT16, INT64 = 1, 10, 7
SIZES = {"a": 70_001, "b": 600_000, "tiny": 5, "c": 33_333, "none": 0, "d": 1_000}


def arrays(scale: float = 1.0) -> dict[str, NDArray[np.float32]]:
    """The weights of `make_model`, by name."""
    rng = np.random.default_rng(7)
    return {
        name: (scale * rng.standard_normal(size)).astype(np.float32) for name, size in SIZES.items()
    }


def make_model(scale: float = 1.0) -> ModelProto:
    """A model that gives back its weights: raw_data, packed float_data (c), an attribute (k),
    integers (i), a scalar-like, a small and an empty one.
    """
    weights = arrays(scale)
    initializers = [numpy_helper.from_array(w, n) for n, w in weights.items() if n != "c"]
    typed = TensorProto(name="c", data_type=FLOAT, dims=weights["c"].shape)
    typed.float_data.extend(weights["c"].tolist())
    numbers = numpy_helper.from_array(np.arange(500), "i")
    constant = numpy_helper.from_array(np.arange(700, dtype=np.float32), "k")
    nodes = [helper.make_node("Constant", [], ["k"], value=constant)]
    names = [*weights, "i", "k"]
    nodes += [helper.make_node("Identity", [name], [f"{name}_out"]) for name in names]
    outputs = [
        helper.make_tensor_value_info(f"{name}_out", INT64 if name == "i" else FLOAT, [None])
        for name in names
    ]
    graph = helper.make_graph(nodes, "g", [], outputs, [*initializers, typed, numbers])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(model: ModelProto, path: Path, *, external: bool = False) -> SourceModel:
    """Save with onnx's own writer, and open."""
    kwargs: dict[str, Any] = {}
    if external:
        kwargs = {"save_as_external_data": True, "location": path.name + "_data"}
        kwargs |= {"size_threshold": 16, "convert_attribute": False}
    copy = ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, **kwargs)
    return open_model(path)


def halved(source: SourceModel, dtype: int = FLOAT16) -> RewrittenModel:
    """The model with every float32 payload (1 KiB and more, or external) made `dtype`."""
    proto = ModelProto()
    proto.CopyFrom(source.proto)
    bounds = CastBounds(0.0, 65504.0)
    jobs = tuple(
        CastJob(ref.name, ref, dtype if ref.dtype == FLOAT else ref.dtype, bounds)
        for ref in source.refs
    )
    for _, tensor in iter_tensors(proto):
        index = payload_index(tensor)
        if index is not None:
            tensor.data_type = jobs[index].dtype
            _retype_output(proto, tensor.name, jobs[index].dtype)
    return RewrittenModel(proto, jobs)


def _retype_output(proto: ModelProto, name: str, dtype: int) -> None:
    for output in proto.graph.output:
        if output.name == f"{name}_out":
            output.type.tensor_type.elem_type = dtype


def unchanged(source: SourceModel) -> RewrittenModel:
    """The identity."""
    jobs = tuple(CastJob(ref.name, ref, ref.dtype) for ref in source.refs)
    return RewrittenModel(source.proto, jobs, identity=True)


def weights_of(path: Path) -> dict[str, NDArray[Any]]:
    """All initializers and the constant of a written model, read by onnx."""
    model = onnx.load(path)
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found["k"] = numpy_helper.to_array(model.graph.node[0].attribute[0].t)
    return found


def check_halved(path: Path, scale: float = 1.0) -> None:
    """That a written file is valid and holds exactly the 16-bit weights."""
    onnx.checker.check_model(str(path))
    found = weights_of(path)
    for name, expected in arrays(scale).items():
        half = found[name]
        assert half.astype(np.float16).tobytes() == expected.astype(np.float16).tobytes(), name
    assert found["k"].dtype == np.float16
    assert (found["i"] == np.arange(500)).all()


def names_in(folder: Path) -> list[str]:
    """What a folder holds, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

"""The ONNX standard's own test models, as the installed onnx package carries them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TypeProto, numpy_helper

__all__ = ["KINDS", "Case", "has_float32", "load_cases"]

# "light" are the networks of the package without their weights, which are made by ConstantOfShape.
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
_LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class Case:
    """A model and one set of inputs, in the order of the graph's or by name."""

    kind: str
    name: str
    model: ModelProto
    inputs: tuple[Any, ...] | dict[str, Any]

    @property
    def feeds(self) -> dict[str, Any]:
        """The inputs by name; those with a default may be missing."""
        if isinstance(self.inputs, dict):
            return self.inputs
        names = [info.name for info in self.model.graph.input]
        return dict(zip(names, self.inputs, strict=False))


@functools.cache
def load_cases(*kinds: str) -> tuple[Case, ...]:
    """All cases of these kinds that have a data set, sorted by name."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the package computes expected results as it loads
        cases = [case for kind in kinds for case in _load_kind(kind)]
    return tuple(sorted(cases, key=lambda case: (case.kind, case.name)))


def _load_kind(kind: str) -> Iterator[Case]:
    from onnx.backend.test.loader import load_model_tests

    if kind == "light":
        yield from map(_light, sorted(_LIGHT.glob("*.onnx")))
        return
    for test in load_model_tests(kind=kind):
        if test.model is not None:
            inputs = next(iter(test.data_sets), ((), ()))[0]
            yield Case(kind, test.name, test.model, tuple(map(_array, inputs)))
        elif test.model_dir is not None:
            yield _read_folder(kind, test.name, Path(test.model_dir))


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _light(path: Path) -> Case:
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    weights = {tensor.name for tensor in model.graph.initializer}
    infos = [info for info in model.graph.input if info.name not in weights]
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in infos}
    inputs = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
    return Case("light", path.stem, model, inputs)


def _read_folder(kind: str, name: str, folder: Path) -> Case:
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    types = [info.type for info in model.graph.input]
    files = [data / f"input_{k}.pb" for k in range(len(types))]
    pairs = zip(files, types, strict=True)
    return Case(kind, name, model, tuple(_read(f, t) for f, t in pairs if f.is_file()))


def _read(path: Path, type_proto: TypeProto) -> Any:
    content = path.read_bytes()
    if type_proto.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if type_proto.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def has_float32(graph: GraphProto) -> bool:
    """Whether an input, output or initializer holds float32."""
    types = [info.type for info in (*graph.input, *graph.output)]
    return any(map(_holds_float, types)) or any(
        tensor.data_type == onnx.TensorProto.FLOAT
        for tensor in (*graph.initializer, *(s.values for s in graph.sparse_initializer))
    )


def _holds_float(proto: TypeProto) -> bool:
    kind = proto.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        return bool(getattr(proto, kind).elem_type == onnx.TensorProto.FLOAT)
    if kind in ("sequence_type", "optional_type"):
        return _holds_float(getattr(proto, kind).elem_type)
    return kind == "map_type" and _holds_float(proto.map_type.value_type)

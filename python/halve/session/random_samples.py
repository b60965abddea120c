"""Random samples for a model that comes with none: its inputs' shapes and ranges are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TypeProto, ValueInfoProto

from halve.errors import SampleError
from halve.session.samples import Sample
from halve.source import open_model

__all__ = ["RandomSampling", "random_samples"]

# Where between the smallest and the largest shape each sample lies. One place for all inputs and
# dimensions, so that those that must be equal (a batch) stay equal. Four, so that one is held out.
_PLACES = (0.0, 1.0, 0.5, 0.75)
# Integers without a range: indices of any table, and masks, may have these.
_INTEGERS = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class RandomSampling:
    """Shapes and ranges by input name.

    Where an input has both a smallest and a largest shape, samples lie between them; where one is
    given they have that; where none is, the model's own shape, which then must be fixed. `ranges`
    are (lowest, highest), both included.
    """

    min_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    max_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seed: int = 0


def random_samples(
    source: str | os.PathLike[str] | ModelProto, sampling: RandomSampling
) -> tuple[Sample, ...]:
    """Four samples, the same for the same model and sampling.

    Floats are normal with mean 0 and variance 1, or uniform in their range; integers are uniform
    in their range or 0 and 1; booleans are either.

    Raises:
        SampleError: a name is no input of the model, an input's shape is neither given nor fixed,
            two shapes of an input do not fit together, a range holds nothing, or an input is not
            a tensor of numbers.
        ModelError: the model cannot be read.
    """
    graph = open_model(source).proto.graph
    defaults = {tensor.name for tensor in graph.initializer}
    inputs = {port.name: port for port in graph.input if port.name not in defaults}
    for name in {**sampling.min_shapes, **sampling.max_shapes, **sampling.ranges}:
        if name not in inputs:
            allowed = ", ".join(map(repr, inputs)) or "none"
            raise SampleError(f"{name!r} is no input of the model; its inputs: {allowed}")
    random = np.random.default_rng(sampling.seed)
    return tuple(
        Sample(i, {name: _array(port, place, sampling, random) for name, port in inputs.items()})
        for i, place in enumerate(_PLACES)
    )


def _array(
    port: ValueInfoProto, place: float, sampling: RandomSampling, random: np.random.Generator
) -> NDArray[Any]:
    shape = _shape(port, place, sampling)
    dtype = _dtype(port)
    low, high = sampling.ranges.get(port.name, _INTEGERS)
    if not low <= high:
        raise SampleError(f"input {port.name!r}: the range {low:g} to {high:g} holds nothing")
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return random.integers(int(low), int(high), shape, endpoint=True).astype(dtype)
    if port.name in sampling.ranges:
        return np.asarray(random.uniform(low, high, shape)).astype(dtype)
    return np.asarray(random.standard_normal(shape)).astype(dtype)


def _dtype(port: ValueInfoProto) -> np.dtype[Any]:
    code = port.type.tensor_type.elem_type if port.type.HasField("tensor_type") else 0
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code))
    except KeyError:
        dtype = np.dtype(object)
    # ml_dtypes's own types, bfloat16 among them, have the kind "V".
    if dtype.kind not in "biufV":
        kind = port.type.WhichOneof("value") or "an unknown type"
        raise SampleError(
            f"input {port.name!r} is no tensor of numbers ({kind}, element type {code}); random "
            "samples cannot be made: give samples with --sample-dir"
        )
    return dtype


def _shape(port: ValueInfoProto, place: float, sampling: RandomSampling) -> tuple[int, ...]:
    smallest = sampling.min_shapes.get(port.name)
    largest = sampling.max_shapes.get(port.name, smallest)
    smallest = largest if smallest is None else smallest
    if smallest is None or largest is None:
        return _fixed_shape(port.name, port.type)
    if len(smallest) != len(largest) or any(a > b for a, b in zip(smallest, largest, strict=True)):
        raise SampleError(
            f"input {port.name!r}: the smallest shape {list(smallest)} and the largest "
            f"{list(largest)} do not fit together; allowed: as many dimensions, none smaller"
        )
    return tuple(a + round(place * (b - a)) for a, b in zip(smallest, largest, strict=True))


def _fixed_shape(name: str, kind: TypeProto) -> tuple[int, ...]:
    tensor = kind.tensor_type
    dims = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    ]
    if not tensor.HasField("shape") or not all(isinstance(dim, int) for dim in dims):
        known = dims if tensor.HasField("shape") else "not known"
        raise SampleError(
            f"input {name!r}: its shape {known} is not fixed; give one with --min-shapes or "
            f"--max-shapes {name}:[...], or samples with --sample-dir"
        )
    return tuple(int(dim) for dim in dims)

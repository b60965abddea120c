"""Random samples: shapes between the given ones, ranges, types, and what cannot be made."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from halve.errors import SampleError
from halve.session.random_samples import RandomSampling, random_samples
from models import BFLOAT16, BOOL, FLOAT, FLOAT16, INT64, Shape, build


def model(inputs: Mapping[str, tuple[int, Shape]]) -> ModelProto:
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    outputs = {f"{name}_out": kind for name, kind in inputs.items()}
    return build(nodes, inputs, outputs)


def test_fixed_shapes_need_nothing() -> None:
    samples = random_samples(
        model({"x": (FLOAT, [2, 3]), "n": (INT64, [5]), "b": (BOOL, []), "h": (FLOAT16, [0])}),
        RandomSampling(),
    )
    assert [sample.id for sample in samples] == [0, 1, 2, 3]
    for sample in samples:
        kinds = {name: (array.dtype, array.shape) for name, array in sample.inputs.items()}
        assert kinds == {
            "x": (np.float32, (2, 3)),
            "n": (np.int64, (5,)),
            "b": (np.bool_, ()),
            "h": (np.float16, (0,)),
        }
        assert sample.outputs is None
    assert len({sample.inputs["x"].tobytes() for sample in samples}) == 4


def test_values_follow_their_ranges() -> None:
    sampling = RandomSampling(ranges={"n": (3, 7), "y": (10.0, 11.0)})
    kinds: dict[str, tuple[int, Shape]] = {
        "n": (INT64, [400]),
        "m": (INT64, [400]),
        "x": (FLOAT, [4000]),
        "y": (FLOAT, [400]),
        "b": (BOOL, [400]),
        "w": (BFLOAT16, [400]),
    }
    inputs = random_samples(model(kinds), sampling)[0].inputs
    assert set(inputs["n"]) == {3, 4, 5, 6, 7}
    assert set(inputs["m"]) == {0, 1}
    assert set(inputs["b"]) == {False, True}
    assert 10 <= inputs["y"].min() < 10.1
    assert 10.9 < inputs["y"].max() <= 11
    assert abs(inputs["x"].mean()) < 0.1
    assert 0.9 < inputs["x"].std() < 1.1
    assert inputs["w"].dtype == ml_dtypes.bfloat16


def test_shapes_lie_between_the_given_ones_together() -> None:
    sampling = RandomSampling({"x": (1, 8), "y": (1,)}, {"x": (5, 8), "y": (5,)})
    found = random_samples(model({"x": (FLOAT, ["n", 8]), "y": (FLOAT, ["n"])}), sampling)
    shapes = [(s.inputs["x"].shape, s.inputs["y"].shape) for s in found]
    assert shapes == [((1, 8), (1,)), ((5, 8), (5,)), ((3, 8), (3,)), ((4, 8), (4,))]


@pytest.mark.parametrize("field", ["min_shapes", "max_shapes"])
def test_one_shape_is_that_of_all(field: str) -> None:
    sampling = RandomSampling(**{field: {"x": (2, 2)}})
    found = random_samples(model({"x": (FLOAT, [None, None])}), sampling)
    assert {sample.inputs["x"].shape for sample in found} == {(2, 2)}


def test_the_seed_decides() -> None:
    made = model({"x": (FLOAT, [4])})
    first, again, other = (
        random_samples(made, RandomSampling(seed=seed))[2].inputs["x"].tobytes()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_an_input_with_a_default_is_left_alone() -> None:
    made = model({"x": (FLOAT, [4]), "w": (FLOAT, ["n"])})
    made.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    assert list(random_samples(made, RandomSampling())[0].inputs) == ["x"]


@pytest.mark.parametrize(
    ("shape", "sampling", "message"),
    [
        (
            [2],
            RandomSampling(ranges={"z": (0, 1)}),
            "no input of the model; its inputs: 'x'",
        ),
        ([2], RandomSampling({"z": (1,)}), "'z' is no input"),
        (
            ["n", 3],
            RandomSampling(),
            r"shape \['n', 3\] is not fixed; give one with --min",
        ),
        (None, RandomSampling(), "'x': its shape not known is not fixed"),
        (["n"], RandomSampling({"x": (4,)}, {"x": (2,)}), "do not fit together"),
        (["n"], RandomSampling({"x": (4,)}, {"x": (4, 4)}), "do not fit together"),
        ([2], RandomSampling(ranges={"x": (2, 1)}), "the range 2 to 1 holds nothing"),
    ],
)
def test_what_does_not_fit_is_named(shape: Shape, sampling: RandomSampling, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        random_samples(model({"x": (FLOAT, shape)}), sampling)


def test_strings_need_samples() -> None:
    made = model({"x": (int(TensorProto.STRING), [2])})
    with pytest.raises(SampleError, match=r"'x' is no tensor of numbers .* --sample-dir"):
        random_samples(made, RandomSampling())

"""Weights in a side file: what is written there is what sessions read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, numpy_helper

from halve.errors import OutputError
from halve.session.weight_store import InlineWeights, WeightStore
from halve.source import open_model
from models import build, tensor

HALVES = {int(TensorProto.FLOAT16): np.float16, int(TensorProto.BFLOAT16): ml_dtypes.bfloat16}


def stored(weights: dict[str, np.ndarray[Any, Any]], folder: Path) -> tuple[Any, WeightStore]:
    """A model of nothing but weights, without its payload, and a store for that."""
    onnx.save(build([], {}, {}, weights), folder / "m.onnx")
    source = open_model(folder / "m.onnx")
    return source.proto, WeightStore(folder, source.refs)


def read(stored_tensor: TensorProto, folder: Path) -> np.ndarray[Any, Any]:
    copy = TensorProto()
    copy.CopyFrom(stored_tensor)
    if copy.data_location == TensorProto.EXTERNAL:
        external_data_helper.load_external_data_for_tensor(copy, str(folder))
    return numpy_helper.to_array(copy)


@pytest.mark.parametrize("elements", [3, 5000, (1 << 20) + 7])
def test_settled_weights_are_those_of_the_model(elements: int, tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal(elements, np.float32)
    proto, store = stored({"a": values, "b": values[::-1].copy()}, tmp_path)
    before = store.array(proto.graph.initializer[1])
    first, second = store.settle(proto).graph.initializer
    np.testing.assert_array_equal(before, values[::-1])
    np.testing.assert_array_equal(read(first, tmp_path), values)
    np.testing.assert_array_equal(read(second, tmp_path), values[::-1])


@pytest.mark.parametrize("code", HALVES)
@pytest.mark.parametrize("elements", [3, 5000, (1 << 20) + 7])
def test_widened_weights_are_the_same_values(code: int, elements: int, tmp_path: Path) -> None:
    words = np.random.default_rng(2).integers(0, 0x7C00, elements, dtype=np.uint16)
    half = words.view(HALVES[code])
    proto, store = stored({"a": half, "b": half}, tmp_path)
    for weights, source in (
        (store, proto.graph.initializer[1]),
        (InlineWeights(), tensor("b", half)),
    ):
        made = weights.widened("wide", source)
        assert (made.name, made.data_type) == ("wide", TensorProto.FLOAT)
        np.testing.assert_array_equal(read(made, tmp_path), np.asarray(half, np.float32))


def test_a_disk_that_is_full_is_told_of(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no device that is always full")
    proto, _ = stored({"a": np.zeros(5000, np.float32)}, tmp_path)
    store = WeightStore(full.parent, open_model(tmp_path / "m.onnx").refs, full.name)
    with pytest.raises(OutputError, match="free some space"):
        store.settle(proto)

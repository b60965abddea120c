"""What a float32 run's values look like, however they are fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from halve.session.observe import ValueStatistics, observe
from halve.session.samples import Sample
from halve.session.weight_store import WeightStore
from halve.source import open_model
from models import FLOAT, build

LENGTH = 40  # of the chain: more values than are fetched before one was seen


def chain(rows: int | str) -> ModelProto:
    """v0 = x + w, and each value twice the one before."""
    nodes = [helper.make_node("Add", ["x", "w"], ["v0"])]
    nodes += [helper.make_node("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(LENGTH - 1)]
    shape = [rows, 300]
    last = {f"v{LENGTH - 1}": (FLOAT, shape)}
    return build(nodes, {"x": (FLOAT, shape)}, last, {"w": np.ones(300, np.float32)})


def seen(model: ModelProto, rows: list[int], folder: Path | None) -> dict[str, ValueStatistics]:
    samples = [Sample(i, {"x": np.full((n, 300), 1.0, np.float32)}) for i, n in enumerate(rows)]
    names = ["w", *(f"v{i}" for i in range(LENGTH))]
    if folder is None:
        return observe(model, names, samples)
    onnx.save(model, folder / "m.onnx")
    source = open_model(folder / "m.onnx")
    proto = ModelProto()
    proto.CopyFrom(source.proto)
    return observe(proto, names, samples, store=WeightStore(folder, source.refs))


@pytest.mark.parametrize("stored", [False, True], ids=["inline", "stored"])
@pytest.mark.parametrize("rows", [[2], [2, 2, 2], [2] * 8], ids=len)
@pytest.mark.parametrize("known", [2, "n"], ids=["shapes", "no shapes"])
def test_every_value_of_every_sample_is_measured(
    known: int | str, rows: list[int], stored: bool, tmp_path: Path
) -> None:
    found = seen(chain(known), rows, tmp_path if stored else None)
    assert set(found) == {"w", "x", *(f"v{i}" for i in range(LENGTH))}
    for i in range(LENGTH):
        item = found[f"v{i}"]
        assert (item.shape, item.elements) == ((2, 300), 600 * len(rows))
        assert item.max_abs == 2.0 ** (i + 1)
        assert item.overflow == (item.elements if 2.0 ** (i + 1) >= 65520 else 0)
    assert (found["w"].shape, found["w"].max_abs) == ((300,), 1.0)


def test_the_largest_shape_is_told(tmp_path: Path) -> None:
    found = seen(chain("n"), [1, 5, 3], None)
    assert found["v0"].shape == (5, 300)
    assert found["v0"].elements == 9 * 300

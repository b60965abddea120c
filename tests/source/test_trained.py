"""Trained models: what a reference reads is what onnx loads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from halve.source import iter_tensors, open_model, payload_index, read_array

MODELS = Path(os.environ.get("HALVE_MODELS", ""))
NAMES = [path.parent.name for path in sorted(MODELS.glob("*/model.onnx"))]

pytestmark = pytest.mark.skipif(
    "HALVE_MODELS" not in os.environ, reason="HALVE_MODELS names no folder of trained models"
)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_equals_what_onnx_loads(name: str) -> None:
    whole = onnx.load(MODELS / name / "model.onnx")
    opened = open_model(MODELS / name / "model.onnx")
    assert opened.refs
    for (_, full), (_, left) in zip(iter_tensors(whole), iter_tensors(opened.proto), strict=True):
        index = payload_index(left)
        if index is None:
            assert full == left
        else:
            expected = onnx.numpy_helper.to_array(full)
            assert np.array_equal(read_array(opened.refs[index]), expected)
    assert open_model(whole).digest == opened.digest

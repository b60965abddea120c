"""Converts a model with another tool, each with the arguments that serve it best.

`python benchmarks/peers.py onnxconverter-common|ort-transformers IN OUT`. Shape inference is off
for both: on models over 2 GiB it fails, and it only costs them time here. The result is saved as
external data, which is the only way in which models of this size can be saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

__all__ = ["PEERS"]


def _onnxconverter_common(source: str) -> onnx.ModelProto:
    from onnxconverter_common.float16 import convert_float_to_float16

    return convert_float_to_float16(onnx.load(source), disable_shape_infer=True)


def _ort_transformers(source: str) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(source, disable_shape_infer=True)


PEERS = {"onnxconverter-common": _onnxconverter_common, "ort-transformers": _ort_transformers}


def _save(model: onnx.ModelProto, target: Path) -> None:
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2 and tensor.data_type != onnx.TensorProto.FLOAT16:
            raise SystemExit(f"{tensor.name} is still of type {tensor.data_type}")
    location = target.name + ".data"
    onnx.save_model(model, target, save_as_external_data=True, location=location)


if __name__ == "__main__":
    peer, model_path, target_path = sys.argv[1:]
    _save(PEERS[peer](model_path), Path(target_path))

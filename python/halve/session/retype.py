"""16-bit tensors, attributes and declarations made float32."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, TypeProto

from halve.errors import DataError
from halve.session.weight_store import Weights, widened
from halve.source import payload_index
from halve.types import DType

__all__ = ["FLOAT", "HALF_CODES", "float_tensor", "retype_attributes", "retype_type"]

FLOAT = int(TensorProto.FLOAT)
HALF_CODES = frozenset({int(DType.FLOAT16), int(DType.BFLOAT16)})

# Integer attributes of ONNX's and ONNX Runtime's ops that carry a type code.
_TYPE_ATTRIBUTES = frozenset(
    {"dtype", "output_dtype", "output_datatype", "softmax_precision", "stash_type", "precision"}
)
_TYPED_DOMAINS = ("", "ai.onnx", "com.microsoft")


def float_tensor(tensor: TensorProto, name: str, weights: Weights) -> TensorProto:
    """A 16-bit tensor's values as float32, exactly, where `weights` puts them.

    Raises:
        DataError: the payload is external, or does not fit the shape.
    """
    if payload_index(tensor) is not None:
        return weights.widened(name, tensor)
    if tensor.data_location == TensorProto.EXTERNAL:
        raise DataError(
            f"tensor {tensor.name!r} has its data in another file; load it first "
            f"(onnx.load_external_data_for_model)"
        )
    shape = tuple(tensor.dims)
    words = _words(tensor)
    if words.size != math.prod(shape):
        raise DataError(
            f"tensor {tensor.name!r} holds {words.size} values; allowed: "
            f"{math.prod(shape)}, as its shape {list(shape)} says"
        )
    return weights.tensor(name, widened(words.reshape(shape), DType(tensor.data_type)))


def _words(tensor: TensorProto) -> NDArray[np.uint16]:
    """The bits of a 16-bit tensor's values. (onnx's own reading of bfloat16 changed over time.)"""
    if not tensor.HasField("raw_data"):
        return np.array(tensor.int32_data, np.int64).astype(np.uint16)
    whole = len(tensor.raw_data) // 2 * 2
    return np.frombuffer(tensor.raw_data[:whole], "<u2").astype(np.uint16)


def retype_attributes(node: NodeProto, weights: Weights) -> None:
    """Make float32 what a node's attributes say or hold of 16-bit floats."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR and attribute.t.data_type in HALF_CODES:
            attribute.t.CopyFrom(float_tensor(attribute.t, attribute.t.name, weights))
        elif _carries_half(node, attribute):
            attribute.i = FLOAT
        elif attribute.type == AttributeProto.TYPE_PROTO:
            retype_type(attribute.tp)


def retype_type(proto: TypeProto) -> None:
    """Make float32 the 16-bit elements of a declared type."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type" and proto.tensor_type.elem_type in HALF_CODES:
        proto.tensor_type.elem_type = FLOAT
    elif kind == "sequence_type":
        retype_type(proto.sequence_type.elem_type)
    elif kind == "optional_type":
        retype_type(proto.optional_type.elem_type)


def _carries_half(node: NodeProto, attribute: AttributeProto) -> bool:
    return (
        attribute.type == AttributeProto.INT
        and attribute.name in _TYPE_ATTRIBUTES
        and attribute.i in HALF_CODES
        and node.domain in _TYPED_DOMAINS
    )

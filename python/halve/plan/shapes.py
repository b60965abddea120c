"""Shapes, where onnx can infer them. Nothing needs them: they weigh casts and shorten new forms."""

from __future__ import annotations

from google.protobuf.message import EncodeError
from onnx import ModelProto, checker, shape_inference

__all__ = ["with_shapes"]

# What onnx raises for what it cannot infer, for a malformed model, and for one beyond 2 GiB.
_ODD = (
    shape_inference.InferenceError,
    checker.ValidationError,
    EncodeError,
    RuntimeError,
    TypeError,
    ValueError,
)


def with_shapes(proto: ModelProto) -> ModelProto:
    """The model with what shape inference finds, or as it is where that fails."""
    try:
        return shape_inference.infer_shapes(proto)
    except _ODD:
        return proto

"""The types of ONNX Runtime's values, as a model declares them."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

from typing import Any

from onnx import TypeProto

from halve.errors import SessionError, UnsupportedModelError

__all__ = ["type_of"]


def type_of(value: Any, name: str) -> TypeProto:
    """The type of a value that is fed to a part, without its shape.

    Raises:
        SessionError: there is no value.
        UnsupportedModelError: it is neither a tensor nor a sequence of tensors.
    """
    if value is None:
        raise SessionError(f"twin run: {name!r} is read before it is made")
    kind = TypeProto()
    _fill_type(kind, value.data_type(), name)
    return kind


def _fill_type(kind: TypeProto, text: str, name: str) -> None:
    """A type from ONNX Runtime's spelling of it: "tensor(float)", "seq(tensor(int64))"."""
    outer, _, inner = text.removesuffix(")").partition("(")
    if outer == "tensor":
        kind.tensor_type.elem_type = _ELEMENTS[inner]
    elif outer == "seq":
        _fill_type(kind.sequence_type.elem_type, inner, name)
    else:
        raise UnsupportedModelError(
            f"value {name!r} is {text}; allowed where a model is run in parts: tensors and"
            " sequences of them"
        )


_ELEMENTS = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
    "string": 8, "bool": 9, "float16": 10, "double": 11, "uint32": 12, "uint64": 13,
    "complex64": 14, "complex128": 15, "bfloat16": 16,
}  # fmt: skip

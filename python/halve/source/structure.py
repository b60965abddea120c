"""Copy a ModelProto that is too large to be serialised: its structure, then payload by payload."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import ModelProto, TensorProto

from halve._native.wire import DOUBLE_DATA, FLOAT_DATA, RAW_DATA, THRESHOLD_BYTES
from halve.source.payload import packed
from halve.source.tensors import add_payload

__all__ = ["without_payload"]

# Messages that may hold tensors; all others are copied whole.
_BRANCHES = {
    "GraphProto",
    "NodeProto",
    "AttributeProto",
    "SparseTensorProto",
    "TensorProto",
    "FunctionProto",
    "TrainingInfoProto",
}
_PAYLOADS = {"raw_data": RAW_DATA, "float_data": FLOAT_DATA, "double_data": DOUBLE_DATA}
_ITEM_BYTES = {"raw_data": 1, "float_data": 4, "double_data": 8}
_FIXED = {1: "<Q", 5: "<I"}


def without_payload(
    source: ModelProto, threshold: int = THRESHOLD_BYTES
) -> tuple[ModelProto, list[tuple[int, bytes]]]:
    """A copy of `source` whose tensors of `threshold` bytes and more give up their payload.

    Returns the copy and, by PAYLOAD_KEY index, the TensorProto field and the payload's bytes.
    Unknown fields and strings that are not valid UTF-8 are kept.
    """
    copy = ModelProto()
    payloads: list[tuple[int, bytes]] = []
    _copy(source, copy, threshold, payloads)
    return copy, payloads


def _copy(
    source: Message, target: Message, threshold: int, payloads: list[tuple[int, bytes]]
) -> None:
    # Asked for once: protobuf copies raw_data each time that it is looked at.
    fields = source.ListFields()
    elided = _elided(fields, threshold) if isinstance(source, TensorProto) else {}
    for field, value in fields:
        if field.name in elided:
            continue
        if field.message_type is None or field.message_type.name not in _BRANCHES:
            _copy_leaf(target, field, value)
        elif isinstance(value, Message):
            child = getattr(target, field.name)
            child.SetInParent()
            _copy(value, child, threshold, payloads)
        else:
            for item in value:
                _copy(item, getattr(target, field.name).add(), threshold, payloads)
    _copy_unknown(source, target)
    for name, value in elided.items():
        add_payload(target, len(payloads))
        data = value if isinstance(value, bytes) else packed(source, name)
        payloads.append((_PAYLOADS[name], data))


def _elided(fields: Iterable[tuple[FieldDescriptor, Any]], threshold: int) -> dict[str, Any]:
    """The payload fields of a tensor that is to give them up, with their values."""
    present = {field.name: value for field, value in fields if field.name in _PAYLOADS}
    nbytes = sum(len(value) * _ITEM_BYTES[name] for name, value in present.items())
    return present if nbytes >= threshold else {}


def _copy_leaf(
    target: Message,
    field: FieldDescriptor,
    value: Any,  # noqa: ANN401 - what the descriptor says
) -> None:
    if isinstance(value, Message):
        getattr(target, field.name).CopyFrom(value)
    elif field.type == FieldDescriptor.TYPE_STRING:
        _copy_strings(target, field.number, [value] if isinstance(value, (str, bytes)) else value)
    elif isinstance(value, (bytes, int, float)):
        setattr(target, field.name, value)
    else:
        getattr(target, field.name).MergeFrom(value)


def _copy_strings(target: Message, number: int, values: Iterable[str | bytes]) -> None:
    # Encoded by hand: protobuf parses strings that are not valid UTF-8 but lets none be set.
    for item in values:
        data = item.encode() if isinstance(item, str) else item
        target.MergeFromString(_header(number, 2) + _varint(len(data)) + data)


def _copy_unknown(source: Message, target: Message) -> None:
    unknown = _encode(UnknownFieldSet(source))
    if unknown:
        target.MergeFromString(unknown)


def _encode(fields: UnknownFieldSet) -> bytes:
    parts = []
    for field in fields:
        parts.append(_header(field.field_number, field.wire_type))
        if field.wire_type == 0:
            parts.append(_varint(field.data))
        elif field.wire_type == 2:
            parts.append(_varint(len(field.data)) + field.data)
        elif field.wire_type == 3:
            parts.append(_encode(field.data) + _header(field.field_number, 4))
        else:
            parts.append(struct.pack(_FIXED[field.wire_type], field.data))
    return b"".join(parts)


def _header(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

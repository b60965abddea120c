"""Serialised ModelProtos written by hand: every encoding that protobuf reads, not only its own."""

from __future__ import annotations

import random
import struct

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from onnx import ModelProto

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
_MAX_LEVELS = 9


def varint(value: int, width: int = 0) -> bytes:
    """`value` in at least `width` bytes: protobuf reads longer encodings than it writes."""
    out = bytearray()
    while value >= 0x80 or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, kind: int, width: int = 0) -> bytes:
    return varint(number << 3 | kind, width)


def block(number: int, content: bytes, width: int = 0) -> bytes:
    """A length-delimited field."""
    return tag(number, BYTES) + varint(len(content), width) + content


def group(number: int, content: bytes) -> bytes:
    return tag(number, GROUP) + content + tag(number, GROUP_END)


class ModelWriter:
    """Writes random ModelProtos: fields in any order and number, packed and unpacked, lengths and
    tags longer than needed (`longer`), unknown fields and groups, known fields with other wire
    types.
    """

    def __init__(self, seed: int, *, longer: bool = True) -> None:
        self.random = random.Random(seed)
        self.longer = longer

    def model(self) -> bytes:
        return self.message(ModelProto.DESCRIPTOR, 0)

    def message(self, kind: Descriptor, level: int) -> bytes:
        fields = list(kind.fields)
        # Favour what leads to tensors, or most models would have none.
        weights = [6 if _leads_to_tensors(f) else 1 for f in fields]
        count = self.random.randrange(1, 6 if level < 4 else 4)
        chosen = self.random.choices(fields, weights, k=count)
        parts = [self.field(field, level) for field in chosen]
        if self.random.random() < 0.2:
            parts.append(self.unknown())
        self.random.shuffle(parts)
        return b"".join(parts)

    def field(self, field: FieldDescriptor, level: int) -> bytes:
        if self.random.random() < 0.04:
            return self.mistyped(field)
        if field.message_type is not None:
            if level >= _MAX_LEVELS:
                return b""
            content = self.message(field.message_type, level + 1)
            return block(field.number, content, self.random.choice((0, 0, 0, 3, 5)))
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            size = self.random.choice((0, 1, 5, 40, 200))
            return block(field.number, self.random.randbytes(size))
        if field.is_repeated and self.random.random() < 0.6:
            content = b"".join(self.scalar(field) for _ in range(self.random.randrange(30)))
            return block(field.number, content)
        count = self.random.randrange(1, 30) if field.is_repeated else 1
        return b"".join(self.item(field) for _ in range(count))

    def item(self, field: FieldDescriptor) -> bytes:
        width = 3 if self.longer and self.random.random() < 0.1 else 0
        return tag(field.number, _wire_type(field), width) + self.scalar(field)

    def scalar(self, field: FieldDescriptor) -> bytes:
        kind = _wire_type(field)
        if kind == VARINT:
            return varint(self.random.choice((0, 1, 2, 300, 2**31, 2**63)))
        return self.random.randbytes(4 if kind == FIXED32 else 8)

    def mistyped(self, field: FieldDescriptor) -> bytes:
        return group(field.number, self.unknown())

    def unknown(self) -> bytes:
        number = self.random.choice((99, 1000, 2**29 - 1))
        match self.random.randrange(5):
            case 0:
                return tag(number, VARINT) + varint(self.random.getrandbits(64))
            case 1:
                return tag(number, FIXED32) + struct.pack("<I", self.random.getrandbits(32))
            case 2:
                return tag(number, FIXED64) + struct.pack("<Q", self.random.getrandbits(64))
            case 3:
                return block(number, self.random.randbytes(self.random.randrange(50)))
            case _:
                return group(number, self.unknown() + self.unknown())


def _leads_to_tensors(field: FieldDescriptor) -> bool:
    if field.message_type is not None:
        names = ("Graph", "Node", "Attribute", "Sparse", "Tensor", "Function", "Training")
        return field.message_type.name in {f"{name}Proto" for name in names} | {
            "SparseTensorProto",
            "TrainingInfoProto",
        }
    return field.name in ("raw_data", "float_data", "double_data")


def _wire_type(field: FieldDescriptor) -> int:
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32):
        return FIXED32
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64):
        return FIXED64
    return VARINT

"""Names of values as protobuf holds them, those that are not valid UTF-8 included.

protobuf hands such a name out as bytes and refuses it when it is set; it takes it in serialised
form, which is how it is put here.
"""

from __future__ import annotations

from onnx import AttributeProto, FunctionProto, NodeProto, ValueInfoProto

__all__ = ["append_name", "replace_name", "set_name", "stem"]

# Field numbers of onnx.proto: NodeProto.input and output, FunctionProto.output, and names.
_FIELDS = {
    (NodeProto, "input"): 1,
    (NodeProto, "output"): 2,
    (FunctionProto, "output"): 5,
    (AttributeProto, "name"): 1,
    (ValueInfoProto, "name"): 1,
}


def stem(name: str | bytes) -> str:
    """A name made fit to begin a new one: bytes that are not UTF-8 become escapes."""
    return name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")


def append_name(message: NodeProto | FunctionProto, field: str, name: str | bytes) -> None:
    """Append to a repeated name field."""
    if isinstance(name, str):
        getattr(message, field).append(name)
    else:
        message.MergeFromString(_encoded(_FIELDS[type(message), field], name))


def replace_name(
    message: NodeProto | FunctionProto, field: str, slot: int, name: str | bytes
) -> None:
    """Replace one entry of a repeated name field."""
    names: list[str | bytes] = list(getattr(message, field))
    if isinstance(name, str):
        getattr(message, field)[slot] = name
        return
    names[slot] = name
    message.ClearField(field)
    for each in names:
        append_name(message, field, each)


def set_name(message: AttributeProto | ValueInfoProto, name: str | bytes) -> None:
    """Set the name of an attribute or a ValueInfoProto."""
    if isinstance(name, str):
        message.name = name
    else:
        message.MergeFromString(_encoded(_FIELDS[type(message), "name"], name))


def _encoded(field: int, name: bytes) -> bytes:
    """One length-delimited field of the wire format."""
    size, length = len(name), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([field << 3 | 2]) + bytes(length) + name

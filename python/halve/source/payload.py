"""A tensor's payload: its size, where it lies, and its bytes when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from io import RawIOBase
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto, numpy_helper

from halve._native.wire import DOUBLE_DATA, FLOAT_DATA, RAW_DATA
from halve.errors import DataError, ModelError
from halve.source.tensors import text
from halve.types import DType, Span, TensorRef

__all__ = [
    "check_inline",
    "check_size",
    "data_size",
    "inline_ref",
    "packed",
    "payload_array",
    "payload_pieces",
    "read_array",
    "read_payload",
    "shape_of",
]

# Bits an element by TensorProto.DataType code, up to the newest one known; strings have none.
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    **dict.fromkeys((27, 28), 6),
}
_NUMPY: dict[int, np.dtype[Any]] = {
    DType.FLOAT: np.dtype("<f4"),
    DType.UINT8: np.dtype("u1"),
    DType.INT8: np.dtype("i1"),
    DType.UINT16: np.dtype("<u2"),
    DType.INT16: np.dtype("<i2"),
    DType.INT32: np.dtype("<i4"),
    DType.INT64: np.dtype("<i8"),
    DType.BOOL: np.dtype("?"),
    DType.FLOAT16: np.dtype("<f2"),
    DType.DOUBLE: np.dtype("<f8"),
    DType.UINT32: np.dtype("<u4"),
    DType.UINT64: np.dtype("<u8"),
    DType.COMPLEX64: np.dtype("<c8"),
    DType.COMPLEX128: np.dtype("<c16"),
    DType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
_NEWEST = max(_BITS)
_FIELD_NAMES = {RAW_DATA: "raw_data", FLOAT_DATA: "float_data", DOUBLE_DATA: "double_data"}
# The element types that a field may hold; raw_data holds any.
_FIELD_DTYPES = {
    FLOAT_DATA: (DType.FLOAT, DType.COMPLEX64),
    DOUBLE_DATA: (DType.DOUBLE, DType.COMPLEX128),
}
_HALF_TYPES = (DType.FLOAT16, DType.BFLOAT16)


def data_size(dtype: int, shape: Sequence[int]) -> int | None:
    """Bytes that a tensor takes as raw_data or in a file; None where the type tells no size
    (strings, UNDEFINED, types newer than known). Types of less than a byte are packed.
    """
    bits = _BITS.get(dtype)
    return None if bits is None else (math.prod(shape) * bits + 7) // 8


def check_size(tensor: TensorProto, field: int, nbytes: int, where: str) -> None:
    """Check an embedded payload against the tensor's type and shape.

    Raises:
        DataError: its size is not what they ask for, or the field cannot hold the type.
    """
    name = _FIELD_NAMES[field]
    shape = shape_of(tensor, where)
    allowed = _FIELD_DTYPES.get(field)
    if allowed is not None and tensor.data_type not in allowed and tensor.data_type <= _NEWEST:
        raise DataError(
            f"{where}: payload in {name} with element type {_type_name(tensor.data_type)}; allowed "
            f"there: {', '.join(map(_type_name, allowed))}; export the model again"
        )
    expected = data_size(tensor.data_type, shape)
    if expected is not None and nbytes != expected:
        raise DataError(
            f"{where}: {name} has {nbytes} bytes; shape {list(shape)} of type "
            f"{_type_name(tensor.data_type)} needs {expected}; export the model again"
        )


def check_inline(tensor: TensorProto, where: str) -> None:
    """Check a payload that stayed in the proto; integers and strings are left to their readers.

    Raises:
        DataError: as `check_size`.
    """
    if tensor.float_data:
        check_size(tensor, FLOAT_DATA, 4 * len(tensor.float_data), where)
    elif tensor.double_data:
        check_size(tensor, DOUBLE_DATA, 8 * len(tensor.double_data), where)
    elif tensor.HasField("raw_data"):
        check_size(tensor, RAW_DATA, len(tensor.raw_data), where)


def shape_of(tensor: TensorProto, where: str) -> tuple[int, ...]:
    """The tensor's shape.

    Raises:
        ModelError: a dimension is negative.
    """
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ModelError(
            f"{where}: shape {list(shape)} has a negative dimension; allowed: 0 or more; "
            "export the model again"
        )
    return shape


def inline_ref(tensor: TensorProto, where: str) -> TensorRef:
    """A reference to the payload of a tensor that kept it: raw_data, float_data, double_data, or
    int32_data that holds float16 or bfloat16 (field 9 then: the bytes are as in raw_data).

    The reference has its own copy of the bytes; NaN payloads are exact.

    Raises:
        DataError: the payload is in another field, missing, or not of the size that type and
            shape ask for.
    """
    field, data = _inline_bytes(tensor, where)
    check_size(tensor, field, len(data), where)
    spans = (Span(0, len(data)),) if data else ()
    shape = tuple(tensor.dims)
    name = text(tensor.name)
    return TensorRef(name, tensor.data_type, shape, data, spans, len(data), field, where)


def _inline_bytes(tensor: TensorProto, where: str) -> tuple[int, bytes]:
    if tensor.HasField("raw_data"):
        return RAW_DATA, tensor.raw_data
    if tensor.float_data:
        return FLOAT_DATA, packed(tensor, "float_data")
    if tensor.double_data:
        return DOUBLE_DATA, packed(tensor, "double_data")
    if tensor.int32_data and tensor.data_type in _HALF_TYPES:
        return RAW_DATA, np.asarray(tensor.int32_data, np.int32).astype("<u2").tobytes()
    if data_size(tensor.data_type, shape_of(tensor, where)) == 0:
        return RAW_DATA, b""
    raise DataError(
        f"{where}: no payload in raw_data, float_data or double_data; element type "
        f"{_type_name(tensor.data_type)}, shape {list(tensor.dims)}; export the model again"
    )


def packed(tensor: TensorProto, field: str) -> bytes:
    """The bytes of float_data or double_data, NaN payloads included."""
    # Through protobuf's own encoding, not through Python floats, which quiet signalling NaNs.
    alone = TensorProto()
    values = getattr(alone, field)
    values.MergeFrom(getattr(tensor, field))
    data: bytes = alone.SerializeToString()
    return data[-len(values) * (4 if field == "float_data" else 8) :]


def read_payload(ref: TensorRef) -> bytes:
    """The payload's bytes, little-endian, `ref.nbytes` of them.

    Raises:
        DataError: the file cannot be read or ends before the payload does.
    """
    if isinstance(ref.origin, bytes):
        data = memoryview(ref.origin)
        parts = [_plain(data[s.offset : s.offset + _extent(s)], s) for s in ref.spans]
    else:
        parts = _read_file(ref, ref.origin)
    payload = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(payload) != ref.nbytes:
        raise _short(ref, len(payload))
    return payload


def read_array(ref: TensorRef) -> np.ndarray[Any, np.dtype[Any]]:
    """The tensor as an array of its shape and type (ml_dtypes where numpy has none); read-only.

    Types of less than a byte come one element a byte.

    Raises:
        DataError: the payload cannot be read, or the type has no size.
    """
    return payload_array(ref, read_payload(ref))


def payload_array(ref: TensorRef, payload: bytes | memoryview) -> np.ndarray[Any, np.dtype[Any]]:
    """As `read_array`, of a payload that is there already, whose memory the array uses.

    Raises:
        DataError: the type has no size.
    """
    dtype = _NUMPY.get(ref.dtype)
    if dtype is not None:
        return np.frombuffer(payload, dtype).reshape(ref.shape)
    if data_size(ref.dtype, ref.shape) is None:
        raise DataError(f"{ref.where}: element type {_type_name(ref.dtype)} has no array form")
    data = bytes(payload)
    return numpy_helper.to_array(TensorProto(dims=ref.shape, data_type=ref.dtype, raw_data=data))


def payload_pieces(ref: TensorRef, piece_bytes: int) -> Iterator[memoryview]:
    """The payload's bytes in order, `piece_bytes` at a time but for the last piece.

    A piece is good until the next one is asked for: in pieces that stay in the caches a payload
    takes a fraction of the time that it takes as a whole.

    Raises:
        DataError: as `read_payload`.
    """
    if isinstance(ref.origin, bytes) or any(span.item for span in ref.spans):
        whole = memoryview(read_payload(ref))
        for start in range(0, len(whole), piece_bytes):
            yield whole[start : start + piece_bytes]
        return
    done = 0
    try:
        with ref.origin.open("rb", buffering=0) as file:
            for piece in _file_pieces(file, ref.spans, bytearray(min(piece_bytes, ref.nbytes))):
                done += len(piece)
                yield piece
    except OSError as error:
        raise _unreadable(ref, ref.origin, error) from error
    if done != ref.nbytes:
        raise _short(ref, done)


def _file_pieces(file: RawIOBase, spans: Sequence[Span], room: bytearray) -> Iterator[memoryview]:
    """What spans without tags hold, the room full of it at a time; less where the file ends."""
    view, filled = memoryview(room), 0
    for span in spans:
        file.seek(span.offset)
        left = span.nbytes
        while left and (count := file.readinto(view[filled : filled + left])):
            left -= count
            filled += count
            if filled == len(room):
                yield view
                filled = 0
    if filled:
        yield view[:filled]


def _extent(span: Span) -> int:
    """Bytes from the span's offset to its end, tags between items included."""
    tags = span.nbytes // span.item - 1 if span.item else 0
    return span.nbytes + tags


def _plain(data: memoryview | bytes, span: Span) -> bytes:
    if not span.item or len(data) != _extent(span):
        return bytes(data)
    # One byte more makes it rows of an item and a tag.
    rows = np.frombuffer(bytes(data) + b"\0", np.uint8).reshape(-1, span.item + 1)
    return rows[:, : span.item].tobytes()


def _read_file(ref: TensorRef, path: Path) -> list[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            return [_plain(_read_span(file, span), span) for span in ref.spans]
    except OSError as error:
        raise _unreadable(ref, path, error) from error


def _unreadable(ref: TensorRef, path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: {ref.where}: cannot be read: {error.strerror}")


def _read_span(file: RawIOBase, span: Span) -> bytes:
    file.seek(span.offset)
    parts: list[bytes] = []
    left = _extent(span)
    # One read returns 2 GiB at most.
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _short(ref: TensorRef, received: int) -> DataError:
    place = ref.origin if isinstance(ref.origin, Path) else "the model in memory"
    offset = ref.spans[0].offset if ref.spans else 0
    return DataError(
        f"{place}: {ref.where}, byte {offset}: {received} bytes were read where {ref.nbytes} are "
        "needed; the file may have changed since the model was opened: open it again"
    )


def _type_name(dtype: int) -> str:
    try:
        return str(TensorProto.DataType.Name(dtype))
    except ValueError:
        return f"number {dtype}"

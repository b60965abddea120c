"""Sizes, references to payload that stayed in the proto, and reading payload."""

from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from wire_bytes import FIXED32, FIXED64, block, tag

from halve.errors import DataError
from halve.source import (
    data_size,
    inline_ref,
    payload_index,
    payload_pieces,
    read_array,
    read_payload,
    set_payload,
)
from halve.types import DType, Span, TensorRef


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes"),
    [
        (DType.FLOAT, (), 4),
        (DType.FLOAT, (0, 5), 0),
        (DType.FLOAT, (1 << 20, 1 << 20), 1 << 42),
        (DType.BFLOAT16, (3,), 6),
        (DType.COMPLEX128, (2,), 32),
        (TensorProto.UINT4, (3,), 2),
        (TensorProto.FLOAT4E2M1, (4,), 2),
        (TensorProto.FLOAT8E5M2, (3,), 3),
        (DType.STRING, (3,), None),
        (DType.UNDEFINED, (3,), None),
        (1000, (3,), None),
    ],
)
def test_data_size(dtype: int, shape: tuple[int, ...], nbytes: int | None) -> None:
    assert data_size(dtype, shape) == nbytes


def test_data_size_agrees_with_onnx_for_every_type_it_knows() -> None:
    for code in TensorProto.DataType.values():
        if code in (TensorProto.UNDEFINED, TensorProto.STRING):
            continue
        zeros = np.zeros(17, helper.tensor_dtype_to_np_dtype(code))
        assert data_size(code, (17,)) == len(numpy_helper.from_array(zeros).raw_data), code


SIGNALLING = b"\x01\x00\x80\x7f"


@pytest.mark.parametrize(
    ("tensor", "field", "payload"),
    [
        (TensorProto(data_type=1, dims=[2], raw_data=b"abcdefgh"), 9, b"abcdefgh"),
        (TensorProto(data_type=1, dims=[2], float_data=[1, 2]), 4, struct.pack("<2f", 1, 2)),
        (TensorProto(data_type=11, dims=[1], double_data=[0.1]), 10, struct.pack("<d", 0.1)),
        (TensorProto(data_type=10, dims=[2], int32_data=[0x3C00, 0xFC00]), 9, b"\0\x3c\0\xfc"),
        (TensorProto(data_type=16, dims=[1], int32_data=[0x3F80]), 9, b"\x80\x3f"),
        (TensorProto(data_type=1, dims=[0]), 9, b""),
        (TensorProto.FromString(b"\x08\x01\x10\x01" + block(4, SIGNALLING)), 4, SIGNALLING),
        (TensorProto(data_type=14, dims=[1], float_data=[1, 2]), 4, struct.pack("<2f", 1, 2)),
    ],
)
def test_inline_ref(tensor: TensorProto, field: int, payload: bytes) -> None:
    tensor.name = "t"
    before = tensor.SerializeToString()
    ref = inline_ref(tensor, "somewhere")
    assert (ref.name, ref.field, ref.where, ref.nbytes) == ("t", field, "somewhere", len(payload))
    assert ref.shape == tuple(tensor.dims)
    assert read_payload(ref) == payload
    assert tensor.SerializeToString() == before


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (TensorProto(data_type=1, dims=[2]), "no payload in raw_data"),
        (TensorProto(data_type=7, dims=[2], int64_data=[1, 2]), "element type INT64"),
        (TensorProto(data_type=1, dims=[2], float_data=[1]), "4 bytes.*needs 8"),
        (TensorProto(data_type=10, dims=[2], int32_data=[1]), "2 bytes.*needs 4"),
    ],
)
def test_inline_ref_refuses(tensor: TensorProto, words: str) -> None:
    with pytest.raises(DataError, match=words):
        inline_ref(tensor, "somewhere")


def test_set_payload_replaces_every_other_form() -> None:
    tensor = TensorProto(name="w", data_type=1, dims=[1], doc_string="kept", float_data=[1])
    tensor.metadata_props.add(key="a", value="b")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    set_payload(tensor, 7)
    set_payload(tensor, 8)
    assert payload_index(tensor) == 8
    expected = TensorProto(name="w", data_type=1, dims=[1], doc_string="kept")
    expected.metadata_props.add(key="a", value="b")
    expected.external_data.add(key="halve.payload", value="8")
    assert tensor == expected


def reference(origin: Path | bytes, *spans: Span, dtype: int = 1) -> TensorRef:
    nbytes = sum(span.nbytes for span in spans)
    shape = (nbytes // 4,)
    return TensorRef("w", dtype, shape, origin, spans, nbytes, 9, "the tensor w")


@pytest.mark.parametrize("on_disk", [False, True])
def test_reading_pieces_in_order(tmp_path: Path, on_disk: bool) -> None:
    parts = [struct.pack("<f", number) for number in range(4)]
    runs = b"".join(tag(4, FIXED32) + part for part in parts[:3])
    data = b"head" + runs + b"gap" + parts[3]
    path = tmp_path / "data"
    path.write_bytes(data)
    spans = Span(5, 12, 4), Span(len(data) - 4, 4)
    ref = reference(path if on_disk else data, *spans)
    assert read_array(ref).tolist() == [0, 1, 2, 3]


def test_doubles_in_a_run() -> None:
    data = b"".join(tag(10, FIXED64) + struct.pack("<d", number) for number in (1.5, 2.5))
    ref = TensorRef("w", 11, (2,), data, (Span(1, 16, 8),), 16, 10, "w")
    assert read_array(ref).tolist() == [1.5, 2.5]


@pytest.mark.parametrize("span", [Span(0, 40), Span(0, 40, 4)])
def test_a_file_that_shrank_since_it_was_opened(tmp_path: Path, span: Span) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(39))
    with pytest.raises(DataError, match=r"39 bytes were read where 40 are needed.*open it again"):
        read_payload(reference(path, span))
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_payload(reference(path, span))


def test_reading_bfloat16_and_nibbles() -> None:
    ref = TensorRef("w", DType.BFLOAT16, (2,), b"\x80\x3f\x00\x40", (Span(0, 4),), 4, 9, "w")
    assert read_array(ref).dtype == ml_dtypes.bfloat16
    assert read_array(ref).astype(np.float32).tolist() == [1, 2]
    packed = TensorRef("w", TensorProto.INT4, (3,), b"\x21\x0f", (Span(0, 2),), 2, 9, "w")
    assert read_array(packed).astype(int).tolist() == [1, 2, -1]
    with pytest.raises(DataError, match="has no array form"):
        read_array(TensorRef("w", 99, (1,), b"a", (Span(0, 1),), 1, 9, "w"))


@pytest.mark.parametrize("piece_bytes", [1, 4, 7, 1 << 20])
@pytest.mark.parametrize("item", [0, 4], ids=["whole", "between tags"])
def test_pieces_are_the_payload_whatever_their_size(
    piece_bytes: int, item: int, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(100)))
    spans = (Span(3, 8, item), Span(20, 0), Span(40, 12, item))
    for origin in (path, path.read_bytes()):
        ref = TensorRef("w", DType.FLOAT, (5,), origin, spans, 20, 9, "tensor 'w'")
        pieces = [bytes(piece) for piece in payload_pieces(ref, piece_bytes)]
        assert b"".join(pieces) == read_payload(ref)
        assert {len(piece) for piece in pieces[:-1]} <= {piece_bytes}


def test_pieces_of_a_file_that_ends_early_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(10))
    ref = TensorRef("w", DType.FLOAT, (5,), path, (Span(0, 20),), 20, 0, "tensor 'w'")
    with pytest.raises(DataError, match="10 bytes were read where 20"):
        list(payload_pieces(ref, 4))
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        list(payload_pieces(ref, 4))

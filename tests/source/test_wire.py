"""elide and splice against protobuf's own parse."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterator

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto
from wire_bytes import FIXED32, FIXED64, ModelWriter, block, group, tag, varint

from halve._native.wire import Layout, Payload, elide_bytes, elide_file, initializers, splice
from halve.errors import ModelError
from halve.source import iter_tensors
from halve.source.payload import packed
from halve.source.tensors import clear_payload, payload_indices, text
from halve.types import PAYLOAD_KEY, Span

SEEDS = st.integers(0, 2**64 - 1)
FIELDS = {"raw_data": 9, "float_data": 4, "double_data": 10}
many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def content(data: bytes, payload: Payload) -> bytes:
    return b"".join(span_bytes(data, span) for span in payload.spans)


def span_bytes(data: bytes, span: Span) -> bytes:
    if not span.item:
        return data[span.offset : span.offset + span.nbytes]
    starts = range(span.offset, span.offset + span.nbytes // span.item * (span.item + 1))
    return b"".join(data[at : at + span.item] for at in starts[:: span.item + 1])


def assemble(layout: Layout, contents: list[bytes]) -> bytes:
    out = b""
    for offset, piece in layout.pieces:
        assert offset == len(out)
        out += piece if isinstance(piece, bytes) else contents[piece]
    assert len(out) == layout.nbytes
    return out


def payload_of(tensor: TensorProto) -> dict[str, bytes]:
    """The three payload fields as protobuf understood them."""
    return {
        "raw_data": tensor.raw_data,
        "float_data": packed(tensor, "float_data") if tensor.float_data else b"",
        "double_data": packed(tensor, "double_data") if tensor.double_data else b"",
    }


def restored(tensor: TensorProto, data: bytes, payloads: tuple[Payload, ...]) -> dict[str, bytes]:
    """The same, from the places that elide reports."""
    found = dict.fromkeys(FIELDS, b"")
    for index in payload_indices(tensor):
        piece = payloads[index]
        name = next(name for name, number in FIELDS.items() if number == piece.field)
        before = b"" if name == "raw_data" else found[name]
        found[name] = before + content(data, piece)
    return found


def walk(message: Message) -> Iterator[TensorProto]:
    """Every tensor of a message, found by reflection."""
    if isinstance(message, TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                yield from walk(child)


@many
@given(SEEDS, st.sampled_from([0, 1, 16, 100, 1024]))
def test_every_place_and_byte_is_what_protobuf_parses(seed: int, threshold: int) -> None:
    data = ModelWriter(seed).model()
    whole = ModelProto.FromString(data)
    skeleton, payloads = elide_bytes(data, "model", threshold=threshold)
    bare = ModelProto.FromString(skeleton)
    seen: Counter[int] = Counter()
    for (where, full), (same, left) in zip(iter_tensors(whole), iter_tensors(bare), strict=True):
        assert where == same
        indices = payload_indices(left)
        seen.update(indices)
        if not indices:
            assert full == left
            assert threshold == 0 or sum(map(len, payload_of(full).values())) < threshold
            continue
        assert restored(left, data, payloads) == payload_of(full)
        assert payload_of(left) == dict.fromkeys(FIELDS, b"")
        _same_but_for_payload(full, left)
    assert seen == Counter(range(len(payloads)))


def _same_but_for_payload(full: TensorProto, left: TensorProto) -> None:
    entries = [entry for entry in left.external_data if entry.key != PAYLOAD_KEY]
    assert entries == list(full.external_data)
    first, second = TensorProto(), TensorProto()
    first.CopyFrom(full)
    second.CopyFrom(left)
    for tensor in (first, second):
        for field in (*FIELDS, "external_data"):
            tensor.ClearField(field)
    assert first.SerializeToString() == second.SerializeToString()


@many
@given(SEEDS, st.sampled_from([1, 16, 100]))
def test_splice_undoes_elide(seed: int, threshold: int) -> None:
    data = ModelWriter(seed).model()
    skeleton, payloads = elide_bytes(data, "model", threshold=threshold)
    contents = [content(data, payload) for payload in payloads]
    layout = splice(skeleton, [(payload.field, payload.nbytes) for payload in payloads])
    whole = ModelProto.FromString(assemble(layout, contents))
    expected = ModelProto.FromString(data)
    assert whole.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@many
@given(SEEDS)
def test_tensors_are_found_wherever_the_schema_has_them(seed: int) -> None:
    model = ModelProto.FromString(ModelWriter(seed).model())
    by_reflection = sorted(tensor.SerializeToString() for tensor in walk(model))
    assert sorted(tensor.SerializeToString() for _, tensor in iter_tensors(model)) == by_reflection


@many
@given(SEEDS)
def test_with_payload_left_in_place_no_byte_changes(seed: int) -> None:
    data = ModelWriter(seed).model()
    # Where protobuf merges occurrences of a tensor they give up any payload: not those.
    skeleton, payloads = elide_bytes(data, "model", threshold=1 << 40)
    assert payloads or skeleton == data
    assert splice(data, []) == Layout(len(data), ((0, data),))


@many
@given(SEEDS, SEEDS)
def test_damaged_bytes_end_in_an_error_or_a_model(seed: int, damage: int) -> None:
    data = bytearray(ModelWriter(seed).model())
    chance = random.Random(damage)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            case _:
                data[at : at + 1] = chance.randbytes(1)
    damaged = bytes(data)
    try:
        whole = ModelProto.FromString(damaged)
    except DecodeError:
        whole = None
    try:
        skeleton, payloads = elide_bytes(damaged, "model", threshold=16)
        layout = splice(skeleton, [(payload.field, payload.nbytes) for payload in payloads])
    except ModelError:
        return
    if whole is not None and not any(payload_indices(t) for _, t in iter_tensors(whole)):
        filled = assemble(layout, [content(damaged, payload) for payload in payloads])
        again = ModelProto.FromString(filled)
        assert again.SerializeToString(deterministic=True) == whole.SerializeToString(
            deterministic=True
        )


@many
@given(SEEDS)
def test_a_file_gives_what_memory_gives(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    data = ModelWriter(seed).model() + block(99, bytes(200_000)) + ModelWriter(seed + 1).model()
    path = tmp_path_factory.getbasetemp() / "model.onnx"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert elide_file(file.fileno(), len(data), "model", threshold=16) == elide_bytes(
            data, "model", threshold=16
        )


def tensor_model(tensor: bytes) -> bytes:
    return block(7, block(5, tensor))


def attribute_model(attribute: bytes) -> bytes:
    return block(7, block(1, block(5, attribute)))


def test_unpacked_items_are_one_span() -> None:
    values = [struct.pack("<f", number) for number in range(300)]
    data = tensor_model(b"".join(tag(4, FIXED32) + value for value in values))
    _, (payload,) = elide_bytes(data, "model")
    start = data.index(values[0])
    assert payload == Payload(4, (Span(start, 1200, 4),))
    assert content(data, payload) == b"".join(values)


def test_odd_tags_and_packed_runs_split_spans() -> None:
    item = struct.pack("<d", 1.5)
    plain, odd = tag(10, FIXED64) + item, tag(10, FIXED64, 3) + item
    data = tensor_model(plain * 2 + odd + plain + block(10, item * 2) + plain)
    _, (payload,) = elide_bytes(data, "model", threshold=1)
    assert [(span.nbytes, span.item) for span in payload.spans] == [
        (16, 8),
        (8, 0),
        (8, 8),
        (16, 0),
        (8, 8),
    ]
    assert content(data, payload) == item * 7


def test_the_last_raw_data_wins() -> None:
    data = tensor_model(block(9, bytes(2000)) + block(9, b"\1" * 1500))
    _, (payload,) = elide_bytes(data, "model")
    assert content(data, payload) == b"\1" * 1500


def test_threshold_counts_the_whole_payload() -> None:
    half = block(4, bytes(512))
    assert elide_bytes(tensor_model(half), "model")[1] == ()
    assert elide_bytes(tensor_model(half + half), "model")[1][0].nbytes == 1024


def test_merged_tensors_give_up_every_piece() -> None:
    data = attribute_model(block(5, block(4, bytes(8))) + block(5, block(4, b"\1" * 4)))
    skeleton, payloads = elide_bytes(data, "model")
    (_, tensor), *_ = iter_tensors(ModelProto.FromString(skeleton))
    assert payload_indices(tensor) == (0, 1)
    assert b"".join(content(data, payload) for payload in payloads) == bytes(8) + b"\1" * 4


def test_an_empty_later_raw_data_wins_in_a_merge() -> None:
    data = attribute_model(block(5, block(9, b"abcd")) + block(5, block(9, b"")))
    _, payloads = elide_bytes(data, "model")
    assert [payload.nbytes for payload in payloads] == [4, 0]


def nested(levels: int) -> bytes:
    data = b""
    for level in reversed(range(levels)):
        data = block(7 if level == 0 else (1, 5, 6)[(level - 1) % 3], data)
    return data


def test_nesting_is_limited_where_protobuf_limits_it() -> None:
    ModelProto.FromString(nested(100))
    assert elide_bytes(nested(100), "model")[0] == nested(100)
    with pytest.raises(ModelError, match="nested too deeply"):
        elide_bytes(nested(101), "model")
    deep = tag(99, 3) * 101 + tag(99, 4) * 101
    with pytest.raises(ModelError, match="nested too deeply"):
        elide_bytes(deep, "model")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tensor_model(block(9, bytes(50)))[:-1], r"byte 0: field 7 has 54 bytes where 53 are left"),
        (
            block(7, tag(5, 2) + varint(9)),
            "byte 2: field 5 has 9 bytes where 0 are left in model.g",
        ),
        (tensor_model(block(4, bytes(7))), "7 bytes, not a multiple of 4 in model.graph.initial"),
        (tensor_model(block(10, bytes(12))), "12 bytes, not a multiple of 8"),
        (b"\x08", "byte 1: the data ends inside a number"),
        (b"\x08" + b"\xff" * 10, "byte 1: a number runs over 10 bytes"),
        (b"\x0f", "byte 0: field 1 has wire type 7"),
        (b"\x00\x00", "byte 0: an impossible field number"),
        (b"\xff\xff\xff\xff\xff\x01", "byte 0: an impossible field number"),
        (b"\x0c", "byte 0: a group is closed that was not opened"),
        (tag(99, 3), "byte 0: a group is not closed"),
        (tag(99, 3) + tag(98, 4), "byte 2: a group is closed by another"),
        (b"\x0d\x00", "field 1 has 4 bytes where 1 are left"),
    ],
)
def test_malformed_bytes_are_named_with_their_place(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError):
        ModelProto.FromString(data)
    with pytest.raises(ModelError, match=words) as caught:
        elide_bytes(data, "net.onnx")
    assert str(caught.value).startswith("net.onnx, byte ")


def test_a_file_that_shrinks_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("short") / "model.onnx"
    path.write_bytes(b"\x08")
    with path.open("rb") as file, pytest.raises(ModelError, match="became shorter"):
        elide_file(file.fileno(), 100, "model")


def test_a_closed_file_is_an_error() -> None:
    with pytest.raises(ModelError, match="reading failed: Bad file descriptor"):
        elide_file(-1, 100, "model")


def marked(value: str, key: str = PAYLOAD_KEY) -> bytes:
    return tensor_model(block(13, block(1, key.encode()) + block(2, value.encode())))


@pytest.mark.parametrize("value", ["", "1", "-1", "x", "0x", "99999999999999999999999"])
def test_splice_refuses_an_index_that_is_not_in_its_table(value: str) -> None:
    with pytest.raises(ModelError, match=r"has index '.*' where the table has 1"):
        splice(marked(value), [(9, 5)])


def test_an_index_of_any_bytes_is_quoted() -> None:
    entry = block(13, block(1, PAYLOAD_KEY.encode()) + block(2, b"\xff\n"))
    with pytest.raises(ModelError, match=r"byte \d+: a payload entry has index '\\xff"):
        splice(tensor_model(entry), [(9, 5)])


def test_splice_keeps_other_entries() -> None:
    data = marked("0", "location")
    assert splice(data, [(9, 5)]) == Layout(len(data), ((0, data),))


def test_splice_fills_an_index_wherever_it_occurs() -> None:
    layout = splice(marked("0") + marked("0"), [(9, 5)])
    once = tensor_model(block(9, b"12345"))
    assert assemble(layout, [b"12345"]) == once * 2


def test_splice_refuses_what_no_protobuf_file_can_hold() -> None:
    fits = splice(marked("0"), [(9, (1 << 31) - 1 - 18)])
    assert fits.nbytes == (1 << 31) - 1
    with pytest.raises(ModelError, match=r"2147483648 bytes as one file.*external data"):
        splice(marked("0"), [(9, (1 << 31) - 18)])


def test_payload_fields_of_another_wire_type_are_not_payload() -> None:
    odd = group(9, tag(1, 0) + varint(3)) + tag(4, 0) + varint(7) + tag(10, FIXED32) + bytes(4)
    data = tensor_model(odd + block(9, b"abc"))
    skeleton, (payload,) = elide_bytes(data, "model", threshold=1)
    assert content(data, payload) == b"abc"
    assert odd in skeleton


def test_cleared_payload_leaves_name_type_and_shape() -> None:
    tensor = TensorProto(name="w", data_type=1, dims=[2], float_data=[1, 2], doc_string="d")
    clear_payload(tensor)
    assert tensor == TensorProto(name="w", data_type=1, dims=[2], doc_string="d")


@many
@given(SEEDS)
def test_initializers_are_what_protobuf_finds(seed: int) -> None:
    data = ModelWriter(seed).model()
    skeleton = elide_bytes(data, "m")[0]
    expected = [
        (tensor.data_type, {text(entry.key): text(entry.value) for entry in tensor.external_data})
        for tensor in ModelProto.FromString(skeleton).graph.initializer
    ]
    assert initializers(skeleton, "m") == expected


def test_initializers_of_what_is_no_model() -> None:
    with pytest.raises(ModelError, match="m, byte 0"):
        initializers(b"\x0f", "m")

"""Small models of many kinds, and changes to their bytes and fields that may break them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import ModelProto

from models import mlp, text_model

__all__ = ["DATA_FILE", "SEEDS", "mutated", "write_data"]

DATA_FILE = "weights.bin"
_NUMBERS = (0, 1, -1, 2, 10, 11, 16, 127, 255, 1 << 20, 1 << 31, (1 << 62) + 3, -(1 << 63))
_BYTES = (0x00, 0x01, 0x08, 0x0A, 0x12, 0x3A, 0x7F, 0x80, 0xFE, 0xFF)


def _weight(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.linspace(-2, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def _branches() -> ModelProto:
    body = "{ %s = Mul(a, w) }"
    return text_model(
        "g (float[4] x, bool c) => (float[4] y) { a = Relu(x)"
        f" y = If (c) <then_branch = t () => (float[4] p) {body % 'p'},"
        " else_branch = e () => (float[4] q) { k = Constant <value = float[1] {0.5}> ()"
        " q = Add(a, k) }> }",
        weights={"w": _weight(4)},
    )


def _loop() -> ModelProto:
    return text_model(
        "g (float[4] x, int64 n, bool c) => (float[4] y, float[K,4] z)"
        " { y, z = Loop (n, c, x) <body = b (int64 i, bool ci, float[4] s)"
        " => (bool co, float[4] so, float[4] zo)"
        " { co = Identity(ci) so = Add(s, w) zo = Tanh(so) }> }",
        weights={"w": _weight(4)},
    )


def _function() -> ModelProto:
    return text_model(
        "g (float[4] x) => (float[4] y) { h = own.Scaled <alpha = 2.0> (x, w) y = own.Twice(h) }",
        '<domain: "own", opset_import: ["" : 17]> Scaled <alpha> (a, b) => (c)'
        " { k = Constant <value_float: float = @alpha> () d = Mul(a, b) c = Mul(d, k) }"
        ' <domain: "own", opset_import: ["" : 17, "own" : 1]> Twice (a) => (b)'
        " { w = Constant <value = float[1] {2}> () b = own.Scaled <alpha = 3.0> (a, w) }",
        weights={"w": _weight(4)},
        domains={"own": 1},
    )


def _sequence() -> ModelProto:
    return text_model(
        "g (float[4] x) => (float[8] y) { s = SequenceConstruct(x, w)"
        " y = ConcatFromSequence <axis = 0> (s) }",
        weights={"w": _weight(4)},
    )


def _filled_sequence() -> ModelProto:
    return text_model(
        "g (float[4] x, int64 n, bool c) => (float[K] y)"
        " { s = SequenceEmpty () t = Loop (n, c, s) <body = b (int64 i, bool ci, seq(float[4]) u)"
        " => (bool co, seq(float[4]) v)"
        " { co = Identity(ci) a = Mul(x, w) v = SequenceInsert(u, a) }>"
        " y = ConcatFromSequence <axis = 0> (t) }",
        weights={"w": _weight(4)},
    )


def _old() -> ModelProto:
    """Forms that change with the opset."""
    return text_model(
        "g (float[2,3,4] x, float[3] w, int64[2] n) => (float[6,4] y)"
        " { a = Mul <broadcast = 1, axis = 1> (x, w) b = PRelu (a, w) c = Reshape (b, n)"
        " y = Softmax <axis = 1> (c) }",
        weights={"w": _weight(3), "n": np.array([6, 4], np.int64)},
        opset=6,
        ir_version=3,
    )


def _batched_scan() -> ModelProto:
    return text_model(
        "g (float[2,4] s, float[2,3,4] xs) => (float[2,4] t, float[2,3,4] ys)"
        ' { t, ys = Scan ("", s, xs) <num_scan_inputs = 1, body = b (float[4] u, float[4] v)'
        " => (float[4] p, float[4] q) { p = Add (u, v) q = Mul (p, w) }> }",
        weights={"w": _weight(4)},
        opset=8,
        ir_version=4,
    )


def _quantized() -> ModelProto:
    return text_model(
        "g (float[4] x) => (float[4] y) { q = QuantizeLinear(x, s, z)"
        " d = DequantizeLinear(q, s, z) r = Relu(d) y = Cast <to = 1> (r) }",
        weights={"s": np.float32(0.5).reshape(()), "z": np.int8(1).reshape(())},
    )


def _typed() -> ModelProto:
    """float_data, a sparse initializer, declared values, metadata, an input with a default."""
    model = text_model(
        "g (float[4] x, float[4] w) => (float[4] y) { a = Add(x, w) b = Add(a, v)"
        " c = ConstantOfShape <value = float[1] {1}> (n) y = Add(b, c) }",
        weights={"w": _weight(4), "n": np.array([4], np.int64)},
    )
    model.graph.initializer.add(name="v", data_type=1, dims=[4], float_data=[1, 2, 3, 4])
    sparse = model.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(_weight(2), "unread"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 2], np.int64), "i"))
    model.graph.value_info.add(name="a").type.tensor_type.elem_type = 1
    model.metadata_props.add(key="k", value="v")
    return model


def _external() -> ModelProto:
    """Weights in DATA_FILE, so that entries of external data are mutated too."""
    model = mlp((16, 32, 8))
    offset = 0
    for tensor in model.graph.initializer:
        nbytes = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", DATA_FILE), ("offset", offset), ("length", nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        offset += nbytes
    return model


# The MLP's weights are large enough to be streamed, the others stay in the graph.
def _parameters() -> ModelProto:
    """What takes more than one node to raise: parameters, a training graph, a Resize both ways."""
    model = text_model(
        """g (float[1, 1, 4, 4] x) => (float[1, 1, 8, 2] y) {
            a = local.outer <axis = 2> (x) b = local.outer <axis = 3> (a) y = Resize (b, w) }""",
        """<domain: "local", opset_import: ["" : 10, "local" : 1]>
        outer <axis, alpha: float = 0.5> (u) => (v) {
            t = local.inner <axis: int = @axis> (u) v = Elu <alpha: float = @alpha> (t) }
        <domain: "local", opset_import: ["" : 10]>
        inner <axis> (u) => (v) { v = Softmax <axis: int = @axis> (u) }""",
        weights={"w": np.array([1, 1, 2, 0.5], np.float32)},
        opset=10,
        domains={"local": 1},
    )
    training = text_model("t (float[4] g) => (float[4] h) { h = Softmax <axis = 0> (g) }", opset=10)
    model.training_info.add().algorithm.CopyFrom(training.graph)
    return model


def _first_opset() -> ModelProto:
    return text_model(
        """g (float[2, 4] x, float[4] w) => (float[a, b] y) {
            a = Add <broadcast = 1, axis = 1> (x, w) c = Cast <to = "FLOAT"> (a)
            d = Pad <paddings = [0, 1, 0, 0]> (c) e = Selu (d) f, h = Split <axis = 1> (e)
            y = Reshape <shape = [-1, 2]> (f) }""",
        weights={"w": _weight(4)},
        opset=1,
        ir_version=3,
    )


_MAKERS: tuple[Callable[[], ModelProto], ...] = (
    lambda: mlp((16, 32, 8)),
    _branches,
    _loop,
    _function,
    _sequence,
    _filled_sequence,
    _quantized,
    _typed,
    _old,
    _batched_scan,
    _external,
    _parameters,
    _first_opset,
)
SEEDS: tuple[bytes, ...] = tuple(make().SerializeToString() for make in _MAKERS)


def write_data(folder: Path) -> None:
    """The file that the external-data model reads."""
    weights = mlp((16, 32, 8)).graph.initializer
    (folder / DATA_FILE).write_bytes(b"".join(tensor.raw_data for tensor in weights))


def mutated(number: int) -> bytes:
    """The bytes of case `number`: one of SEEDS, in turn, with a few changes. Always the same."""
    rng = random.Random(number)
    data = SEEDS[number % len(SEEDS)]
    if rng.random() < 0.6:
        model = ModelProto.FromString(data)
        for _ in range(rng.randint(1, 3)):
            _change_field(rng, model)
        data = model.SerializeToString()
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 3)):
            data = rng.choice(_BYTE_CHANGES)(rng, data)
    return data


def _set_byte(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    value = rng.choice(_BYTES) if rng.random() < 0.5 else rng.randrange(256)
    return data[:at] + bytes([value]) + data[at + 1 :]


def _flip_bit(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return (
        data[:at]
        + bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])
        + data[at + 1 :]
    )


def _cut(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randint(1, 8) :]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    piece = data[at : at + rng.randint(1, 40)]
    to = rng.randrange(len(data) + 1)
    return data[:to] + piece + data[to:]


def _append_other(rng: random.Random, data: bytes) -> bytes:
    """protobuf merges messages that follow one another."""
    return data + rng.choice(SEEDS)


_BYTE_CHANGES = (
    _set_byte,
    _set_byte,
    _flip_bit,
    _flip_bit,
    _cut,
    _truncate,
    _repeat,
    _append_other,
)


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if isinstance(value, Message) else value:
                yield from _messages(item)


def _change_field(rng: random.Random, model: ModelProto) -> None:
    """Change, remove or repeat one field of one message, anywhere in the model."""
    message = rng.choice(list(_messages(model)))
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    if rng.random() < 0.2:
        message.ClearField(field.name)
    elif isinstance(value, (str, bytes, int, float)):
        _assign(message, field.name, _other(rng, value, model))
    elif not isinstance(value, Message):
        _change_list(rng, value, model)


def _change_list(rng: random.Random, values: Any, model: ModelProto) -> None:
    at = rng.randrange(len(values))
    action = rng.randrange(4)
    if action == 0:
        del values[at]
    elif action == 1:
        values.append(values[at])
    elif isinstance(values[at], Message):
        # Another of its kind in its place: a node of another graph, another value's type.
        same = [item for item in _messages(model) if type(item) is type(values[at])]
        other = type(values[at])()
        other.CopyFrom(rng.choice(same))
        values[at].CopyFrom(other)
    else:
        try:
            values[at] = _other(rng, values[at], model)
        except (ValueError, TypeError, OverflowError):
            del values[at]


def _assign(message: Message, name: str, value: object) -> None:
    try:
        setattr(message, name, value)
    except (ValueError, TypeError, OverflowError):  # outside the field's range
        message.ClearField(name)


def _other(rng: random.Random, value: Any, model: ModelProto) -> Any:
    if isinstance(value, str):
        return rng.choice(_strings(model))
    if isinstance(value, bytes):
        return rng.choice((b"", value + b"\0", value[:-1], b"\xff\xfe"))
    return rng.choice(_NUMBERS)


def _strings(model: ModelProto) -> list[str]:
    found = ["", "x", "..", "/etc/passwd", "-1", "99999999999999999999", "Cast", "ai.onnx", "own"]
    for message in _messages(model):
        for _, value in message.ListFields():
            found += [value] if isinstance(value, str) else []
            if not isinstance(value, (str, bytes, int, float, Message)):
                found += [item for item in value if isinstance(item, str)]
    return sorted(set(found))

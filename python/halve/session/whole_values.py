"""Runs of models that have bfloat16 inputs or outputs, which plain arrays cannot carry.

1. Where an output is bfloat16, all operands must be ONNX Runtime's values, of which it makes those
   of plain arrays only. It makes the others here itself: a sequence by a model that is one
   SequenceConstruct, texts by one that is a Constant. A sequence is read through an Identity.
2. Else only the bfloat16 inputs need be such values.
3. An optional without a value is not fed, and comes out as None. Maps cannot be made or read as
   values.
"""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, TypeProto, helper

from halve.errors import SessionError
from halve.session.feeds import Port, is_bfloat16
from halve.session.installed import runtime_module
from halve.session.values import from_value, to_value

__all__ = ["run_whole"]

_CODES: dict[str, int] = dict(TensorProto.DataType.items())
_OPSET, _IR_VERSION = 17, 8


def run_whole(
    inner: Any, ports: Mapping[str, Port], feeds: Mapping[str, Any], names: Sequence[str], run: Any
) -> list[Any]:
    """The outputs of these names, as `Session.run` gives them, bfloat16 as ml_dtypes' type.

    `ports` are the model's inputs and outputs by name, `run` is ONNX Runtime's options of the run.

    Raises:
        SessionError: an operand that has no value (rule 3).
    """
    plain = all(_is_plain(ports[name].type) for name in feeds)
    if not plain and not any(is_bfloat16(ports[name]) for name in names):
        given = {n: _value(ports[n], v) if is_bfloat16(ports[n]) else v for n, v in feeds.items()}
        return list(inner.run(names, given, run))
    fed = {name: content for name, content in feeds.items() if content is not None}
    values = {name: _value(ports[name], content) for name, content in fed.items()}
    made = inner.run_with_ort_values(names, values, run)
    return [_content(ports[name], value) for name, value in zip(names, made, strict=True)]


def _is_plain(kind: str) -> bool:
    return kind.startswith("tensor(") and kind != "tensor(string)"


def _value(port: Port, content: Any) -> Any:
    if isinstance(content, dict):
        raise _refusal(port)
    if isinstance(content, list | tuple):
        return _sequence(port, content)
    array = np.asarray(content)
    if array.dtype.kind in "OUST":
        return _texts(array)
    return to_value(runtime_module(), array)


def _content(port: Port, value: Any) -> Any:
    if not value.has_value():
        return None
    if value.is_tensor():
        return from_value(value, port.name)
    if value.is_tensor_sequence():
        return _elements(port, value)
    raise _refusal(port)


def _refusal(port: Port) -> SessionError:
    return SessionError(
        f"{port.name!r} is {port.type}: beside bfloat16 outputs ONNX Runtime takes and gives no"
        " maps; allowed: tensors and sequences; keep the model's"
        " outputs float32 (keep_io_types)"
    )


def _texts(texts: NDArray[Any]) -> Any:
    encoded = [str(text).encode() for text in texts.flat]
    fill = TensorProto(data_type=TensorProto.STRING, dims=texts.shape, string_data=encoded)
    node = helper.make_node("Constant", [], ["made"], value=fill)
    made = helper.make_tensor_type_proto(TensorProto.STRING, None)
    return _session(_model(node, [], made)).run_with_ort_values(None, {})[0]


def _sequence(port: Port, contents: Sequence[Any]) -> Any:
    tensor = helper.make_tensor_type_proto(_element_type(port), None)
    made = helper.make_sequence_type_proto(tensor)
    values = {f"t{number}": _value(port, content) for number, content in enumerate(contents)}
    if values:
        node = helper.make_node("SequenceConstruct", list(values), ["made"])
    else:
        node = helper.make_node("SequenceEmpty", [], ["made"], dtype=_element_type(port))
    session = _session(_model(node, [(name, tensor) for name in values], made))
    return session.run_with_ort_values(None, values)[0]


def _elements(port: Port, value: Any) -> list[Any]:
    whole = helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(_element_type(port), None)
    )
    node = helper.make_node("Identity", ["given"], ["made"])
    session = _session(_model(node, [("given", whole)], whole))
    return list(session.run(None, {"given": value})[0])


def _element_type(port: Port) -> int:
    """That of the tensors in a sequence, which may be optional: "optional(seq(tensor(float)))"."""
    name = port.type.rpartition("tensor(")[2].rstrip(")").upper()
    return _CODES[name]


def _model(node: NodeProto, inputs: Sequence[tuple[str, TypeProto]], made: TypeProto) -> bytes:
    infos = [helper.make_value_info(name, known) for name, known in inputs]
    graph = helper.make_graph([node], "whole", infos, [helper.make_value_info("made", made)])
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


@lru_cache(maxsize=32)
def _session(model: bytes) -> Any:
    ort = runtime_module()
    options = ort.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

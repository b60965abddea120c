"""What a conversion does not touch comes out as it went in."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from halve.convert import convert
from halve.errors import HalveError
from halve.options import ConvertOptions
from halve.types import ConvertResult
from onnx_text import BFLOAT16, FLOAT, FLOAT16, checked, io_types, node_of, parse

SIMPLE = "g (float[2] x) => (float[2] y) <float[2] w = {1.5, 2.5}> { a = Mul(x, w) y = Sin(a) }"
# An unknown field of the wire format: number 1000, one byte long.
UNKNOWN_FIELD = bytes([0xC2, 0x3E, 0x01, 0x2A])


def converted(model: ModelProto, **options: Any) -> ConvertResult:
    return convert(model, options=ConvertOptions(**{"target": "any"} | options))


def model_of(result: ConvertResult) -> ModelProto:
    assert result.model is not None
    return result.model


@pytest.mark.parametrize("keep", [False, True])
def test_metadata_annotations_and_training_survive(keep: bool) -> None:
    model = parse(SIMPLE, ir_version=11)
    model.producer_name, model.doc_string, model.model_version = "maker", "what it is", 7
    model.metadata_props.add(key="author", value="somebody")
    model.graph.metadata_props.add(key="graph", value="g")
    model.graph.node[0].metadata_props.add(key="node", value="n")
    model.graph.initializer[0].metadata_props.add(key="tensor", value="t")
    model.graph.initializer[0].doc_string = "weights"
    note = model.graph.quantization_annotation.add(tensor_name="a")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    training = model.training_info.add()
    training.algorithm.name = "step"
    training.initialization.name = "start"
    model.configuration.add(name="two", num_devices=2)
    sharding = model.graph.node[1].device_configurations.add(configuration_id="two")
    sharding.sharding_spec.add(tensor_name="a", device=[0, 1])
    done = model_of(converted(model, keep_io_types=keep))
    for field in ("producer_name", "doc_string", "model_version", "metadata_props"):
        assert getattr(done, field) == getattr(model, field)
    assert done.training_info == model.training_info
    assert done.configuration == model.configuration
    graph = done.graph
    assert graph.metadata_props == model.graph.metadata_props
    assert graph.quantization_annotation == model.graph.quantization_annotation
    assert node_of(done, "Mul").metadata_props == model.graph.node[0].metadata_props
    sine = node_of(done, "Sin")
    assert sine.device_configurations == model.graph.node[1].device_configurations
    assert graph.initializer[0].metadata_props == model.graph.initializer[0].metadata_props
    assert graph.initializer[0].doc_string == "weights"


@pytest.mark.parametrize("keep", [False, True])
def test_unknown_fields_survive(keep: bool) -> None:
    model = parse(SIMPLE)
    for message in (model, model.graph, *model.graph.node, *model.graph.input):
        message.MergeFromString(UNKNOWN_FIELD)
    done = model_of(converted(model, keep_io_types=keep))
    kept = (done, done.graph, node_of(done, "Mul"), node_of(done, "Sin"), *done.graph.input)
    for message in kept:
        assert message.SerializeToString().endswith(UNKNOWN_FIELD)


@pytest.mark.parametrize("keep", [False, True])
def test_sparse_initializers_stay(keep: bool) -> None:
    model = parse("g (float[2,2] x) => (float[2,2] y) { a = MatMul(x, w) y = Sin(a) }")
    values = numpy_helper.from_array(np.array([1.5], np.float32), "w")
    places = numpy_helper.from_array(np.array([3]), "w_places")
    sparse = helper.make_sparse_tensor(values, places, [2, 2])
    model.graph.sparse_initializer.append(sparse)
    done = model_of(converted(model, keep_io_types=keep))
    assert list(done.graph.sparse_initializer) == [sparse]


@pytest.mark.parametrize("keep", [False, True])
def test_sequences_optionals_and_maps_pass(keep: bool) -> None:
    text = """g (seq(float[2]) s, optional(float[2]) o, float[2] x)
        => (float[2] y, seq(float[2]) t) {
        i = Constant<value_int = 0>() a = SequenceAt(s, i) b = OptionalGetElement(o)
        c = Sum(a, b, x) d = Sin(c) y = Exp(d) t = SequenceInsert(s, d)
    }"""
    done = checked(converted(parse(text, opset=18), keep_io_types=keep))
    kinds = {info.name: info.type.WhichOneof("value") for info in done.graph.input}
    assert kinds == {"s": "sequence_type", "o": "optional_type", "x": "tensor_type"}
    assert done.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type == FLOAT


@pytest.mark.parametrize("block", [(), ("Mul",)])
@pytest.mark.parametrize("keep", [False, True])
def test_sequence_map_bodies(keep: bool, block: tuple[str, ...]) -> None:
    text = """g (seq(float[2]) s, float[2] x) => (seq(float[2]) t) {
        a = Sin(x)
        t = SequenceMap(s, a) <body = b (float[2] p, float[2] q) => (float[2] r) {
            h = Mul(p, q) r = Exp(h)
        }>
    }"""
    done = checked(converted(parse(text, opset=17), keep_io_types=keep, op_block=block))
    body = node_of(done, "SequenceMap").attribute[0].g
    assert [info.type.tensor_type.elem_type for info in body.input] == [FLOAT, FLOAT]
    assert [info.type.tensor_type.elem_type for info in body.output] == [FLOAT]


@pytest.mark.parametrize("opset", [13, 17, 19, 21])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_quantized_model(opset: int, keep: bool, dtype: str) -> None:
    text = """g (float[1, 2] x) => (float[1, 2] y)
    <float s = {0.0625}, uint8 z = {128},
     int8[2, 2] w = {1, 2, 3, 4}, float ws = {0.5}, int8 wz = {0}> {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        dw = DequantizeLinear(w, ws, wz) m = MatMul(d, dw) r = Relu(m)
        q2 = QuantizeLinear(r, s, z) y = DequantizeLinear(q2, s, z)
    }"""
    done = checked(converted(parse(text, opset=opset), keep_io_types=keep, dtype=dtype))
    weights = {tensor.name: tensor for tensor in done.graph.initializer}
    assert numpy_helper.to_array(weights["w"]).tolist() == [[1, 2], [3, 4]]
    half = BFLOAT16 if dtype == "bfloat16" else FLOAT16
    assert weights["s"].data_type == half  # the opset is raised to 19 where it is lower


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("block", [(), ("Sin",), ("Exp", "Mul")])
def test_a_mixed_model_keeps_its_casts_and_types(keep: bool, block: tuple[str, ...]) -> None:
    text = """g (float[2] x, float16[2] h, bfloat16[2] b, double[2] d)
        => (float16[2] y, float[2] z, bfloat16[2] c, double[2] e)
    <float16[2] w = {1, 2}> {
        n = Cast<to = 10>(x) m = Mul(n, h) k = Add(m, w) y = Sin(k)
        u = Cast<to = 1>(y) z = Exp(u) c = Add(b, b) e = Exp(d)
    }"""
    done = checked(converted(parse(text, opset=18), keep_io_types=keep, op_block=block))
    fixed = {"h": FLOAT16, "b": BFLOAT16, "d": 11, "y": FLOAT16, "c": BFLOAT16, "e": 11}
    assert {name: elem for name, elem in io_types(done).items() if name in fixed} == fixed
    assert checked(converted(done, keep_io_types=keep, op_block=block)) == done


def renamed(model: ModelProto, old: bytes, new: bytes) -> ModelProto:
    """The model with a name replaced in its serialised form, by one of the same length."""
    data = model.SerializeToString()
    assert len(old) == len(new)
    assert old in data
    return ModelProto.FromString(data.replace(old, new))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("block", [(), ("Mul",), ("Sin",)])
@pytest.mark.parametrize("name", [b"INNER", b"NODE1", b"GRAPHIN", b"WEIGHT", b"GRAPHOUT"])
def test_names_that_are_not_utf8(keep: bool, block: tuple[str, ...], name: bytes) -> None:
    text = """g (float[2] GRAPHIN) => (float[2] GRAPHOUT) <float[2] WEIGHT = {1.5, 2.5}> {
        [NODE1] INNER = Mul(GRAPHIN, WEIGHT) GRAPHOUT = Sin(INNER)
    }"""
    odd = b"\xff" + name[1:]
    model = renamed(parse(text), name, odd)
    options = {"keep_io_types": keep, "op_block": block}
    plain = converted(parse(text), **options)
    result = converted(model, **options)
    assert result.cast_lower_bound == len(result.casts) == len(plain.casts)
    assert odd in model_of(result).SerializeToString()
    assert converted(model_of(result), **options).model == result.model


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_a_model_of_the_other_sixteen_bit_type_is_left_alone(half: str) -> None:
    other = "bfloat16" if half == "float16" else "float16"
    model = parse(f"g ({other}[2] x) => ({other}[2] y) {{ a = Mul(x, x) y = Sin(a) }}", opset=22)
    result = converted(model, dtype=half)
    assert result.identity
    assert result.model == model


def test_an_operator_of_a_newer_opset_is_read_by_the_newest_known() -> None:
    model = parse(SIMPLE)
    model.opset_import[0].version = 99
    result = converted(model)
    assert "newer than the newest known" in result.warnings[0]
    assert io_types(model_of(result)) == {"x": FLOAT16, "y": FLOAT16}


def test_a_broken_model_is_one_error() -> None:
    model = parse(SIMPLE)
    model.graph.node[0].input[0] = "nothing"
    with pytest.raises(HalveError, match="nothing"):
        converted(model)


def test_types_of_tensors_that_are_no_floats_are_kept() -> None:
    model = parse(SIMPLE)
    tensor = TensorProto(name="text", data_type=TensorProto.STRING, dims=[1], string_data=[b"\xff"])
    model.graph.initializer.append(tensor)
    done = model_of(converted(model))
    assert [t for t in done.graph.initializer if t.name == "text"] == [tensor]
    onnx.checker.check_model(done)

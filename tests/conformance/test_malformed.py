"""Models that parse but make no sense: one error of halve's own that names the place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import ModelProto, TensorProto, helper

from halve.convert import convert
from halve.errors import ModelError
from halve.options import ConvertOptions
from models import FLOAT, build, mlp


def _opset(version: int) -> Callable[[], ModelProto]:
    def make() -> ModelProto:
        model = mlp()
        model.opset_import[0].version = version
        return model

    return make


def _few_operands() -> ModelProto:
    return build([helper.make_node("Cast", [], ["y"], to=1)], {}, {"y": (FLOAT, None)})


def _twice_named() -> ModelProto:
    branch = mlp().graph
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch)
    node.attribute.add().CopyFrom(node.attribute[0])
    return build([node], {"c": (int(TensorProto.BOOL), [])}, {"y": (FLOAT, None)})


def _unnamed_graph() -> ModelProto:
    model = _twice_named()
    model.graph.node[0].attribute[1].name = ""
    return model


def _operator_not_text() -> ModelProto:
    data = mlp().SerializeToString()
    return ModelProto.FromString(data.replace(b"MatMul", b"MatM\xff\xfe"))


def _cyclic() -> ModelProto:
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return build(nodes, {}, {"b": (FLOAT, None)})


def _recursive_functions() -> ModelProto:
    model = build(
        [helper.make_node("f", ["x"], ["y"], domain="own")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        domains={"own": 1},
    )
    opsets = [helper.make_opsetid("own", 1)]
    for name, other in (("f", "g"), ("g", "f")):
        call = helper.make_node(other, ["a"], ["b"], domain="own")
        model.functions.append(helper.make_function("own", name, ["a"], ["b"], [call], opsets))
    return model


def _function_twice() -> ModelProto:
    model = _recursive_functions()
    for function in model.functions:
        function.name = "f"
    return model


def _dims(*dims: int) -> Callable[[], ModelProto]:
    def make() -> ModelProto:
        model = mlp()
        model.graph.initializer[0].dims[:] = dims
        return model

    return make


def _scan_of_too_many() -> ModelProto:
    body = mlp().graph
    return build(
        [helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=-(1 << 62))],
        {"x": (FLOAT, [2, 16])},
        {"y": (FLOAT, None)},
    )


def _scale_without_a_type() -> ModelProto:
    scale = TensorProto(name="s", dims=[1])
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["y"])]
    model = build(nodes, {"q": (int(TensorProto.INT8), [2])}, {"y": (FLOAT, None)}, opset=19)
    model.graph.initializer.append(scale)
    return model


CASES: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "negative opset": (_opset(-3), "version -3"),
    "opset beyond 32 bits": (_opset(1 << 40), "version 1099511627776"),
    "no operands": (_few_operands, "needs at least 1"),
    "an attribute twice": (_twice_named, "names that differ"),
    "a graph without a name": (_unnamed_graph, "names that differ"),
    "operator is no text": (_operator_not_text, "UTF-8"),
    "a cycle": (_cyclic, "cycle"),
    "functions call each other": (_recursive_functions, "calls itself"),
    "two functions of one name": (_function_twice, "own::f is defined more than once"),
    "too many elements": (_dims(1 << 40, 1 << 40), "initializer 'w0'"),
    "scan inputs below zero": (_scan_of_too_many, "num_scan_inputs of node 0"),
    "a scale without a type": (_scale_without_a_type, "constant 's' in the main graph"),
    "negative dimension": (_dims(-1, 16), "initializer 'w0'"),
}


@pytest.mark.parametrize("name", CASES)
def test_malformed(name: str) -> None:
    make, words = CASES[name]
    with pytest.raises(ModelError, match=words):
        convert(make(), options=ConvertOptions(target="any"))

"""Tiny models written in ONNX's text form, and what tests ask of a converted one."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import ModelProto, TensorProto, parser

from halve.convert import convert
from halve.options import ConvertOptions
from halve.types import ConvertResult

FLOAT, FLOAT16, BFLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16


def parse(graph: str, *, opset: int = 17, ir_version: int = 8, functions: str = "") -> ModelProto:
    """A model from the text of its graph, e.g. 'g (float[2] x) => (float[2] y) { y = Relu(x) }'."""
    head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "local" : 1, "my" : 1]>'
    return parser.parse_model(f"{head}\n{graph}\n{functions}")


def convert_text(graph: str, *, opset: int = 17, **options: object) -> ConvertResult:
    """Convert a model given as text, for any target unless said otherwise."""
    options.setdefault("target", "any")
    return convert(parse(graph, opset=opset), options=ConvertOptions(**options))  # type: ignore[arg-type]


def ops(model: ModelProto) -> Counter[str]:
    """How often each op type occurs in the main graph."""
    return Counter(node.op_type for node in model.graph.node)


def node_of(model: ModelProto, op_type: str) -> onnx.NodeProto:
    """The only node of that type."""
    (node,) = [node for node in model.graph.node if node.op_type == op_type]
    return node


def io_types(model: ModelProto) -> dict[str, int]:
    """Element types of graph inputs and outputs by name."""
    infos = (*model.graph.input, *model.graph.output)
    return {info.name: info.type.tensor_type.elem_type for info in infos}


def weights(model: ModelProto) -> dict[str, int]:
    """Element types of initializers by name."""
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def checked(result: ConvertResult) -> ModelProto:
    """The converted model, after onnx's full check and the count of its casts."""
    assert result.model is not None
    onnx.checker.check_model(result.model, full_check=True)
    assert len(result.casts) == result.cast_lower_bound
    return result.model

"""The types of a node's outputs, told from those of its inputs, its attributes and its schema.

A type is written as the schemas write it ("tensor(float16)", "seq(tensor(float))"). `OTHER` is a
type that is not known, but known to hold no 16-bit float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from onnx import AttributeProto, NodeProto, TensorProto, TypeProto

from halve.errors import ModelError
from halve.session.schemas import OpSignature

__all__ = [
    "OTHER",
    "holds_half",
    "is_half_tensor",
    "node_label",
    "output_types",
    "tensor_type",
    "type_text",
]

OTHER = ""
_HALF_TENSORS = ("tensor(float16)", "tensor(bfloat16)")

_FLOAT = int(TensorProto.FLOAT)
# Where an attribute carries the type of output 0: its name, and what its absence means (a type
# code, or a function of the types of the inputs).
_Fallback = int | Callable[[Sequence[str]], str]


def _like(index: int) -> Callable[[Sequence[str]], str]:
    return lambda types: types[index]


_TYPED_BY_ATTRIBUTE: dict[str, tuple[str, _Fallback]] = {
    "Cast": ("to", _FLOAT),
    "BitCast": ("to", _FLOAT),
    "Bernoulli": ("dtype", _like(0)),
    "EyeLike": ("dtype", _like(0)),
    "RandomNormalLike": ("dtype", _like(0)),
    "RandomUniformLike": ("dtype", _like(0)),
    "RandomNormal": ("dtype", _FLOAT),
    "RandomUniform": ("dtype", _FLOAT),
    "HannWindow": ("output_datatype", _FLOAT),
    "HammingWindow": ("output_datatype", _FLOAT),
    "BlackmanWindow": ("output_datatype", _FLOAT),
    "MelWeightMatrix": ("output_datatype", _FLOAT),
    "DequantizeLinear": ("output_dtype", _like(1)),
}


def tensor_type(code: int) -> str:
    """The type of a tensor of an element type code."""
    known = code in TensorProto.DataType.values()
    return f"tensor({TensorProto.DataType.Name(code).lower()})" if known else OTHER


def type_text(proto: TypeProto) -> str:
    """A declared type; OTHER where none is declared. ONNX Runtime makes sparse tensors dense."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        code = proto.tensor_type.elem_type
        return tensor_type(code) if code else OTHER
    if kind == "sequence_type":
        return _wrap("seq", type_text(proto.sequence_type.elem_type))
    if kind == "optional_type":
        return _wrap("optional", type_text(proto.optional_type.elem_type))
    if kind == "sparse_tensor_type":
        return tensor_type(proto.sparse_tensor_type.elem_type)
    return OTHER


def is_half_tensor(text: str) -> bool:
    """Whether a type is a dense tensor of float16 or bfloat16."""
    return text in _HALF_TENSORS


def holds_half(text: str) -> bool:
    """Whether a type is or contains float16 or bfloat16."""
    return "float16" in text


def node_label(node: NodeProto) -> str:
    """A node for messages: its name and op, or its first output where it has no name."""
    name = node.name or "unnamed, output " + repr(next(iter(node.output), ""))
    return f"node {name} ({node.op_type})"


def output_types(
    node: NodeProto, input_types: Sequence[str], signature: OpSignature | None
) -> list[str | None]:
    """The type of each output; None where neither rules nor schema tell it.

    Raises:
        ModelError: inputs that must share a type do not.
    """
    special = _special_types(node, input_types) if node.domain in ("", "ai.onnx") else {}
    if signature is None:
        return [special.get(index) for index in range(len(node.output))]
    bound = _bind(node, input_types, signature)
    return [
        special[index] if index in special else _from_schema(signature, bound, index)
        for index in range(len(node.output))
    ]


def _wrap(kind: str, text: str) -> str:
    return f"{kind}({text})" if text else OTHER


def _unwrap(kind: str, text: str) -> str:
    prefix = f"{kind}("
    return text[len(prefix) : -1] if text.startswith(prefix) else text


def _bind(node: NodeProto, types: Sequence[str], signature: OpSignature) -> dict[str, str]:
    bound: dict[str, str] = {}
    if signature.heterogeneous:
        return bound
    for index, text in enumerate(types):
        variable = signature.input_type(index)
        if not node.input[index] or variable not in signature.allowed:
            continue
        if bound.get(variable, OTHER) == OTHER:
            bound[variable] = text
        elif text not in (OTHER, bound[variable]):
            raise ModelError(
                f"{node_label(node)}: input {node.input[index]!r} is {text} where another input "
                f"of the same type variable {variable} is {bound[variable]}; allowed: one type"
            )
    return bound


def _from_schema(signature: OpSignature, bound: dict[str, str], index: int) -> str | None:
    variable = signature.output_type(index)
    if variable in bound:
        return bound[variable]
    if variable not in signature.allowed:
        return variable or None
    allowed = signature.allowed[variable]
    if len(allowed) == 1:
        return next(iter(allowed))
    return None if any(map(holds_half, allowed)) else OTHER


def _special_types(node: NodeProto, types: Sequence[str]) -> dict[int, str]:
    """What no schema says, by output slot."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type in _TYPED_BY_ATTRIBUTE:
        name, fallback = _TYPED_BY_ATTRIBUTE[node.op_type]
        return {0: _attribute_type(attributes.get(name), fallback, types)}
    if node.op_type == "LayerNormalization":
        stash = tensor_type(_code(attributes.get("stash_type")) or _FLOAT)
        return {1: stash, 2: stash}
    if node.op_type == "LinearAttention" and not any(types[3:4]):
        return {1: types[0]}  # without a past state the new one has the queries' type
    text = _constant_type(node, attributes)
    text = _container_type(node, attributes, types) if text is None else text
    return {} if text is None else {0: text}


def _constant_type(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> str | None:
    value, sparse = attributes.get("value"), attributes.get("sparse_value")
    if node.op_type == "ConstantOfShape":
        return tensor_type(value.t.data_type if value else _FLOAT)
    if node.op_type != "Constant":
        return None
    if value:
        return tensor_type(value.t.data_type)
    if sparse:
        return tensor_type(sparse.sparse_tensor.values.data_type)
    is_float = "value_float" in attributes or "value_floats" in attributes
    return tensor_type(_FLOAT) if is_float else OTHER


def _container_type(
    node: NodeProto, attributes: Mapping[str, AttributeProto], types: Sequence[str]
) -> str | None:
    first = types[0] if types else OTHER
    match node.op_type:
        case "SequenceConstruct" | "SplitToSequence":
            return _wrap("seq", first)
        case "SequenceEmpty":
            return _wrap("seq", tensor_type(_code(attributes.get("dtype")) or _FLOAT))
        case "SequenceAt" | "ConcatFromSequence":
            return _unwrap("seq", first)
        case "OptionalGetElement":
            return _unwrap("optional", first)
        case "Optional":
            declared = attributes.get("type")
            return _wrap("optional", first or (type_text(declared.tp) if declared else OTHER))
    return None


def _attribute_type(
    attribute: AttributeProto | None, fallback: _Fallback, types: Sequence[str]
) -> str:
    code = _code(attribute)
    if code:
        return tensor_type(code)
    return tensor_type(fallback) if isinstance(fallback, int) else fallback(types)


def _code(attribute: AttributeProto | None) -> int:
    """An attribute's type code; 0 where it is absent. Opset 1 wrote Cast's as a name."""
    if attribute is None:
        return 0
    if attribute.type == AttributeProto.STRING:
        return int(TensorProto.DataType.Value(attribute.s.decode()))
    return int(attribute.i)

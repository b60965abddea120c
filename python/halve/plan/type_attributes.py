"""Operators whose output type is chosen by an attribute: what schemas do not say.

Each row: the attribute, and what its absence means: an element type, or `SAME` for the type of the
first input, or UNKNOWN where it chooses nothing. Sources: the operators' texts in onnx's
Operators.md. `Constant` and `ConstantOfShape` carry a tensor instead and are handled by
`constant_type`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from onnx import AttributeProto, NodeProto, TensorProto

from halve.plan.schemas import UNKNOWN

__all__ = [
    "CHOOSING",
    "SAME",
    "TYPE_ATTRIBUTES",
    "attribute",
    "chosen_type",
    "constant_type",
    "is_empty_constant",
    "is_weight",
    "set_type",
]

SAME = -2

# (domain, op type) -> (attribute, meaning of its absence)
TYPE_ATTRIBUTES: dict[tuple[str, str], tuple[str, int]] = {
    ("", "Bernoulli"): ("dtype", SAME),
    ("", "BitCast"): ("to", UNKNOWN),
    ("", "BlackmanWindow"): ("output_datatype", TensorProto.FLOAT),
    ("", "Cast"): ("to", UNKNOWN),
    ("", "DequantizeLinear"): ("output_dtype", UNKNOWN),
    ("", "EyeLike"): ("dtype", SAME),
    ("com.microsoft", "GemmFloat8"): ("dtype", TensorProto.FLOAT),
    ("", "HammingWindow"): ("output_datatype", TensorProto.FLOAT),
    ("", "HannWindow"): ("output_datatype", TensorProto.FLOAT),
    ("", "MelWeightMatrix"): ("output_datatype", TensorProto.FLOAT),
    ("", "Multinomial"): ("dtype", TensorProto.INT32),
    ("", "RandomNormal"): ("dtype", TensorProto.FLOAT),
    ("", "RandomNormalLike"): ("dtype", SAME),
    ("", "RandomUniform"): ("dtype", TensorProto.FLOAT),
    ("", "RandomUniformLike"): ("dtype", SAME),
    ("", "SequenceEmpty"): ("dtype", TensorProto.FLOAT),  # of its tensors
}

# All (domain, op type) for which `chosen_type` may say something.
CHOOSING = frozenset({*TYPE_ATTRIBUTES, ("", "Constant"), ("", "ConstantOfShape")})

_NOTHING: Mapping[str, AttributeProto] = MappingProxyType({})
_CODES: dict[str, int] = dict(TensorProto.DataType.items())

# The attribute of a Constant node -> its element type; tensors tell theirs.
_CONSTANT_KINDS = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}


def attribute(
    node: NodeProto, name: str, passed: Mapping[str, AttributeProto] = _NOTHING
) -> AttributeProto | None:
    """The node's attribute of that name, or None.

    In a function's body an attribute may refer to one of the call, found in `passed`.
    """
    candidates: Iterable[AttributeProto] = node.attribute
    found = next((candidate for candidate in candidates if candidate.name == name), None)
    if found is not None and found.ref_attr_name:
        return passed.get(found.ref_attr_name)
    return found


def constant_type(node: NodeProto, passed: Mapping[str, AttributeProto] = _NOTHING) -> int:
    """The element type that a Constant node produces; UNKNOWN for a malformed one."""
    for candidate in node.attribute:
        if candidate.name == "value":
            tensor = attribute(node, "value", passed)
            return int(tensor.t.data_type) if tensor is not None else UNKNOWN
        if candidate.name == "sparse_value":  # a runtime makes it dense when it loads the model
            return int(candidate.sparse_tensor.values.data_type)
        if candidate.name in _CONSTANT_KINDS:
            return _CONSTANT_KINDS[candidate.name]
    return UNKNOWN


def is_weight(domain: str, node: NodeProto) -> bool:
    """Whether the node is a Constant whose dense floats can be converted like an initializer's."""
    return (domain, node.op_type) == ("", "Constant") and any(
        candidate.name in ("value", "value_float", "value_floats") and not candidate.ref_attr_name
        for candidate in node.attribute
    )


def is_empty_constant(node: NodeProto) -> bool:
    """Whether a Constant that is a weight has no elements."""
    found = {candidate.name: candidate for candidate in node.attribute}
    if "value" in found:
        return 0 in found["value"].t.dims
    return "value_floats" in found and not found["value_floats"].floats


def chosen_type(
    domain: str, node: NodeProto, passed: Mapping[str, AttributeProto] = _NOTHING
) -> int | None:
    """What an attribute chooses for output 0: a code, SAME, or None for other operators."""
    if domain == "" and node.op_type == "Constant":
        return constant_type(node, passed)
    if domain == "" and node.op_type == "ConstantOfShape":
        value = attribute(node, "value", passed)
        return TensorProto.FLOAT if value is None else value.t.data_type
    row = TYPE_ATTRIBUTES.get((domain, node.op_type))
    if row is None:
        return None
    found = attribute(node, row[0], passed)
    if found is not None and found.type == AttributeProto.STRING:  # Cast before opset 6 names it
        return _CODES.get(found.s.decode("ascii", "replace").upper(), UNKNOWN)
    chosen = int(found.i) if found is not None else UNKNOWN
    return chosen or row[1] or None


def set_type(domain: str, node: NodeProto, elem: int) -> None:
    """Make the attribute of a TYPE_ATTRIBUTES operator choose `elem`, itself and not by a call."""
    name, _ = TYPE_ATTRIBUTES[domain, node.op_type]
    found = next((candidate for candidate in node.attribute if candidate.name == name), None)
    if found is None:
        found = node.attribute.add(name=name, type=AttributeProto.INT)
    found.ClearField("ref_attr_name")
    if found.type == AttributeProto.STRING:
        found.s = TensorProto.DataType.Name(elem).encode()
    else:
        found.i = elem

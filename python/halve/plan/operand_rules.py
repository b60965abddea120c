"""What operators ask of their operands' types beyond their schemas.

A schema says which operands share a type variable and what a variable may be. Where that is not
all, a row here says the rest. Sources: the operators' texts in onnx's Operators.md, and their type
and shape inference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import NodeProto

from halve.plan.type_attributes import attribute

__all__ = [
    "FLOAT32_OPERATORS",
    "FLOAT32_VARIABLES",
    "SEQUENCE_OPERATORS",
    "one_variable",
    "tied_outputs",
]

# (domain, op type) -> why it stays float32 although its schema has 16-bit types
FLOAT32_OPERATORS: dict[tuple[str, str], str] = {
    ("", "BitCast"): "it hands on bits, not values",
    # At opset 13 the body in the standard adds a float32 constant to the input's type.
    ("", "SequenceMap"): "its body takes the tensors of sequences, in types of its own",
    ("", "MeanVarianceNormalization"): "its definition adds a float32 constant",
    ("com.microsoft", "DequantizeBFP"): "its attribute dtype is no ONNX type",
    ("com.microsoft", "EPContext"): "it holds a compiled model, whose types are fixed",
    ("ai.onnx.ml", "TreeEnsemble"): "its thresholds are attributes of its input's type",
}
# (domain, op type) -> type variables that stay float32
FLOAT32_VARIABLES: dict[tuple[str, str], frozenset[str]] = {
    # Mean and InvStdDev have the type that the attribute stash_type names.
    ("", "LayerNormalization"): frozenset({"U"}),
    ("", "SimplifiedLayerNormalization"): frozenset({"U"}),
}
# (domain, op type) -> the type variables of sequences and of the tensors that they hold
SEQUENCE_OPERATORS: dict[tuple[str, str], tuple[str, str]] = {
    ("", "ConcatFromSequence"): ("S", "T"),
    ("", "SequenceAt"): ("S", "T"),
    ("", "SequenceConstruct"): ("S", "T"),
    ("", "SequenceEmpty"): ("S", ""),
    ("", "SequenceErase"): ("S", ""),
    ("", "SequenceInsert"): ("S", "T"),
    ("", "SequenceLength"): ("S", ""),
    ("", "SplitToSequence"): ("S", "T"),
}


def _without_output_dtype(node: NodeProto) -> bool:
    chosen = attribute(node, "output_dtype")
    return chosen is None or not chosen.i


def _without_past_state(node: NodeProto) -> bool:
    return len(node.input) < 4 or not node.input[3]


# (domain, op type) -> (output slot, input slot, when): the output has that input's type though the
# schema gives it a variable of its own.
_TIES: dict[tuple[str, str], tuple[int, int, Callable[[NodeProto], bool]]] = {
    ("", "DequantizeLinear"): (0, 1, _without_output_dtype),
    ("", "LinearAttention"): (1, 0, _without_past_state),
}
_Types = tuple[tuple[str, int], ...]


def tied_outputs(
    domain: str, node: NodeProto, inputs: Sequence[tuple[str, int]], outputs: _Types
) -> _Types:
    """The (type variable, element type) of each output, given those by the schema."""
    tie = _TIES.get((domain, node.op_type))
    if tie is None:
        return outputs
    out, source, applies = tie
    if out >= len(outputs) or source >= len(inputs) or not applies(node):
        return outputs
    return (*outputs[:out], inputs[source], *outputs[out + 1 :])


def one_variable(row: tuple[str, str], types: _Types) -> _Types:
    """The types of an operator of SEQUENCE_OPERATORS, where a sequence and its tensors have the
    variable of the tensors: they have one precision.
    """
    sequence, tensor = row
    return tuple((tensor if tensor and var == sequence else var, elem) for var, elem in types)

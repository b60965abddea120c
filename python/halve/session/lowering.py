"""A written 16-bit model as float32 arithmetic in which every 16-bit tensor is really rounded.

Shares no code with the plan, the rewrite or the search: it is the independent judge's model.

Rules:
1. Every 16-bit tensor keeps its name and its type, and has a twin, a Cast of it to float32.
2. Nodes read twins and produce float32, which a Cast rounds to the 16-bit tensor.
3. Cast, BitCast, If, Loop and Scan compute nothing that rounds: they read and produce the 16-bit
   tensors themselves, and bodies are lowered like the main graph.
4. Initializers and Constants get float32 twins by value, so that they stay constants; those that
   are also graph inputs stop being inputs.
5. Attributes that carry a 16-bit type, or a 16-bit tensor, are retyped to float32.
6. A sequence or optional of 16-bit tensors becomes one of float32, its elements being rounded
   before they enter it.
7. Nodes that ONNX Runtime would take for casts of its own, and so erase, are renamed, as are
   those whose names are not text.
8. SequenceMap and FlexAttention, whose bodies have types of their own, are replaced by their
   definitions in the standard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from halve.errors import ModelError, UnsupportedModelError
from halve.session.element_types import (
    OTHER,
    holds_half,
    is_half_tensor,
    node_label,
    output_types,
    tensor_type,
    type_text,
)
from halve.session.retype import FLOAT, HALF_CODES, float_tensor, retype_attributes, retype_type
from halve.session.schemas import OpSignature, find_signature
from halve.session.scope import Names, Scope, bodies, used_names
from halve.session.type_oracle import RuntimeTypes
from halve.session.weight_store import InlineWeights, Weights
from halve.source import iter_tensors
from halve.source.scopes import body_nodes

__all__ = ["LOWERED_CAST", "flatten", "half_names", "lower"]

# Initializers that are not graph inputs exist from this IR version on (rule 4).
_MIN_IR_VERSION = 4
_ERASED_PREFIX = "InsertedPrecisionFreeCast_"
_CODES = {
    "tensor(float16)": int(TensorProto.FLOAT16),
    "tensor(bfloat16)": int(TensorProto.BFLOAT16),
}
_CAST = "cast"
LOWERED_CAST = f"{_CAST}.lowered"
"""How the names of casts begin that lowering puts in."""
_CONTROL_FLOW = ("If", "Loop", "Scan")
# Rule 8: (domain, op type)
_DEFINED = (("", "SequenceMap"), ("ai.onnx", "SequenceMap"), ("ai.onnx.preview", "FlexAttention"))
_KEPT = ("Cast", "BitCast", *_CONTROL_FLOW)


def lower(
    model: ModelProto, *, custom_op_library: Path | None = None, weights: Weights | None = None
) -> ModelProto:
    """The model with float32 arithmetic and true rounding of every 16-bit tensor (NaN and inf
    pass, overflow is inf, subnormals are kept). Inputs and outputs keep their types.

    The argument is not changed. All payload must be in it (load external data first), or in
    `weights`, which then takes that of the twins, too. A model without 16-bit floats comes back
    equal but for the order of its initializers. What an op does inside itself (an LSTM's state,
    say) is not rounded. Where neither a schema nor value_info tells a type, ONNX Runtime is asked,
    with `custom_op_library`.

    Raises:
        ModelError: the model contradicts itself: types that must agree do not, or a name is read
            before it is defined.
        UnsupportedModelError: an op whose types cannot be told; 16-bit sparse tensors; 16-bit
            sequences as inputs or outputs of the model.
    """
    lowered = flatten(model)
    opsets = {item.domain: item.version for item in lowered.opset_import}
    runtime = RuntimeTypes(custom_op_library)
    worker = _Lowering(opsets, lowered.graph, runtime, weights or InlineWeights())
    worker.lower_graph(lowered.graph, None, ())
    worker.prune(lowered.graph)
    return lowered


def flatten(model: ModelProto) -> ModelProto:
    """A copy of the model without local functions and what rule 8 names, in which no initializer is
    a graph input.
    """
    flat = ModelProto()
    flat.CopyFrom(_inlined(model))
    del flat.training_info[:]
    flat.ir_version = max(flat.ir_version, _MIN_IR_VERSION)
    graph = flat.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {sparse.values.name for sparse in graph.sparse_initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    return flat


def half_names(model: ModelProto, *, custom_op_library: Path | None = None) -> frozenset[str]:
    """The 16-bit tensors that nodes of a flat model compute, or read as numbers.

    Raises:
        ModelError, UnsupportedModelError: as `lower`.
    """
    hollow = ModelProto()
    hollow.CopyFrom(model)
    for _, tensor in iter_tensors(hollow):  # types matter here, and values do not
        empty = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=(0,))
        tensor.CopyFrom(empty)
    lowered = lower(hollow, custom_op_library=custom_op_library)
    found: set[str] = set()
    for node in _all_nodes(lowered.graph):
        if node.op_type == "Cast" and node.name.startswith(LOWERED_CAST):
            to_float = node.attribute[0].i == FLOAT
            found.add(node.input[0] if to_float else node.output[0])
    return frozenset(found)


def _inlined(model: ModelProto) -> ModelProto:
    """The model without local functions and, by rule 8, without some of the standard's."""
    flat = model
    if model.functions:
        flat = onnx.inliner.inline_local_functions(_with_defaults(model))
    if not any((node.domain, node.op_type) in _DEFINED for node in _all_nodes(flat.graph)):
        return flat
    return onnx.inliner.inline_selected_functions(
        flat, list(_DEFINED), inline_schema_functions=True
    )


def _with_defaults(model: ModelProto) -> ModelProto:
    """The model with the defaults of functions' attributes told by their calls, since onnx's
    inliner does not know of them.
    """
    defaults = {(f.domain, f.name, f.overload): f.attribute_proto for f in model.functions}
    if not any(defaults.values()):
        return model
    told = ModelProto()
    told.CopyFrom(model)
    for body in (told.graph, *told.functions):
        for node in body_nodes(body):
            given = {attr.name for attr in node.attribute}
            known = defaults.get((node.domain, node.op_type, node.overload), ())
            node.attribute.extend(attr for attr in known if attr.name not in given)
    return told


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body)


class _Lowering:
    """One model's state: its opsets, the names in use, and what may be dropped if unread."""

    def __init__(
        self, opsets: dict[str, int], graph: GraphProto, runtime: RuntimeTypes, weights: Weights
    ) -> None:
        self._opsets = {("" if name == "ai.onnx" else name): v for name, v in opsets.items()}
        self._names = Names(graph)
        self._runtime = runtime
        self._weights = weights
        self._prunable: set[str] = set()

    def lower_graph(
        self, graph: GraphProto, parent: Scope | None, given: Sequence[str]
    ) -> list[str]:
        """Lower a graph in place; `given` are the types of its inputs as its node passes them.

        Returns the types of its outputs.
        """
        scope = Scope(parent, _declared_types(graph))
        nodes: list[NodeProto] = []
        self._lower_initializers(graph, scope)
        self._lower_inputs(graph, scope, given, nodes)
        for node in graph.node:
            self._lower_node(node, scope, nodes)
        types = [self._lower_output(item, scope) for item in graph.output]
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.value_info[:]
        return types

    def prune(self, graph: GraphProto) -> None:
        """Drop the twins, and the 16-bit constants, that nothing reads."""
        dead = self._prunable - used_names(graph)
        _drop(graph, dead)

    def _lower_initializers(self, graph: GraphProto, scope: Scope) -> None:
        for sparse in graph.sparse_initializer:
            _refuse_sparse(sparse.values.data_type, f"sparse initializer {sparse.values.name!r}")
            scope.define(sparse.values.name, tensor_type(sparse.values.data_type))
        twins: list[TensorProto] = []
        for tensor in graph.initializer:
            text = tensor_type(tensor.data_type)
            scope.define(tensor.name, text)
            if is_half_tensor(text):
                twins.append(float_tensor(tensor, self._twin(scope, tensor.name), self._weights))
                self._prunable.add(tensor.name)
        graph.initializer.extend(twins)

    def _lower_inputs(
        self, graph: GraphProto, scope: Scope, given: Sequence[str], nodes: list[NodeProto]
    ) -> None:
        for index, item in enumerate(graph.input):
            passed = given[index] if index < len(given) else OTHER
            text = type_text(item.type) or passed
            if passed not in (OTHER, text):
                raise ModelError(
                    f"input {item.name!r} of a body is declared {text}, but its node passes "
                    f"{passed}; allowed: the same type"
                )
            scope.define(item.name, text)
            if is_half_tensor(text):
                nodes.append(self._twin_cast(scope, item.name))
            elif holds_half(text):
                _retype_border(item, scope, text)

    def _lower_output(self, item: ValueInfoProto, scope: Scope) -> str:
        text = scope.type_of(item.name, f"graph output {item.name!r}")
        declared = type_text(item.type)
        if OTHER not in (declared, text) and declared != text:
            raise ModelError(
                f"graph output {item.name!r} is declared {declared}, but {text} is computed; "
                f"allowed: the same type"
            )
        if holds_half(text) and not is_half_tensor(text):
            _retype_border(item, scope, text)
        return text

    def _lower_node(self, node: NodeProto, scope: Scope, nodes: list[NodeProto]) -> None:
        where = node_label(node)
        inputs = [scope.type_of(name, where) if name else OTHER for name in node.input]
        domain = "" if node.domain == "ai.onnx" else node.domain
        result = NodeProto()
        result.CopyFrom(node)
        if _needs_name(node):
            result.name = self._names.fresh("node")
        if domain == "" and node.op_type in _CONTROL_FLOW:
            types: list[str | None] = [*self._lower_bodies(result, scope, inputs)]
        else:
            types = self._output_types(domain, node, inputs, scope)
        for name, text in zip(node.output, types, strict=False):
            if name:
                scope.define(name, self._settle(name, text, scope, where))
        if domain == "" and node.op_type == "Constant":
            self._emit_constant(result, scope, nodes)
        elif domain == "" and node.op_type in _KEPT:
            self._emit_kept(result, scope, nodes)
        else:
            self._emit_arithmetic(result, scope, nodes)

    def _output_types(
        self, domain: str, node: NodeProto, inputs: Sequence[str], scope: Scope
    ) -> list[str | None]:
        signature = self._signature(domain, node)
        types = output_types(node, inputs, signature)
        pairs = zip(node.output, types, strict=True)
        if signature or all(text is not None or name in scope.declared for name, text in pairs):
            return types
        return self._runtime.output_types(node, self._opsets.get(domain, 1), inputs)

    def _signature(self, domain: str, node: NodeProto) -> OpSignature | None:
        return find_signature(domain, node.op_type, self._opsets.get(domain, 1))

    def _settle(self, name: str, text: str | None, scope: Scope, where: str) -> str:
        """The type of an output: as told, else as the model declares it."""
        declared = scope.declared.get(name, OTHER)
        if text is None:
            if declared == OTHER:
                raise UnsupportedModelError(
                    f"{where}: the type of its output {name!r} cannot be told: no schema gives it "
                    f"and the model has no value_info for it; add the value_info"
                )
            return declared
        if OTHER not in (declared, text) and declared != text:
            raise ModelError(
                f"{where}: output {name!r} is declared {declared}, but {text} is computed; "
                f"allowed: the same type"
            )
        return text or declared

    def _lower_bodies(self, node: NodeProto, scope: Scope, inputs: list[str]) -> list[str]:
        if node.op_type == "If":
            first, second = (self.lower_graph(body, scope, ()) for body in bodies(node))
            return _merge_branches(node, first, second)
        body = next(bodies(node))
        if node.op_type == "Loop":
            given = [tensor_type(TensorProto.INT64), tensor_type(TensorProto.BOOL), *inputs[2:]]
            return self.lower_graph(body, scope, given)[1:]
        # Scan 8 has the lengths of its sequences before the rest.
        skipped = 1 if self._opsets.get("", 1) < 9 else 0
        return self.lower_graph(body, scope, inputs[skipped:])

    def _emit_constant(self, node: NodeProto, scope: Scope, nodes: list[NodeProto]) -> None:
        name = node.output[0]
        for attribute in node.attribute:
            if attribute.name == "sparse_value":
                _refuse_sparse(attribute.sparse_tensor.values.data_type, node_label(node))
        nodes.append(node)
        if not scope.is_half(name):
            return
        twin = NodeProto()
        twin.CopyFrom(node)
        twin.name = self._names.fresh("constant")
        twin.output[0] = self._twin(scope, name)
        retype_attributes(twin, self._weights)
        self._prunable.add(name)
        nodes.append(twin)

    def _emit_kept(self, node: NodeProto, scope: Scope, nodes: list[NodeProto]) -> None:
        nodes.append(node)
        nodes.extend(
            self._twin_cast(scope, name) for name in node.output if name and scope.is_half(name)
        )

    def _emit_arithmetic(self, node: NodeProto, scope: Scope, nodes: list[NodeProto]) -> None:
        if any(bodies(node)):
            raise UnsupportedModelError(
                f"{node_label(node)}: a body inside this op is not understood; allowed: "
                f"bodies of {', '.join(_CONTROL_FLOW)}"
            )
        node.input[:] = [scope.twin_of(name) if name else "" for name in node.input]
        outputs = list(node.output)
        nodes.append(node)
        for index, name in enumerate(outputs):
            if not name or not scope.is_half(name):
                continue
            raw = self._names.fresh(name)
            node.output[index] = raw
            code = _CODES[scope.type_of(name, "")]
            nodes.append(self._cast(raw, name, code))
            nodes.append(self._twin_cast(scope, name))
        retype_attributes(node, self._weights)

    def _twin(self, scope: Scope, name: str) -> str:
        """A new name for the float32 twin of a 16-bit tensor, known to the scope (rule 1)."""
        twin = self._names.fresh(name)
        scope.set_twin(name, twin)
        self._prunable.add(twin)
        return twin

    def _twin_cast(self, scope: Scope, name: str) -> NodeProto:
        return self._cast(name, self._twin(scope, name), FLOAT)

    def _cast(self, source: str, target: str, code: int) -> NodeProto:
        return onnx.helper.make_node(
            "Cast", [source], [target], name=self._names.fresh(_CAST), to=code
        )


def _needs_name(node: NodeProto) -> bool:
    """Rule 7. A name that is not valid UTF-8 arrives as bytes."""
    return not isinstance(node.name, str) or node.name.startswith(_ERASED_PREFIX)


def _declared_types(graph: GraphProto) -> dict[str, str]:
    return {item.name: type_text(item.type) for item in (*graph.value_info, *graph.output)}


def _merge_branches(node: NodeProto, first: list[str], second: list[str]) -> list[str]:
    if len(first) == len(second) and all(
        OTHER in pair or pair[0] == pair[1] for pair in zip(first, second, strict=True)
    ):
        return [one or other for one, other in zip(first, second, strict=True)]
    raise ModelError(
        f"{node_label(node)}: its branches end in ({', '.join(first)}) and ({', '.join(second)}); "
        f"allowed: the same types"
    )


def _retype_border(item: ValueInfoProto, scope: Scope, text: str) -> None:
    """Rule 6 at the border of a graph; the model's own border has no float32 counterpart."""
    if scope.parent is None:
        raise UnsupportedModelError(
            f"graph input or output {item.name!r} is {text}; allowed: tensors of 16-bit floats"
        )
    retype_type(item.type)


def _refuse_sparse(code: int, where: str) -> None:
    if code in HALF_CODES:
        raise UnsupportedModelError(
            f"{where} holds 16-bit floats; allowed: dense tensors of 16-bit floats"
        )


def _drop(graph: GraphProto, dead: set[str]) -> None:
    kept = [tensor for tensor in graph.initializer if tensor.name not in dead]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
    nodes = [node for node in graph.node if not (node.output and node.output[0] in dead)]
    if len(nodes) < len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
    for node in graph.node:
        for body in bodies(node):
            _drop(body, dead)

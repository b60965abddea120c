"""Pass: insert casts where a value is read in another type than it is made in.

1. At most one Cast a value and direction, right behind the node that makes the value.
2. A graph output keeps its name; where its type differs from the made one, the value inside is
   renamed and the Cast makes the output.
3. A model that does not import the default domain does so for the first Cast.
4. A Cast of the source whose input and target were assigned one type is dropped, its readers
   reading its input, unless it makes a graph output, or the output of a body that nothing else
   in the body would make.
5. An input of a function that a call leaves out is not there to be cast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import AttributeProto, NodeProto, TensorProto

from halve.errors import UnsupportedModelError
from halve.plan.analysis import Kind, NodeInfo, Scope, Value
from halve.plan.schemas import normal_domain, rule_for
from halve.rewrite.state import CAST_OPSET, Reader, Rewriting, type_tag
from halve.source import text
from halve.source.names import append_name, replace_name, stem
from halve.types import CastRow, DType

__all__ = ["insert_casts"]


def insert_casts(state: Rewriting, settled: set[int]) -> None:
    """Run the pass for every float32 value but the `settled` ones.

    Raises:
        UnsupportedModelError: the model's opset has no Cast to the 16-bit type.
    """
    drops = _Drops(state)
    made_here = [
        value
        for value in state.analysis.values
        if value.index not in settled
        and value not in drops
        and not _is_left_out(value)
        and (value.elem == DType.FLOAT or drops.reaches(value))
    ]
    for value in made_here:
        readers = list(drops.readers(value))
        foreign = _foreign_types(state, value, readers)
        # Counted from the types alone, so that it can differ from what is then inserted.
        state.cast_lower_bound += len(foreign)
        if foreign or drops.reaches(value):
            _cast_value(state, value, readers, foreign)
    drops.apply()
    imported = {normal_domain(entry.domain) for entry in state.proto.opset_import}
    if state.casts and "" not in imported:
        state.proto.opset_import.add(domain="", version=CAST_OPSET)


def _is_left_out(value: Value) -> bool:
    """Rule 5, for inputs that are handed on from function to function, too."""
    caller = value.scope.owner
    if value.kind != Kind.INPUT or caller is None or not caller.calls_function:
        return False
    slot = value.scope.inputs.index(value)
    operand = caller.inputs[slot] if slot < len(caller.inputs) else None
    return operand is None or _is_left_out(operand)


class _Drops:
    """Rule 4: the Cast nodes that became no-ops, and whose output stands for which value."""

    def __init__(self, state: Rewriting) -> None:
        self._state = state
        self._aliases: dict[Value, list[Value]] = {}
        self._dropped: dict[Value, NodeInfo] = {}
        for node in state.analysis.nodes:
            pair = _noop_cast(state, node)
            if pair is not None:
                self._dropped[pair[1]] = node
                self._aliases.setdefault(pair[0], []).append(pair[1])
        self._gone = {node.uid for node in self._dropped.values()}

    def __contains__(self, value: Value) -> bool:
        return value in self._dropped

    def reaches(self, value: Value) -> bool:
        return value in self._aliases

    def readers(self, value: Value) -> Iterator[Reader]:
        """The readers of a value and of all that stands for it, without the dropped nodes."""
        readers = self._state.readers(value)
        if not self._gone:
            yield from readers
            return
        for reader in readers:
            if not (isinstance(reader.place, NodeInfo) and reader.place.uid in self._gone):
                yield reader
        for alias in self._aliases.get(value, ()):
            yield from self.readers(alias)

    def apply(self) -> None:
        self._state.dropped.update(self._gone)
        self._state.changed = self._state.changed or bool(self._dropped)


def _noop_cast(state: Rewriting, node: NodeInfo) -> tuple[Value, Value] | None:
    if (node.domain, node.op_type) != ("", "Cast"):
        return None
    made, out = node.inputs[0], node.outputs[0]
    if made is None or out is None or out.is_output or state.is_weight(made):
        return None
    if out.exits and not _can_exit(made):
        return None
    taken, given = state.in_types[node.uid][0], state.out_types[node.uid][0]
    was_float = DType.FLOAT in (made.elem, out.elem)
    noop = taken == given == state.options.half == state.made_type(made)
    return (made, out) if noop and was_float else None


def _can_exit(value: Value) -> bool:
    """Whether a value may stand for the only one of its Casts that is the output of a body."""
    if value.source is None or value.exits or value.source[0].op_type == "Cast":
        return False
    made = [reader.outputs[0] for reader, _ in value.readers if reader.op_type == "Cast"]
    exits = [out for out in made if out is not None and out.exits]
    return len(exits) == 1 and exits[0].scope is value.scope and len(exits[0].exits) == 1


def _foreign_types(state: Rewriting, value: Value, readers: Sequence[Reader]) -> set[int]:
    """The types in which a value is read and not made: one Cast each at the least."""
    made = state.made_type(value)
    wanted = {reader.elem for reader in readers}
    wanted.add(_output_type(state, value, made))
    wanted.discard(made)
    return wanted


def _cast_value(
    state: Rewriting, value: Value, readers: Sequence[Reader], foreign: set[int]
) -> None:
    made = state.made_type(value)
    out_type = _output_type(state, value, made)
    base, names = _names(state, value, made, out_type)
    for elem in sorted(foreign):
        name = names.get(elem) or state.fresh(value.scope, value.name, f"_{type_tag(elem)}")
        names[elem] = name
        _insert(state, value, base, name, elem)
    for reader in readers:
        if state.read_name(reader) != names[reader.elem]:
            state.repoint([reader], names[reader.elem])


def _output_type(state: Rewriting, value: Value, made: int) -> int:
    if not value.is_output or value.elem != DType.FLOAT:
        return made
    return state.io_type(value)


def _names(
    state: Rewriting, value: Value, made: int, out_type: int
) -> tuple[str | bytes, dict[int, str | bytes]]:
    """The name of the value as made, and the names of its known types (rule 2)."""
    if out_type == made or value.source is None:
        return value.name, {made: value.name}
    base = state.fresh(value.scope, value.name, f"_{type_tag(made)}")
    node, slot = value.source
    replace_name(state.nodes[node.uid], "output", slot, base)
    state.changed = True
    return base, {made: base, out_type: value.name}


def _insert(
    state: Rewriting, value: Value, base: str | bytes, name: str | bytes, elem: int
) -> None:
    node = NodeProto(op_type="Cast", name=state.fresh(value.scope, "Cast_" + stem(name)))
    append_name(node, "input", base)
    append_name(node, "output", name)
    node.attribute.append(_to_attribute(value.scope, state.made_type(value), elem))
    reason = "graph output" if name == value.name else "reader of the other precision"
    state.casts.append(
        CastRow(node.name, text(value.name), text(name), elem, value.scope.path, reason)
    )
    state.insert(node, value)


def _to_attribute(scope: Scope, made: int, elem: int) -> AttributeProto:
    opset = scope.opsets.get("", 0) or CAST_OPSET
    rule = rule_for("", "Cast", opset)
    if rule is None or not (rule.allows("T1", made) and rule.allows("T2", elem)):
        raise UnsupportedModelError(
            f"a Cast from {type_tag(made)} to {type_tag(elem)} is needed in {scope.place()}, which"
            f" opset {opset} of the default domain does not have; raise the model's opset with"
            " onnx.version_converter first"
        )
    if opset < 6:
        name = TensorProto.DataType.Name(elem).encode()
        return AttributeProto(name="to", type=AttributeProto.STRING, s=name)
    return AttributeProto(name="to", type=AttributeProto.INT, i=elem)

"""Local functions in which the form of a node depends on a parameter, before they are raised.

1. The converter wants an attribute's value, which a parameter has only by a call. So such a
   function is replaced by one copy for every set of values that calls give, without parameters;
   so is one that hands its own parameter on to such a function.
2. The first copy keeps the function's name, and its nodes are those of the file; nodes of further
   copies were added for them.
3. A function that nothing calls stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

from halve.plan.schemas import normal_domain
from halve.source.names import set_name
from halve.source.scopes import body_nodes, function_path

__all__ = ["settle_parameters"]

_Key = tuple[str, str, str]
_Values = Mapping[str, AttributeProto]


def settle_parameters(
    proto: ModelProto,
    changes: Callable[[NodeProto, FunctionProto], bool],
    mark_added: Callable[[NodeProto], None],
) -> None:
    """Run it on `proto` in place.

    `changes` says whether a node of a function gets another form, `mark_added` notes of a node
    that it is a copy (rule 2).
    """
    functions = {_key(f): f for f in proto.functions}
    needy = _needy(functions, changes)
    if needy:
        _Copies(functions, needy, mark_added).settle(proto)


def _key(item: FunctionProto | NodeProto) -> _Key:
    name = item.name if isinstance(item, FunctionProto) else item.op_type
    return str(normal_domain(item.domain)), name, item.overload


def _has_parameter(node: NodeProto) -> bool:
    return any(attr.ref_attr_name for attr in node.attribute)


def _needy(
    functions: Mapping[_Key, FunctionProto], changes: Callable[[NodeProto, FunctionProto], bool]
) -> set[_Key]:
    """Rule 1: the functions that need copies."""
    parameters = {
        key: [node for node in body_nodes(function) if _has_parameter(node)]
        for key, function in functions.items()
    }
    needy = {
        key
        for key, nodes in parameters.items()
        if any(changes(node, functions[key]) for node in nodes)
    }
    while True:
        more = {
            key for key, nodes in parameters.items() if any(_key(node) in needy for node in nodes)
        }
        if more <= needy:
            return needy
        needy |= more


@dataclass(slots=True)
class _Copies:
    """The copies of the functions that need them, in the order in which calls are found."""

    functions: Mapping[_Key, FunctionProto]
    needy: set[_Key]
    mark_added: Callable[[NodeProto], None]
    made: dict[_Key, dict[bytes, FunctionProto]] = field(default_factory=dict)

    def settle(self, proto: ModelProto) -> None:
        waiting: list[FunctionProto | GraphProto] = [proto.graph]
        waiting += [f for key, f in self.functions.items() if key not in self.needy]
        while waiting:
            for node in body_nodes(waiting.pop()):
                new = self._call(node) if _key(node) in self.needy else None
                waiting += [new] if new is not None else []
        placed = [
            copy
            for key, function in self.functions.items()
            for copy in self.made.get(key, {b"": function}).values()
        ]
        del proto.functions[:]
        proto.functions.extend(placed)

    def _call(self, node: NodeProto) -> FunctionProto | None:
        """Let a call use the copy for its values; the copy, where it is new."""
        key = _key(node)
        function = self.functions[key]
        values = _values(function, node)
        del node.attribute[:]
        identity = b"".join(
            values[name].SerializeToString(deterministic=True) for name in sorted(values, key=repr)
        )
        known = self.made.setdefault(key, {})
        new = None
        if identity not in known:
            new = known[identity] = self._copy(function, values, first=not known)
        node.op_type = known[identity].name
        return new

    def _copy(self, function: FunctionProto, values: _Values, *, first: bool) -> FunctionProto:
        copy = FunctionProto()
        copy.CopyFrom(function)
        del copy.attribute[:]
        del copy.attribute_proto[:]
        for node in body_nodes(copy):
            _give(node, values)
            if not first:
                self.mark_added(node)
        if not first:
            copy.name = self._unused(copy)
        return copy

    def _unused(self, copy: FunctionProto) -> str:
        taken = {function_path(f) for f in self.functions.values()}
        taken |= {function_path(f) for known in self.made.values() for f in known.values()}
        trial = FunctionProto(domain=copy.domain, overload=copy.overload)
        number = 2
        while True:
            trial.name = f"{copy.name}_{number}"
            if function_path(trial) not in taken:
                return trial.name
            number += 1


def _values(function: FunctionProto, call: NodeProto) -> dict[str, AttributeProto]:
    """What the parameters of a function are in a call; one without a value is left out."""
    found = {attr.name: attr for attr in function.attribute_proto}
    found |= {attr.name: attr for attr in call.attribute}
    kept: dict[str, AttributeProto] = {}
    for name, attr in found.items():
        kept[name] = AttributeProto()
        kept[name].CopyFrom(attr)
    return kept


def _give(node: NodeProto, values: _Values) -> None:
    """Replace a node's parameters by their values."""
    if not _has_parameter(node):
        return
    settled = []
    for attr in node.attribute:
        own = AttributeProto()
        own.CopyFrom(values.get(attr.ref_attr_name, attr) if attr.ref_attr_name else attr)
        set_name(own, attr.name)
        if not own.ref_attr_name:
            settled.append(own)
    del node.attribute[:]
    node.attribute.extend(settled)

"""Random valid graphs: operators of several families, bodies, functions, shared weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from halve.session import describe_runtime

__all__ = ["models"]

FLOAT, DOUBLE, INT64, BOOL = 1, 11, 7, 9
SHAPE = (2, 3)
_UNARY = ("Sin", "Tanh", "Sigmoid", "Neg", "Relu", "Identity", "Abs", "HardSwish", "Softplus")
_BINARY = ("Add", "Mul", "Sub", "Max", "Min", "PRelu")
# ONNX Runtime 1.20 aborts on some functions with parameters and operands that a call leaves out.
_PARAMETERS = describe_runtime().version >= "1.21"
_CONSTANTS = ("value", "value_float", "value_floats")


@dataclass
class Builder:
    """A body under way: `floats` are values of SHAPE that may be read here."""

    draw: st.DrawFn
    floats: list[str]
    prefix: str
    depth: int
    functions: Sequence[str] = ()
    nodes: list[NodeProto] = field(default_factory=list)
    count: int = 0

    def name(self) -> str:
        self.count += 1
        return f"{self.prefix}v{self.count}"

    def pick(self) -> str:
        return self.draw(st.sampled_from(self.floats))

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: object) -> str:
        """Append a node; returns its first output."""
        names = [self.name() for _ in range(outputs)]
        domain = attributes.pop("domain", "")
        label = self.draw(st.sampled_from(["", f"n_{names[0]}"]))
        self.nodes.append(
            helper.make_node(op, inputs, names, name=label, domain=domain, **attributes)
        )
        return names[0]

    def grow(self) -> None:
        """Append one step, whose result becomes readable."""
        steps = STEPS if self.depth else STEPS[:-2]
        self.floats.append(self.draw(st.sampled_from(steps))(self))

    def constant(self) -> str:
        """A small float constant, by any of the attributes that a Constant may have."""
        kind = self.draw(st.sampled_from(_CONSTANTS))
        number = self.draw(st.sampled_from([0.5, 1.0, -2.0, 1e-9]))
        if kind == "value":
            value = numpy_helper.from_array(np.full(SHAPE, number, np.float32))
            return self.add("Constant", [], value=value)
        number_or_list = number if kind == "value_float" else [number] * 3
        return self.add("Constant", [], **{kind: number_or_list})

    def ints(self, values: Sequence[int]) -> str:
        return self.add("Constant", [], value_ints=list(values))


def _unary(b: Builder) -> str:
    return b.add(b.draw(st.sampled_from(_UNARY)), [b.pick()])


def _binary(b: Builder) -> str:
    second = b.constant() if b.draw(st.booleans()) else b.pick()
    return b.add(b.draw(st.sampled_from(_BINARY)), [b.pick(), second])


def _scalar_bounds(b: Builder) -> str:
    low = b.add("Constant", [], value_float=-1.0) if b.draw(st.booleans()) else ""
    return b.add("Clip", [b.pick(), low, b.add("Constant", [], value_float=2.0)])


def _choice(b: Builder) -> str:
    return b.add("Where", [b.add("Less", [b.pick(), b.pick()]), b.pick(), b.pick()])


def _movement(b: Builder) -> str:
    joined = b.add("Concat", [b.pick(), b.pick()], axis=0)
    return b.add("Slice", [joined, b.ints([1]), b.ints([3]), b.ints([0])])


def _reduction(b: Builder) -> str:
    mean = b.add("ReduceMean", [b.pick()], axes=[1], keepdims=1)
    return b.add("Expand", [mean, b.ints(SHAPE)])


def _normalisation(b: Builder) -> str:
    scale = b.add("Constant", [], value_floats=[1.0, 0.5, 2.0])
    return b.add("LayerNormalization", [b.pick(), scale], b.draw(st.integers(1, 3)))


def _through_types(b: Builder) -> str:
    elem = b.draw(st.sampled_from([DOUBLE, INT64, 10, FLOAT]))
    return b.add("Cast", [b.add("Cast", [b.pick()], to=elem)], to=FLOAT)


def _filled(b: Builder) -> str:
    shape = b.add("Shape", [b.pick()])
    fill = numpy_helper.from_array(np.array([0.25], np.float32))
    return b.add("ConstantOfShape", [shape], **({"value": fill} if b.draw(st.booleans()) else {}))


def _sequence(b: Builder) -> str:
    sequence = b.draw(st.sampled_from([_listed, _split, _collected]))(b)
    if b.draw(st.booleans()):
        sequence = b.add("SequenceInsert", [sequence, b.pick()])
    if b.draw(st.booleans()):
        kept = b.add("SequenceErase", [sequence, b.add("Constant", [], value_int=0)])
        sequence = kept if b.draw(st.booleans()) else sequence
    return b.add("SequenceAt", [sequence, b.add("Constant", [], value_int=0)])


def _listed(b: Builder) -> str:
    return b.add("SequenceConstruct", [b.pick(), b.pick()])


def _split(b: Builder) -> str:
    joined = b.add("Concat", [b.pick(), b.pick()], axis=0)
    return b.add("SplitToSequence", [joined, b.add("Constant", [], value_int=2)], axis=0)


def _collected(b: Builder) -> str:
    """A sequence that a loop fills."""
    prefix = f"{b.prefix}s{b.count}_"
    b.count += 1
    inner = Builder(b.draw, [*b.floats], prefix, 0, b.functions)
    _unary(inner)
    made = [
        inner.add("Identity", [prefix + "go"]),
        inner.add("SequenceInsert", [prefix + "all", inner.nodes[0].output[0]]),
    ]
    infos = [_info(prefix + "i", INT64, ()), _info(prefix + "go", BOOL, ()), _list(prefix + "all")]
    graph = helper.make_graph(
        inner.nodes, "body", infos, [_info(made[0], BOOL, ()), _list(made[1])]
    )
    trips = b.add("Constant", [], value_int=2)
    return b.add("Loop", [trips, "", b.add("SequenceEmpty", [])], 1, body=graph)


def _list(name: str) -> ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, FLOAT, SHAPE)


def _quantised(b: Builder) -> str:
    scale = b.add("Constant", [], value_float=0.0625)
    zero = b.add("Constant", [], value=numpy_helper.from_array(np.array(128, np.uint8)))
    packed = b.add("QuantizeLinear", [b.pick(), scale, zero])
    return b.add("DequantizeLinear", [packed, scale, zero])


def _branch(b: Builder) -> str:
    total = b.add("ReduceMax", [b.pick()], keepdims=0)
    limit = b.add("Constant", [], value_float=0.5)
    condition = b.add("Less", [total, limit])
    bodies = {name: _body(b, name, []) for name in ("then_branch", "else_branch")}
    return b.add("If", [condition], 1, **bodies)


def _loop(b: Builder) -> str:
    trips = b.add("Constant", [], value_int=2)
    body = _body(b, "body", ["i", "go", "state"])
    return b.add("Loop", [trips, "", b.pick()], 1, body=body)


def _optional(b: Builder) -> str:
    wrapped = b.add("Optional", [b.pick()])
    if b.draw(st.booleans()):
        b.add("OptionalHasElement", [wrapped])
    return b.add("OptionalGetElement", [wrapped])


def _call(b: Builder) -> str:
    """A call that may leave out an operand and an attribute with a default."""
    if not b.functions:
        return _unary(b)
    function = b.draw(st.sampled_from(b.functions))
    if not _PARAMETERS:
        return b.add(function, [b.pick(), b.pick()], domain="local")
    bound = b.add("Constant", [], value_float=1.5) if b.draw(st.booleans()) else ""
    given = {"t": b.draw(st.sampled_from([DOUBLE, INT64, FLOAT]))} if b.draw(st.booleans()) else {}
    return b.add(function, [b.pick(), b.pick(), bound], 2, domain="local", a=0.25, **given)


STEPS: list[Callable[[Builder], str]] = [
    _unary, _binary, _scalar_bounds, _choice, _movement, _reduction, _normalisation,
    _through_types, _filled, _sequence, _quantised, _optional, _call, _branch,
    _loop,
]  # fmt: skip


def _body(outer: Builder, label: str, inputs: list[str]) -> GraphProto:
    prefix = f"{outer.prefix}{label[0]}{outer.count}_"
    outer.count += 1
    names = [prefix + name for name in inputs]
    b = Builder(outer.draw, [*outer.floats], prefix, outer.depth - 1, outer.functions)
    b.floats += names[2:]
    weight = numpy_helper.from_array(np.full(SHAPE, 0.75, np.float32), prefix + "w")
    b.floats.append(weight.name)
    for _ in range(outer.draw(st.integers(1, 3))):
        b.grow()
    infos, outputs = [], [_info(b.floats[-1])]
    if inputs:
        infos = [_info(names[0], INT64, ()), _info(names[1], BOOL, ()), _info(names[2])]
        outputs = [_info(b.add("Identity", [names[1]]), BOOL, ()), *outputs]
    if b.floats[-1] == weight.name or not b.nodes:
        outputs[-1] = _info(b.add("Identity", [b.floats[-1]]))
    return helper.make_graph(b.nodes, label, infos, outputs, [weight])


def _info(name: str, elem: int = FLOAT, shape: tuple[int, ...] = SHAPE) -> object:
    return helper.make_tensor_value_info(name, elem, shape)


def _function(draw: st.DrawFn, name: str, known: Sequence[str]) -> FunctionProto:
    b = Builder(draw, ["p", "q"], f"{name}_", 0, known)
    for _ in range(draw(st.integers(1, 3))):
        b.grow()
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    if not _PARAMETERS:
        return helper.make_function("local", name, ["p", "q"], [b.floats[-1]], b.nodes, imports)
    other = b.add("LeakyRelu", [b.floats[-1]])
    b.nodes[-1].attribute.append(_parameter("alpha", "a", AttributeProto.FLOAT))
    low = b.add("Clip", [b.floats[-1], "", "r"])
    b.add("Cast", [low])
    b.nodes[-1].attribute.append(_parameter("to", "t", AttributeProto.INT))
    result = b.add("Cast", [b.nodes[-1].output[0]], to=FLOAT)
    return helper.make_function(
        "local", name, ["p", "q", "r"], [result, other], b.nodes, imports,
        attributes=["a"], attribute_protos=[helper.make_attribute("t", FLOAT)],
    )  # fmt: skip


def _parameter(name: str, of: str, kind: int) -> AttributeProto:
    return AttributeProto(name=name, ref_attr_name=of, type=kind)


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    """A valid float32 model at opset 17 with inputs x0, x1 of shape [2, 3]."""
    functions: list[FunctionProto] = []
    for number in range(draw(st.integers(0, 2))):
        functions.append(_function(draw, f"f{number}", [f.name for f in functions]))
    b = Builder(draw, ["x0", "x1", "w0", "w1"], "", 2, [f.name for f in functions])
    for _ in range(draw(st.integers(1, 8))):
        b.grow()
    values = np.linspace(-1, 1, 6, dtype=np.float32).reshape(SHAPE)
    weights = [numpy_helper.from_array(values * k, f"w{k - 1}") for k in (1, 2)]
    inputs = [_info("x0"), _info("x1")] + ([_info("w0")] if draw(st.booleans()) else [])
    chosen = draw(st.lists(st.sampled_from(b.floats), min_size=1, max_size=3, unique=True))
    graph = helper.make_graph(
        b.nodes, "g", inputs, [_info(name) for name in dict.fromkeys([*chosen, b.floats[-1]])],
        weights,
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=functions)

"""Pass: infer the types of the rewritten graph anew and hold them against the schemas.

1. Every value is made once, before it is read.
2. Operands under one type variable agree, in a type that the schema allows.
3. Graph inputs and outputs have the types that are declared.
"""

from __future__ import annotations

from onnx import FunctionProto

from halve.errors import ModelError
from halve.plan.analysis import Analysis, NodeInfo, analyse, declared_type
from halve.plan.order import topological_order
from halve.rewrite.state import Rewriting

__all__ = ["verify_types"]


def verify_types(state: Rewriting) -> None:
    """Run the pass.

    Raises:
        ModelError: the result would not be valid, which is a defect of this program.
    """
    result = analyse(state.proto)
    before = len(state.analysis.conflicts)
    problems = [f"contradicting types at {where}" for where in result.conflicts[before:]]
    for scope in result.scopes:
        if topological_order(scope.nodes) != list(range(len(scope.nodes))):
            problems.append(f"the nodes of {scope.place()} are out of order")
    problems += [p for node in result.nodes for p in _node_problems(state, node)]
    problems += _output_problems(result)
    if problems:
        raise ModelError(
            f"the rewritten model would not be valid: {problems[0]}"
            f" ({len(problems)} problems); nothing was written; please report this"
        )


def _node_problems(state: Rewriting, node: NodeInfo) -> list[str]:
    """Rule 2, for 16-bit types only: what else the source breaks is the source's."""
    if node.rule is None:
        return []
    half = state.options.half
    operands = zip((*node.inputs, *node.outputs), (*node.in_types, *node.out_types), strict=True)
    return [
        f"{node.label()} has type {value.elem} for {value.name!r}, which {var} does not allow"
        for value, (var, _) in operands
        if value is not None and value.elem == half and var and not node.rule.allows(var, half)
    ]


def _output_problems(result: Analysis) -> list[str]:
    """Rule 3."""
    problems = []
    for scope in result.scopes:
        if isinstance(scope.body, FunctionProto):
            continue
        for info, value in zip(scope.body.output, scope.outputs, strict=True):
            elem = declared_type(info.type)
            if elem > 0 and value.elem > 0 and elem != value.elem:
                problems.append(
                    f"output {info.name!r} of {scope.place()} is declared {elem} and made"
                    f" {value.elem}"
                )
    return problems

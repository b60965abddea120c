"""How a gated model rounds a value where a switch is on.

On the CPU an operator of our own does it (csrc/ort/round_op.cc): in place where it can, without
entering a branch. Other providers do not have it: there an `If` chooses between a Cast to the
16-bit type and back, and the value as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from onnx import NodeProto, helper

from halve.session.gate_graph import FLOAT, Names, Scope, cast_node, graph_of, if_node
from halve.session.providers import CPU_PROVIDER
from halve.session.switches import SWITCHES
from halve.types import DType

__all__ = ["DOMAIN", "CastRoundings", "OperatorRoundings", "Roundings", "has_operators"]

DOMAIN = "halve"
_TYPES = {int(DType.FLOAT16): 0, int(DType.BFLOAT16): 1}
"""halve::HalfType of csrc/include/halve/cast.h, by TensorProto code."""


def has_operators(provider: str) -> bool:
    """Whether our operators run on a provider."""
    return provider == CPU_PROVIDER


class Roundings(Protocol):
    """Makes the nodes that a switch rules."""

    @property
    def half(self) -> int:
        """The TensorProto code of the 16-bit type."""
        ...

    @property
    def port(self) -> str:
        """The name of the input that feeds the switches."""
        ...

    @property
    def domains(self) -> tuple[str, ...]:
        """Of operators that a body with such nodes must import."""
        ...

    def round(self, source: str, result: str, switch: int, scope: Scope) -> NodeProto:
        """A value, rounded where the switch is on."""
        ...

    def choose(self, plain: str, other: str, result: str, switch: int) -> NodeProto | None:
        """`other` where the switch is on, else `plain`; None where only branches can choose."""
        ...


@dataclass(frozen=True, slots=True)
class OperatorRoundings:
    """By operators of our own, on `threads` threads (0: one a core) where values are large.

    `half` is the TensorProto code of the 16-bit type.
    """

    half: int
    threads: int = 1
    port: str = SWITCHES
    domains: tuple[str, ...] = (DOMAIN,)

    def round(self, source: str, result: str, switch: int, scope: Scope) -> NodeProto:
        """See Roundings."""
        return self.node("Round", [source], result, switch)

    def choose(self, plain: str, other: str, result: str, switch: int) -> NodeProto | None:
        """See Roundings."""
        return self.node("Choose", [plain, other], result, switch)

    def node(self, op_type: str, sources: list[str], result: str, switch: int) -> NodeProto:
        """An operator that a switch rules: Round or Choose."""
        return helper.make_node(
            op_type,
            [*sources, self.port],
            [result],
            domain=DOMAIN,
            switch=switch,
            type=_TYPES[self.half],
            threads=self.threads,
        )


@dataclass(frozen=True, slots=True)
class CastRoundings:
    """By ONNX's own operators, for any provider."""

    half: int
    name: Names
    port: str = SWITCHES
    domains: tuple[str, ...] = ()

    def round(self, source: str, result: str, switch: int, scope: Scope) -> NodeProto:
        """See Roundings."""
        low, rounded, same = self.name(source), self.name(source), self.name(source)
        then = [
            cast_node(source, low, self.half, scope.opset),
            cast_node(low, rounded, FLOAT, scope.opset),
        ]
        other = [helper.make_node("Identity", [source], [same])]
        condition = scope.condition(switch, self.name)
        branches = graph_of("rounded", then, [rounded]), graph_of("same", other, [same])
        return if_node(self.name("round"), condition, [result], *branches)

    def choose(self, plain: str, other: str, result: str, switch: int) -> None:
        """See Roundings."""
        return

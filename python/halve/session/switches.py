"""What a run of the probe decides: for every place that may round, whether it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["SWITCHES", "Switch", "SwitchList"]

SWITCHES = "halve.switches"
"""The input of a gated model: bool[switches]. A model with a value of that name has another."""


@dataclass(frozen=True, slots=True)
class Switch:
    """On where one of the units `rounds` is 16-bit; but off where all of `settled`, if there are
    any, are, because they have rounded already what would be rounded here.
    """

    rounds: tuple[int, ...]
    settled: tuple[int, ...] = ()


class SwitchList:
    """Switches by number, equal ones once."""

    def __init__(self) -> None:
        """None yet."""
        self._numbers: dict[Switch, int] = {}

    def __call__(self, rounds: Iterable[int], settled: Iterable[int] = ()) -> int:
        """The number of a switch."""
        switch = Switch(tuple(sorted(set(rounds))), tuple(sorted(set(settled))))
        return self._numbers.setdefault(switch, len(self._numbers))

    @property
    def made(self) -> tuple[Switch, ...]:
        """All of them, by number."""
        return tuple(self._numbers)

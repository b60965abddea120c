"""What a run of the probe decides: for every place that may round, whether it does."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SWITCHES", "Switch", "SwitchBoard", "SwitchList"]

SWITCHES = "halve.switches"
"""The input of a gated model: bool[switches]."""


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


class SwitchBoard:
    """Works out all switches for a set of float32 units."""

    def __init__(self, switches: Sequence[Switch], units: int) -> None:
        """`units` is how many there are."""
        self._units = units
        # Behind the units there is one that is never 16-bit, for empty groups.
        self._rounds = _groups([switch.rounds for switch in switches])
        self._settled = _groups([switch.settled or (units,) for switch in switches])
        self._none = not switches

    def set(self, fp32: Collection[int]) -> NDArray[np.bool_]:
        """bool[switches] of a run in which these units are float32."""
        if self._none:
            return np.zeros(0, np.bool_)
        half = np.ones(self._units + 1, np.bool_)
        half[self._units] = False
        half[list(fp32)] = False
        members, starts = self._rounds
        rounds = np.logical_or.reduceat(half[members], starts)
        members, starts = self._settled
        result: NDArray[np.bool_] = rounds & ~np.logical_and.reduceat(half[members], starts)
        return result


def _groups(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The members of all groups, none empty, in a row, and where each begins."""
    starts = list(itertools.accumulate(map(len, rows), initial=0))[:-1]
    members = [member for row in rows for member in row]
    return np.array(members, np.intp), np.array(starts, np.intp)

"""What rules a run of the probe, worked out for a set of units: in a small model's run it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from halve import _core

__all__ = ["SwitchBoard"]


class SwitchBoard:
    """Switches, each on where one of its units `rounds` is 16-bit, but not where it has units
    `settled` and all of those are.
    """

    def __init__(
        self, rounds: Sequence[Sequence[int]], settled: Sequence[Sequence[int]], units: int
    ) -> None:
        """`units` is how many there are.

        Raises:
            IndexError: a switch names another.
        """
        self._board = _core.SwitchBoard(rounds, settled, units)

    def set(self, fp32: Iterable[int]) -> NDArray[np.bool_]:
        """bool[switches] where these units are float32 and the others 16-bit.

        Raises:
            IndexError: there is no such unit.
        """
        flags: NDArray[np.bool_] = self._board.set(fp32)
        return flags

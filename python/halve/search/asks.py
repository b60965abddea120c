"""What a search asks, what it is told, and sets of units as the bits of an integer."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import TypeVar

from halve.search_types import OutputTrial, Trial

__all__ = ["JUDGE", "Answer", "Ask", "Key", "Steps", "answer_of", "bits", "mask_of", "verdict_of"]

_T = TypeVar("_T")
Key = tuple[int, int]
"""(bits of the float32 units, sample)."""
_DIGITS = bytes.maketrans(b"01", b"\0\1")
JUDGE = -1
"""The sample of an ask that goes to the final judge, which has samples of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run told: all that the search and the journal keep of a Trial.

    `energy` and `error` are the worst output's, `total` the energy of all outputs together, inf
    where it is not a number. `validated` is the validate function's word, None where it was not
    asked; `passed` weighs everything.
    """

    passed: bool
    error: float
    energy: float
    total: float
    outputs: tuple[OutputTrial, ...] = ()
    failure: str = ""
    validated: bool | None = None

    def within(self, share: float) -> bool:
        """Whether it passes, or would with `share` times the tolerance of its trial."""
        return self.passed or (self.error <= share and self.validated is not False)


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of the search: `fp32` in float32 on one sample.

    `ahead` gives what it will probably ask next, the likeliest first. It may be called until the
    ask is answered.
    """

    fp32: int
    sample: int
    ahead: Callable[[], Iterator[Key]]

    @property
    def key(self) -> Key:
        """What the answer depends on."""
        return (self.fp32, self.sample)


Steps = Generator[Ask, Answer, _T]
"""A part of the search: asks, is sent answers, returns a result."""


def answer_of(
    trial: Trial, validated: bool | None = None, *, validate_only: bool = False
) -> Answer:
    """Reduce a trial to what is kept; with `validate_only` the tolerances are not looked at."""
    outputs = tuple(
        OutputTrial(output.name, bool(output.passed), float(output.error), float(output.energy))
        for output in trial.outputs
    )
    return verdict_of(outputs, trial.failure, validated, validate_only)


def verdict_of(
    outputs: tuple[OutputTrial, ...], failure: str, validated: bool | None, validate_only: bool
) -> Answer:
    """Weigh outputs, failure and the validate function's word."""
    trial = Trial(0, outputs, failure)
    tolerated = not failure if validate_only else trial.passed
    total = math.inf if failure else _finite(sum(output.energy for output in outputs))
    energy = math.inf if total == math.inf else trial.energy
    return Answer(
        tolerated and validated is not False,
        _finite(trial.error),
        energy,
        total,
        outputs,
        failure,
        validated,
    )


def mask_of(units: Iterable[int], count: int) -> int:
    """Pack units into bits; `count` is one more than the largest possible unit."""
    packed = bytearray((count >> 3) + 1)
    for unit in units:
        packed[unit >> 3] |= 1 << (unit & 7)
    return int.from_bytes(packed, "little")


def bits(mask: int) -> list[int]:
    """The units of a mask, ascending."""
    text = bin(mask)[:1:-1].encode().translate(_DIGITS)
    return list(compress(range(len(text)), text))


def _finite(value: float) -> float:
    """Anything that is not a finite number counts as infinitely wrong."""
    return value if math.isfinite(value) else math.inf

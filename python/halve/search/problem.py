"""What is searched, and what a search found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from halve.errors import OptionError, VerdictError
from halve.search.asks import Answer
from halve.search_types import TrialRow, Unit, UnitSet

__all__ = ["ORDERS", "STRATEGIES", "CheckError", "Parameters", "Problem", "SearchOutcome"]

ORDERS = ("density", "energy", "graph")
STRATEGIES = ("portfolio", "bisection")


class CheckError(VerdictError):
    """Not every sample passes with all units in float32, so there is nothing to search.

    `sample` is the place of the first that failed, `answer` says how each output did, and `what`
    is the worst of them, the validate function, or why the run broke.
    """

    def __init__(self, sample: int, answer: Answer) -> None:
        """Keep what failed, for a message that knows the model, the samples and the options."""
        worst = max(answer.outputs, key=lambda output: output.error, default=None)
        what = "the validate function"
        if worst is not None and answer.validated is not False:
            what = f"output {worst.name!r}"
        self.sample = sample
        self.answer = answer
        self.what = answer.failure or what
        super().__init__(
            f"with every unit in float32, sample {sample} fails its check ({self.what}); allowed: a"
            " float32 model that passes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How the search spends its trials; docs/search.md says what each weighs."""

    orders: tuple[str, ...] = ("density", "energy")
    """The portfolio, tried in this order: "density" (energy per cost), "energy", and "graph", which
    is the classic bisection in graph order."""
    refine_until: float = 0.06
    """Clusters are split until what that could still save is this share of the kept cost."""
    refine_share: float = 0.7
    """At most this many splits a unit, times 0.5 and the share of the cost that is kept, and 48
    more."""

    def __post_init__(self) -> None:
        """Check the names and ranges."""
        unknown = [order for order in self.orders if order not in ORDERS]
        if unknown or not self.orders:
            raise OptionError(f"orders is {self.orders!r}; allowed: some of {', '.join(ORDERS)}")
        if self.refine_until < 0 or self.refine_share < 0:
            raise OptionError("refine_until and refine_share: allowed are numbers of 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Units to decide, samples to decide them by, and what is known before the first trial.

    Raises:
        OptionError: a unit's index is not its place, or a unit or sample does not exist.
    """

    units: tuple[Unit, ...]
    """In graph order; `index` is the place."""
    samples: int
    """How many samples the evaluator has; they are named 0 to samples - 1."""
    held_out: frozenset[int] = frozenset()
    """Samples that the search does not see; the candidate is judged on them at the end."""
    margin: float = 1.0
    """Errors of trials are shares of so much of the tolerance, in (0, 1]. A sample that is held out
    may use the whole tolerance until one refuses a set: then they decide like the others."""
    given: UnitSet = frozenset()
    """Units that are float32 in every trial."""
    marked: UnitSet = frozenset()
    """Units that a statistics run showed cannot be 16-bit: tried float32 first, minimised last."""
    hints: Mapping[int, float] = field(default_factory=dict)
    """How risky a unit looks (default 0): riskier ones are converted later, where nothing else
    tells them apart."""
    carry: Callable[[UnitSet], UnitSet] | None = None
    """Adds to a float32 set the units that are cheaper in float32 than the casts around them."""
    price: Callable[[UnitSet], float] | None = None
    """What a float32 set costs in all; None: the sum of its units' costs."""
    seed: int = 0
    """Recorded in the journal's header; the search itself draws nothing at random."""
    max_trials: int | None = None
    """Sets judged before the best verified one is taken."""
    time_budget_s: float | None = None
    """Seconds after which the best verified set is taken; a trial in progress is waited for, and
    the first, all units in float32, is always made."""
    strategy: str = "portfolio"
    """"portfolio", or "bisection": clusters of the graph order alone, nothing minimised."""
    parameters: Parameters = Parameters()

    def __post_init__(self) -> None:
        """Check that everything named exists."""
        if any(unit.index != place for place, unit in enumerate(self.units)):
            raise OptionError("a unit's index is not its place; allowed: 0, 1, 2, … in order")
        count = len(self.units)
        for name in ("given", "marked", "hints"):
            wrong = sorted(u for u in getattr(self, name) if not 0 <= u < count)
            if wrong:
                raise OptionError(f"{name} names unit {wrong[0]}; allowed: 0 to {count - 1}")
        if not 0 < self.samples > len(self.held_out):
            raise OptionError("no sample is left to search with; give one that is not held out")
        if any(not 0 <= s < self.samples for s in self.held_out):
            raise OptionError(f"held_out names a sample beyond {self.samples - 1}")
        if not 0 < self.margin <= 1:
            raise OptionError(f"margin is {self.margin!r}; allowed: above 0 and at most 1")
        if self.strategy not in STRATEGIES:
            raise OptionError(f"strategy is {self.strategy!r}; allowed: {', '.join(STRATEGIES)}")

    @property
    def searched(self) -> tuple[int, ...]:
        """The samples that the search sees."""
        return tuple(s for s in range(self.samples) if s not in self.held_out)

    @property
    def most_error(self) -> float:
        """The error of a trial that uses the whole tolerance."""
        return 1 / self.margin


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """A verified set of float32 units and how it was found.

    `fp32` is `required`, `carried` and the problem's `given` together. With `complete`, leaving
    out any one unit of `required` (of required and carried, before the carried ones were added)
    was tried and failed the verdict; without, a budget ended the search and `fp32` is the
    cheapest set that passed. `passed`: every sample that was judged passes, `held_out_judged`:
    those held out were. `sensitivity` is the energy with only that unit in 16 bits, where it was
    measured or follows from what was; inf for a unit that makes the result infinite where it joins
    units that do not. `memo` is every answer, by (mask, sample).
    """

    fp32: UnitSet
    required: UnitSet
    carried: UnitSet
    trials: tuple[TrialRow, ...]
    sensitivity: dict[int, float]
    complete: bool
    passed: bool
    held_out_judged: bool
    price: float
    memo: Mapping[tuple[int, int], Answer] = field(repr=False, default_factory=dict)
    density: tuple[float, ...] = field(repr=False, default=())

"""The records of the precision search: units, trials, verdicts, results. Frozen."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from halve.errors import OptionError
from halve.field_types import check_types
from halve.plans import Plan
from halve.types import Comparison

__all__ = [
    "Evaluator",
    "FinalVerdict",
    "OutputTolerance",
    "OutputTrial",
    "SampleVerdict",
    "SearchEvent",
    "SearchResult",
    "Tolerances",
    "Trial",
    "TrialRow",
    "Unit",
    "UnitEvidence",
    "UnitNode",
    "UnitSet",
]

UnitSet = frozenset[int]
"""Indices of units that compute in float32; all others compute in 16 bits."""


@dataclass(frozen=True, slots=True)
class UnitNode:
    """A node of a unit, and the float32 operands that become 16-bit with the unit.

    `id` is the node's id in the plan. `in_slots` and `out_slots` are positions among the node's
    inputs and outputs. `neutral` marks an activation that rounds nothing itself and is run with
    the unit for speed: it is not decided.
    """

    id: int
    in_slots: tuple[int, ...]
    out_slots: tuple[int, ...]
    neutral: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """Nodes whose precision is decided together: one arithmetic node, or a few that are fused.

    Inside a 16-bit unit the output of every node is rounded all the same. `index` is the unit's
    place in graph order. `scope` is the path of the body that holds it. `sources` are the units
    that make what this one reads: where all of them are 16-bit, nothing is left to round when it
    is read; None where an input is never rounded before. `cost` is what keeping it
    float32 costs, in bytes of memory traffic (halve.plan.units says how it is counted), and
    `flops` the floating-point operations that then run in float32.
    """

    index: int
    nodes: tuple[UnitNode, ...]
    scope: str
    label: str
    cost: float = 1.0
    flops: float = 0.0
    sources: tuple[int, ...] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The plan ids of the nodes that are decided."""
        return tuple(node.id for node in self.nodes if not node.neutral)


@dataclass(frozen=True, slots=True)
class OutputTolerance:
    """What one output may differ by.

    An element matches where |a - b| <= atol + rtol·|b| with the reference b. The output passes
    where at most the share `ntol` of its elements does not match and, with `norm_rel`, where
    |1 - ‖a‖/‖b‖| <= norm_rel. With `cos_sim`, the cosine must reach it, and rtol, atol and ntol
    are not looked at. Outputs that are not floats must be equal, but for the share `ntol`.
    """

    rtol: float = 1e-2
    atol: float = 1e-2
    ntol: float = 0.0
    cos_sim: float | None = None
    norm_rel: float | None = None

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            OptionError: a field is no number, or outside its range.
        """
        check_types(self)
        for name, value, low, high in (
            ("rtol", self.rtol, 0.0, sys.float_info.max),
            ("atol", self.atol, 0.0, sys.float_info.max),
            ("ntol", self.ntol, 0.0, 1.0),
            ("cos_sim", 0.0 if self.cos_sim is None else self.cos_sim, -1.0, 1.0),
            ("norm_rel", 0.0 if self.norm_rel is None else self.norm_rel, 0.0, sys.float_info.max),
        ):
            if not low <= value <= high:
                most = f"{low:g} to {high:g}" if high <= 1 else "a finite number, 0 or more"
                raise OptionError(f"{name} is {value!r}; allowed: {most}")

    def tightened(self, margin: float) -> OutputTolerance:
        """The tolerance times `margin`, in (0, 1]: what the search works within."""
        return OutputTolerance(
            self.rtol * margin,
            self.atol * margin,
            self.ntol * margin,
            None if self.cos_sim is None else 1 - (1 - self.cos_sim) * margin,
            None if self.norm_rel is None else self.norm_rel * margin,
        )


@dataclass(frozen=True, slots=True)
class Tolerances:
    """One tolerance for all outputs, and others for outputs by name."""

    default: OutputTolerance = OutputTolerance()
    outputs: Mapping[str, OutputTolerance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check both fields.

        Raises:
            OptionError: one is not what it should be.
        """
        check_types(self)
        for name, tolerance in self.outputs.items():
            if not isinstance(tolerance, OutputTolerance):
                raise OptionError(
                    f"the tolerance of output {name!r} is {tolerance!r}; allowed: a"
                    " halve.OutputTolerance"
                )

    def of(self, output: str) -> OutputTolerance:
        """The tolerance of an output."""
        return self.outputs.get(output, self.default)

    def check_names(self, known: Collection[str]) -> None:
        """Without this a misspelt name would leave its output at the default tolerance, unsaid.

        Raises:
            OptionError: a tolerance is for an output that is not among `known`.
        """
        unknown = sorted(self.outputs.keys() - set(known))
        if unknown:
            raise OptionError(
                f"a tolerance is for output {unknown[0]!r}, which the model does not have; allowed:"
                f" {', '.join(sorted(known))}"
            )

    def tightened(self, margin: float) -> Tolerances:
        """All of them times `margin`."""
        return Tolerances(
            self.default.tightened(margin),
            {name: tolerance.tightened(margin) for name, tolerance in self.outputs.items()},
        )


@dataclass(frozen=True, slots=True)
class OutputTrial:
    """One output of one sample against its reference.

    `error` is how much of the tolerance is used: 1 at its very limit, above it where `passed` is
    false, inf for what is not finite or has another shape. `energy` is a mean of the
    elements' squared errors in which the large ones count most (halve.compare.verdict): it adds up
    over independent roundings, nearly.
    `comparison` is None where the shapes differ, the output is not a float tensor, or the verdict
    alone was asked for.
    """

    name: str
    passed: bool
    error: float
    energy: float
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: a set of float32 units on one sample.

    `failure` says why there are no outputs (a crash, the time limit, out of memory); such a trial
    does not pass, and is run again where the search is resumed from a journal. `values` are the
    outputs themselves where a validate function needs them; they are never written to a journal.
    """

    sample: int
    outputs: tuple[OutputTrial, ...] = ()
    failure: str = ""
    values: Mapping[str, NDArray[Any]] | None = None

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance."""
        return not self.failure and all(output.passed for output in self.outputs)

    @property
    def error(self) -> float:
        """The worst output's use of its tolerance."""
        if self.failure:
            return math.inf
        return max((output.error for output in self.outputs), default=0.0)

    @property
    def energy(self) -> float:
        """The worst output's energy."""
        if self.failure:
            return math.inf
        return max((output.energy for output in self.outputs), default=0.0)


class Evaluator(Protocol):
    """Runs a model with a set of its units in float32. Safe to call from several threads."""

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """Run the sample of that index and compare; a run that breaks is a Trial with `failure`.

        The answer depends on the arguments alone, not on what ran before or beside it.
        """
        ...

    def close(self) -> None:
        """Free what is held; a run in progress is ended."""
        ...


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A set that was judged, as the journal and the report keep it.

    `number` counts from 0. `phase` is "check", "sensitivity", "grow", "minimise", "carry",
    "holdout" or "repair". `fp32` are the float32 units; `tested` those that this trial asks about,
    and `parent` the trial whose cluster they were split from (None: none). `error` and `energy`
    are the worst over the samples that ran; `runs` is how many did.
    """

    number: int
    phase: str
    fp32: tuple[int, ...]
    tested: tuple[int, ...]
    parent: int | None
    passed: bool
    error: float
    energy: float
    runs: int


@dataclass(frozen=True, slots=True)
class SearchEvent:
    """A step of a running search, passed to `SearchOptions.progress`.

    `states` has a character a unit: "?" undecided, "h" 16-bit, "f" float32. `clusters` are the
    (first, last) units of the groups that are decided together now. `row` is the trial that just
    ended. `best_kept` is how many units the best passing set keeps float32 (None: none yet).
    """

    phase: str
    trials: int
    states: str
    clusters: tuple[tuple[int, int], ...]
    row: TrialRow | None
    best_kept: int | None
    elapsed_s: float
    remaining_s: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class UnitEvidence:
    """Why a unit stays float32.

    `role` is "required" (the verdict fails without it, where the search was complete), "carried"
    (kept for the cost of casts) or "given" (asked for by the user). `cause` is "overflow",
    "underflow", "sum", "mask", "position", "error budget", "cast cost", "given", or "undecided"
    where a budget ended the search before the unit was tried; `reason` says it in words with
    `value`, the number that shows it, and `operand` ("in1", "out0", or "" for the node as a whole).
    `energy` is the error with only this unit in 16 bits, as a share of the tolerance.
    """

    unit: int
    nodes: tuple[int, ...]
    role: str
    cause: str
    reason: str
    value: float | None = None
    operand: str = ""
    energy: float | None = None


@dataclass(frozen=True, slots=True)
class SampleVerdict:
    """The outputs of one sample, judged at the whole tolerance; `held_out` from the search."""

    id: int
    held_out: bool
    passed: bool
    outputs: tuple[OutputTrial, ...]
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FinalVerdict:
    """The judgement of a written model.

    `level` is "device", "emulated" or "cpu" (what each means stands in docs/verification.md),
    "searched" for a set that was tested by the search's own evaluator only. `warnings` say where a
    plan that was judged again was made for another file, runtime or options. Without `by_tolerance`
    a validate function alone decided: outputs pass as their sample does, and their errors are
    shares of the default tolerance, which nobody asked for.
    """

    level: str
    passed: bool
    samples: tuple[SampleVerdict, ...]
    warnings: tuple[str, ...] = ()
    by_tolerance: bool = True


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    `required` and `carried` are plan ids: nodes without which the verdict fails, and nodes that
    are cheaper in float32 than the casts around them; `given` are those that the options keep
    float32, which nothing was tried about. `units` are all that could be decided,
    `fp32` those that stay float32. `sensitivity` is the energy with only that unit in 16 bits,
    by unit, where it was measured. `evaluator` is "probe" or "sessions". `complete` is false
    where a budget ended the search early. `fp32_flop_share` is the share of all floating-point
    operations that stay in float32.
    """

    plan: Plan
    required: tuple[int, ...]
    carried: tuple[int, ...]
    units: tuple[Unit, ...]
    fp32: tuple[int, ...]
    evidence: tuple[UnitEvidence, ...]
    verdict: FinalVerdict
    trials: tuple[TrialRow, ...]
    sensitivity: Mapping[int, float]
    evaluator: str
    complete: bool
    fp32_flop_share: float
    seed: int
    elapsed_s: float
    warnings: tuple[str, ...] = ()
    notes: Sequence[str] = ()
    given: tuple[int, ...] = ()

    @property
    def runs(self) -> int:
        """Model runs of all trials."""
        return sum(row.runs for row in self.trials)

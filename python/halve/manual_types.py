"""The records of manual mode: what two runs of a model, float32 and 16-bit, look like. Frozen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from halve.plans import Plan
from halve.types import Comparison

__all__ = [
    "ManualEvent",
    "ManualReport",
    "ModelOutput",
    "NodeStatistics",
    "OutputBlock",
    "OutputFiles",
    "OutputStatistics",
    "RunStatistics",
    "SampleStatistics",
    "merge_comparisons",
]


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """One run's values of one tensor, over `runs` times that it was made (a loop makes it often).

    `ge` and `le` count elements whose magnitude is at least, or at most, the two thresholds;
    infinities and zeros are included, NaN is not. `clip` counts elements that originate an
    overflow here: everything that the node read was finite, and the result before rounding leaves
    what the type holds. `inherited` counts NaN and infinite elements where something that the
    node read was not finite. `minimum` and `maximum` are over finite elements; without any they
    are inf and -inf.
    """

    elements: int = 0
    nan: int = 0
    inf: int = 0
    ge: int = 0
    le: int = 0
    clip: int = 0
    inherited: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    runs: int = 0

    @property
    def max_abs(self) -> float:
        """The largest finite magnitude; 0 where no element is finite."""
        return max(self.maximum, -self.minimum, 0.0)

    @property
    def ge_ratio(self) -> float:
        """The share of elements counted by `ge`; 0 for no elements."""
        return self._share(self.ge)

    @property
    def le_ratio(self) -> float:
        """The share of elements counted by `le`; 0 for no elements."""
        return self._share(self.le)

    @property
    def clip_ratio(self) -> float:
        """The share of elements counted by `clip`; 0 for no elements."""
        return self._share(self.clip)

    @property
    def check_nan(self) -> bool:
        """Whether any element is NaN."""
        return self.nan > 0

    def merged(self, other: RunStatistics) -> RunStatistics:
        """Both together."""
        return RunStatistics(
            self.elements + other.elements,
            self.nan + other.nan,
            self.inf + other.inf,
            self.ge + other.ge,
            self.le + other.le,
            self.clip + other.clip,
            self.inherited + other.inherited,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.runs + other.runs,
        )

    def _share(self, count: int) -> float:
        return count / self.elements if self.elements else 0.0


@dataclass(frozen=True, slots=True)
class OutputStatistics:
    """One float output of one node, in both runs.

    `dtype` is the type that the deployable model makes it in ("float32", "float16", "bfloat16").
    `fp32` and `fp16` are the two runs (the latter is named so whatever the 16-bit type is); None
    where the node did not run there, as in a branch that only the other run took. `shape` is the
    largest that was seen. `total` compares the 16-bit run's values (`a`) with the float32 run's
    (`b`): all error, inherited and own. `local` is this node's own rounding; see
    ManualReport.local for what it compares. Either is None where there is nothing to compare.
    `passed`: whether `total` is within the tolerance, `close` whether it is within its rtol, atol
    and ntol alone (see OutputBlock); None without `total`. `exponents` has (e, count) by rising e
    for the float32 values: how many of at most `sampled` evenly spaced nonzero elements have a
    magnitude in [2^e, 2^(e+1)).
    """

    slot: int
    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    fp32: RunStatistics | None = None
    fp16: RunStatistics | None = None
    total: Comparison | None = None
    local: Comparison | None = None
    passed: bool | None = None
    close: bool | None = None
    exponents: tuple[tuple[int, int], ...] = ()
    sampled: int = 0

    @property
    def local_error(self) -> float:
        """‖local difference‖ / ‖its reference‖: inf for a non-finite difference, 0 for none."""
        return _relative(self.local)

    @property
    def total_error(self) -> float:
        """‖difference‖ / ‖float32 values‖: inf for a non-finite difference, 0 for none."""
        return _relative(self.total)

    @property
    def inherited_error(self) -> float:
        """What of `total_error` the node did not make itself: the root of the difference of their
        squares, since independent roundings add up in square; 0 where `local` is the larger.
        """
        total, local = self.total_error, self.local_error
        if math.isinf(total):
            return 0.0 if math.isinf(local) else math.inf
        return math.sqrt(max(total * total - local * local, 0.0))

    def head_room(self, limit: float) -> float | None:
        """How many times larger the float32 values could be before they pass `limit`; None where
        all of them are 0 or not finite, or the float32 run did not get here.
        """
        largest = 0.0 if self.fp32 is None else self.fp32.max_abs
        return limit / largest if largest else None


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """A node of the source file, by its id (SPEC "Node ids").

    `precision` is the plan's type of the node, "" without float operands. `outputs` are its float
    tensor outputs. `unmeasured` says why there are no statistics where there could be some, else
    it is "".
    """

    id: int
    name: str
    type: str
    scope: str
    precision: str
    outputs: tuple[OutputStatistics, ...] = ()
    unmeasured: str = ""

    @property
    def over_limit(self) -> bool:
        """Whether an overflow originates here in the 16-bit run."""
        return any(item.fp16 is not None and item.fp16.clip > 0 for item in self.outputs)

    @property
    def local_error(self) -> float:
        """The largest of its outputs' local errors; 0 without any."""
        return max((item.local_error for item in self.outputs), default=0.0)

    @property
    def total_error(self) -> float:
        """The largest of its outputs' total errors; 0 without any."""
        return max((item.total_error for item in self.outputs), default=0.0)


@dataclass(frozen=True, slots=True)
class OutputBlock:
    """Two values of one model output: the one that is judged (`a`), and its reference (`b`).

    `close`: whether no more elements than the tolerance's `ntol` allows are beyond rtol and atol,
    which is what `passed` says, too, unless the tolerance has a cosine or a norm ratio.
    `comparison` is None where shapes differ, or for what is not a float tensor; then `elements`
    and `mismatches` are all there is. `error` is how much of the tolerance is used: 1 at its limit.
    """

    passed: bool
    close: bool
    error: float
    a_elements: int
    b_elements: int
    mismatches: int
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """An output of the model in both runs and, where a sample has them, its golden values.

    Without golden outputs `fp16_golden` and `fp32_golden` are None.
    """

    name: str
    fp16_golden: OutputBlock | None
    fp32_golden: OutputBlock | None
    fp16_fp32: OutputBlock


@dataclass(frozen=True, slots=True)
class SampleStatistics:
    """A sample's statistics; `id` is None for all samples merged.

    `nodes` are in the order of ids: those that the filters let through.
    """

    id: int | None
    nodes: tuple[NodeStatistics, ...]
    model_outputs: tuple[ModelOutput, ...]

    @property
    def passed(self) -> bool:
        """Whether the 16-bit run's outputs are within tolerance of the golden outputs, or where
        there are none of the float32 run's.
        """
        return all((row.fp16_golden or row.fp16_fp32).passed for row in self.model_outputs)

    @property
    def unmeasured(self) -> tuple[NodeStatistics, ...]:
        """Nodes that have no statistics and should."""
        return tuple(node for node in self.nodes if node.unmeasured)


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The models that ran, and ONNX Runtime's optimised graphs of them; None where nothing was
    kept (no workspace).

    `fp16_executable` is the model that stood for the deployable one: on a provider without 16-bit
    kernels its lowered form, in which every 16-bit tensor is rounded around float32 arithmetic.
    `deploy` is the deployable model, `plan` its plan file.
    """

    fp16_executable: Path | None = None
    fp16_hlir: Path | None = None
    fp32_executable: Path | None = None
    fp32_hlir: Path | None = None
    deploy: Path | None = None
    plan: Path | None = None


@dataclass(frozen=True, slots=True)
class ManualReport:
    """What `halve.measure` found.

    `mode` is "calc" or "raw". `plan` is that of the deployable model, `fp32_nodes` the ids that
    were asked to stay float32. `limit` is the largest finite value of the 16-bit type; `ge` and
    `le` are the thresholds. `level` says how 16 bits were computed: "emulated" (rounding around
    float32 arithmetic) or "device". `local` says what local errors are: "exact" (what the node
    makes of the float32 run's values, rounded as its operands, its weights and its output are,
    against the float32 run's), or "output" (what rounding its output alone changes, against
    the 16-bit run's result before that). `merged` has all samples together. `reused` names files of
    the workspace that were there already. `options` are the options in plain values.
    """

    mode: str
    plan: Plan
    fp32_nodes: tuple[int, ...]
    samples: tuple[SampleStatistics, ...]
    merged: SampleStatistics
    files: OutputFiles
    limit: float
    ge: float
    le: float
    level: str = "emulated"
    local: str = "exact"
    runtime: str = ""
    provider: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: Sequence[str] = ()
    reused: tuple[str, ...] = ()
    prepare_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every sample's outputs are within tolerance."""
        return all(sample.passed for sample in self.samples)

    def over_limit(self) -> Iterator[NodeStatistics]:
        """The nodes that originate an overflow in the 16-bit run, in the order of ids."""
        return (node for node in self.merged.nodes if node.over_limit)


@dataclass(frozen=True, slots=True)
class ManualEvent:
    """A step of a running measurement, passed to `ManualOptions.progress`.

    `stage` is "prepare" or "measure"; `done` of `total` nodes of the sample at position `sample`
    of `samples` have been measured.
    """

    stage: str
    sample: int = 0
    samples: int = 0
    done: int = 0
    total: int = 0


def merge_comparisons(first: Comparison | None, second: Comparison | None) -> Comparison | None:
    """Both together; None where neither is there. Indices are those of the larger error's part."""
    if first is None or second is None:
        return first or second
    worst_abs = max(first, second, key=lambda item: item.max_abs_error)
    worst_rel = max(first, second, key=lambda item: item.max_rel_error)
    return Comparison(
        first.elements + second.elements,
        first.a_nan + second.a_nan,
        first.a_inf + second.a_inf,
        first.b_nan + second.b_nan,
        first.b_inf + second.b_inf,
        first.mismatches + second.mismatches,
        worst_abs.max_abs_error,
        worst_abs.max_abs_index,
        worst_rel.max_rel_error,
        worst_rel.max_rel_index,
        first.sum_aa + second.sum_aa,
        first.sum_bb + second.sum_bb,
        first.sum_ab + second.sum_ab,
        first.sum_ee + second.sum_ee,
    )


def _relative(found: Comparison | None) -> float:
    if found is None or found.sum_ee == 0:
        return 0.0
    if not math.isfinite(found.sum_ee):
        return math.inf
    return math.sqrt(found.sum_ee / found.sum_bb) if found.sum_bb > 0 else math.inf

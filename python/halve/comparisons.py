"""The records of a comparison of two models, or of two archives of arrays. Frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from halve.errors import OptionError
from halve.field_types import check_threads, check_types
from halve.search_types import Tolerances
from halve.types import Comparison

__all__ = [
    "CompareOptions",
    "ComparedOutput",
    "ComparedSample",
    "ComparedSide",
    "ModelComparison",
    "WorstElement",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How two models, or two archives, are compared; every field has a default.

    Raises:
        OptionError: a field has a value outside its range.
    """

    tolerances: Tolerances = field(default_factory=Tolerances)
    """What each output of the first may differ by from the second's."""
    outputs: tuple[str, ...] = ()
    """The outputs to compare; none named: all, which then must be the same on both sides."""
    worst: int = 5
    """How many of an output's worst elements are reported for each sample; 0: none."""
    provider: str = "CPUExecutionProvider"
    """ONNX Runtime's execution provider."""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the provider, by ONNX Runtime's names."""
    session_options: Mapping[str, str] = field(default_factory=dict)
    """Session configuration entries, by ONNX Runtime's keys."""
    optimise: str | None = None
    """ONNX Runtime's optimisation level; None: "disabled" on the CPU provider, so that arithmetic
    is as the nodes say, and "all" on others, as deployed."""
    threads: int = 1
    """Threads inside a node, at most 1024; results may depend on it."""
    custom_op_library: Path | None = None
    """A shared library with custom ops."""
    feedback: tuple[tuple[str, str], ...] = ()
    """(output, input) pairs: a sample is rolled over its steps, the output fed to the input."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_types(self)
        if self.worst < 0:
            raise OptionError(f"worst is {self.worst!r}; allowed: 0 or more")
        check_threads("threads", self.threads, 1)


@dataclass(frozen=True, slots=True)
class WorstElement:
    """An element that does not equal its reference.

    `index` has a place a dimension. `error` is |a - b| / (atol + rtol·|b|). Errors are inf for
    texts, for a NaN, and for an infinity where the other is not the same one.
    """

    index: tuple[int, ...]
    a: float | int | str
    b: float | int | str
    abs_error: float
    rel_error: float
    error: float


@dataclass(frozen=True, slots=True)
class ComparedOutput:
    """One output of one sample: the first side against the second, its reference.

    `error` is how much of the tolerance is used (see OutputTrial). `comparison` is None where the
    shapes differ or the reference is not a float array; `reason` then says so. `worst` are the
    elements that use the most of atol and rtol, the worst first.
    """

    name: str
    a_dtype: str
    b_dtype: str
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    passed: bool
    error: float
    mismatches: int
    comparison: Comparison | None = None
    worst: tuple[WorstElement, ...] = ()
    reason: str = ""

    @property
    def elements(self) -> int:
        """Elements of the reference."""
        return math.prod(self.b_shape)


@dataclass(frozen=True, slots=True)
class ComparedSample:
    """The outputs of one sample; `id` is None for two archives, which are no sample."""

    id: int | None
    outputs: tuple[ComparedOutput, ...]


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """One of the two: its file, and how its numbers were made.

    `level` is "device" or "cpu" (the file ran on `provider`), "emulated" (the file was lowered:
    every 16-bit value really rounded, around float32 arithmetic), or "archive" (read from it).
    `half_types` are the 16-bit types in a model.
    """

    path: str
    level: str
    half_types: tuple[str, ...] = ()
    provider: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Two models on every sample, or two archives: `a` against its reference `b`.

    `left_out` are outputs that were not asked for, of either side.
    """

    a: ComparedSide
    b: ComparedSide
    samples: tuple[ComparedSample, ...]
    tolerances: Tolerances
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every output of every sample is within its tolerance."""
        return all(output.passed for sample in self.samples for output in sample.outputs)

"""The final judge: a written model, loaded afresh, on every sample at the whole tolerance.

It shares with the search's probe only the comparison of outputs: the model is read back and
lowered by halve.session.lowering.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from halve.compare.verdict import compare_outputs
from halve.errors import (
    ModelError,
    OptionError,
    SampleError,
    UnsupportedModelError,
)
from halve.search_types import FinalVerdict, SampleVerdict, Tolerances
from halve.session.judging import load_lowered
from halve.session.runtime import CPU_PROVIDER, Session, load, run
from halve.session.samples import Sample, naming
from halve.session.steps import Outputs, roll

__all__ = [
    "LEVELS",
    "JudgeSettings",
    "WrittenModel",
    "check_loads",
    "open_source",
    "open_written",
    "reference_outputs",
    "run_sample",
]

LEVELS = ("device", "emulated", "cpu")
_UNOPTIMISED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """How the judge loads and runs models.

    `level` is "device" (the file itself on `provider`), "cpu" (the file itself on the CPU
    provider) or "emulated" (the file lowered to float32 arithmetic with true rounding).
    `feedback` are (output, input) pairs; see halve.session.steps.
    """

    level: str = "emulated"
    provider: str = CPU_PROVIDER
    provider_options: Mapping[str, str] = field(default_factory=dict)
    session_options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    custom_op_library: Path | None = None
    feedback: tuple[tuple[str, str], ...] = ()
    require_load: bool = True
    """Whether the written file itself must load, too, where it is judged by its lowered form."""

    def __post_init__(self) -> None:
        """Check the level."""
        if self.level not in LEVELS:
            raise OptionError(f"level is {self.level!r}; allowed: {', '.join(LEVELS)}")


@dataclass(frozen=True, slots=True)
class WrittenModel:
    """A written model that is ready to be judged."""

    session: Session
    settings: JudgeSettings

    def judge(
        self,
        samples: Sequence[Sample],
        references: Sequence[Outputs],
        tolerances: Tolerances | None,
        *,
        held_out: frozenset[int] = frozenset(),
        accept: Callable[[Outputs, Outputs], bool] | None = None,
    ) -> FinalVerdict:
        """Run every sample and compare it with its reference.

        `held_out` are positions in `samples` that the search did not see. `accept`, called with
        (reference, outputs) once a sample, must agree as well. Without tolerances it alone
        decides, of all outputs of a sample together, and the default ones serve to report errors.

        Raises:
            ModelError: the written model lacks an output.
            SampleError, SessionError: a sample does not fit, or the model does not run.
        """
        rows = tuple(
            self._judge_sample(sample, reference, tolerances, index in held_out, accept)
            for index, (sample, reference) in enumerate(zip(samples, references, strict=True))
        )
        passed = all(row.passed for row in rows)
        told = tolerances is not None
        return FinalVerdict(self.settings.level, passed, rows, by_tolerance=told)

    def _judge_sample(
        self,
        sample: Sample,
        reference: Outputs,
        tolerances: Tolerances | None,
        held_out: bool,
        accept: Callable[[Outputs, Outputs], bool] | None,
    ) -> SampleVerdict:
        outputs = run_sample(self.session, sample, self.settings.feedback)
        for name in reference:
            if name not in outputs:
                raise ModelError(
                    f"{self.session.where}: there is no output {name!r}; allowed: the source's"
                    " outputs"
                )
        trials = compare_outputs(outputs, reference, tolerances or Tolerances())
        passed = tolerances is None or all(trial.passed for trial in trials)
        if accept is not None:
            passed = accept(reference, outputs) and passed
        if tolerances is None:
            trials = tuple(replace(trial, passed=passed) for trial in trials)
        return SampleVerdict(sample.id, held_out, passed, trials)


def open_written(converted: Path | ModelProto, settings: JudgeSettings) -> WrittenModel:
    """Load a written model as `settings.level` says.

    Raises:
        ModelError, UnsupportedModelError: it contradicts itself, or cannot be lowered.
        SessionError: it does not load, or this runtime erases casts.
    """
    common: dict[str, Any] = {
        "threads": settings.threads,
        "custom_op_library": settings.custom_op_library,
    }
    if settings.level != "emulated":
        return WrittenModel(load(converted, **_place(settings), **common), settings)
    session = load_lowered(converted, optimise=_UNOPTIMISED, **common)
    if settings.require_load:
        check_loads(converted, settings)
    return WrittenModel(session, settings)


def check_loads(converted: Path | ModelProto, settings: JudgeSettings) -> None:
    """Whether ONNX Runtime takes a written model itself. Only the file is in question, not what the
    CPU provider's optimiser makes of 16 bits.

    Raises:
        SessionError: it does not.
    """
    library = settings.custom_op_library
    load(converted, optimise=_UNOPTIMISED, threads=settings.threads, custom_op_library=library)


def _place(settings: JudgeSettings) -> dict[str, Any]:
    """Where models run as they are: on the provider, as it is set up, or on the processor."""
    if settings.level != "device":
        return {"provider": CPU_PROVIDER}
    return {
        "provider": settings.provider,
        "provider_options": settings.provider_options,
        "session_options": settings.session_options,
    }


def open_source(source: Path | ModelProto, settings: JudgeSettings) -> Session:
    """The source, ready for the runs that others are judged by.

    Raises:
        SessionError: it does not load.
    """
    return load(
        source,
        **_place(settings),
        optimise=_UNOPTIMISED,
        threads=settings.threads,
        custom_op_library=settings.custom_op_library,
    )


def reference_outputs(
    source: Path | ModelProto,
    samples: Sequence[Sample],
    settings: JudgeSettings,
) -> tuple[list[Outputs], float]:
    """What each sample is judged against: its golden outputs, else the source's float32 run; and
    the time in seconds of the longest such run (all samples are run, to see that they fit).

    Raises:
        SampleError: a sample does not fit the model, or lacks one of its outputs.
        SessionError: the source does not load or run.
    """
    session = open_source(source, settings)
    found: list[Outputs] = []
    longest_s = 0.0
    for sample in samples:
        started_s = time.monotonic()
        found.append(_reference(session, sample, settings))
        longest_s = max(longest_s, time.monotonic() - started_s)
    return found, longest_s


def _reference(session: Session, sample: Sample, settings: JudgeSettings) -> Outputs:
    outputs = run_sample(session, sample, settings.feedback)
    if sample.outputs is None:
        return outputs
    names = [port.name for port in session.outputs]
    for name in names:
        if name not in sample.outputs:
            raise SampleError(
                f"sample {sample.id}: output {name!r} is missing; its outputs:"
                f" {sorted(sample.outputs)}"
            )
        given, own = sample.outputs[name].shape, outputs[name].shape
        if given != own:
            raise SampleError(
                f"sample {sample.id}: golden output {name!r} has shape {list(given)}; allowed: the"
                f" shape that the model gives it, {list(own)}"
            )
    return {name: sample.outputs[name] for name in names}


def run_sample(
    session: Session, sample: Sample, feedback: tuple[tuple[str, str], ...] = ()
) -> Outputs:
    """The outputs of one sample by name; see halve.session.steps for `feedback`.

    Raises:
        UnsupportedModelError: an output is not a tensor.
        SampleError, SessionError: as `run` raises, with the sample's id.
    """
    for port in session.outputs:
        if not port.type.startswith("tensor("):
            raise UnsupportedModelError(
                f"{session.where}: output {port.name!r} is {port.type}; allowed: tensors"
            )

    def step(feeds: Mapping[str, NDArray[Any]]) -> Outputs:
        values = run(session, feeds)
        return {port.name: value for port, value in zip(session.outputs, values, strict=True)}

    with naming(sample):
        return roll(step, sample.inputs, feedback)

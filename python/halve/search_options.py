"""The options of the precision search, as a frozen record that is checked when made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from halve.errors import OptionError
from halve.field_types import MOST_THREADS, check_types
from halve.options import ConvertOptions
from halve.search_types import SearchEvent, Tolerances

__all__ = ["EVALUATORS", "SearchOptions", "Validate"]

EVALUATORS = ("auto", "probe", "sessions")
_CPU = "CPUExecutionProvider"
Validate = Callable[[list[NDArray[Any]], list[NDArray[Any]]], bool]
"""(reference outputs, mixed outputs), both in graph order, the mixed ones in the types that the
mixed model gives them -> whether the mixed ones will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search for the nodes that must stay float32; every field has a default.

    Raises:
        OptionError: a field has a value outside its range.
    """

    convert: ConvertOptions = field(default_factory=ConvertOptions)
    """Of the model that is searched for; its blocked nodes stay float32 in every trial."""
    tolerances: Tolerances = field(default_factory=Tolerances)
    """What each output may differ by."""
    validate: Validate | None = None
    """Asked in addition to the tolerances, once a sample; where given alone, `tolerances` is not
    looked at (`validate_only`)."""
    validate_only: bool = False
    """Whether `validate` replaces the tolerances."""
    margin: float = 0.8
    """The share of the tolerance that the search works within, as room for samples that it does not
    see. The final verdict has all of the tolerance, and so have samples held out, until one refuses
    what was found: then the search works with them as well."""
    holdout: int = 4
    """Every n-th sample is held out from the search, with four samples or more; 0: none; 1 is
    refused: it would leave nothing to search with."""
    seed: int = 0
    """Of what is random in the search, and of random samples."""
    time_budget_s: float | None = None
    """Seconds after which the best verified set so far is taken."""
    max_trials: int | None = None
    """Trials after which the best verified set so far is taken."""
    workers: int = 0
    """Trials run at a time, at most 1024; 0 is one for each core. The result does not depend on
    it."""
    threads_per_trial: int = 1
    """Threads inside a trial, at most 1024; results may depend on it."""
    evaluator: str = "auto"
    """"probe" (float16 emulated, on CUDA where that is the provider, else on the CPU), "sessions"
    (the real model on the provider), or "auto": sessions where the provider computes in 16 bits,
    else the probe; on CUDA whichever a few trials of both show to be faster, the probe only where
    it decides as sessions do."""
    isolate: bool = False
    """Run trials in child processes: a crash or lack of memory ends a trial, not the search."""
    trial_timeout_s: float | None = None
    """Seconds after which a trial is ended and has failed; None: 20 times a float32 run, and a
    minute at least."""
    provider: str = _CPU
    """ONNX Runtime's execution provider."""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the provider, by ONNX Runtime's names."""
    session_options: Mapping[str, str] = field(default_factory=dict)
    """Session configuration entries, by ONNX Runtime's keys."""
    devices: tuple[int, ...] = (0,)
    """Device ids of the provider that sessions are spread over; the CPU provider has 0 alone."""
    optimise: str = "all"
    """ONNX Runtime's optimisation level in trials: "disabled", "basic", "extended" or "all"."""
    feedback: tuple[tuple[str, str], ...] = ()
    """(output, input) pairs: a sample is rolled over its steps, the output fed to the input."""
    assume_fused: bool = False
    """Round at the borders of a unit only, as if it were one fused kernel."""
    workspace: Path | None = None
    """A folder for the journal and the plan, and with `halve.auto` for fp32.onnx, fp16.onnx and
    deploy.onnx; a search in it is resumed."""
    clean: bool = False
    """Empty the workspace first."""
    progress: Callable[[SearchEvent], None] | None = None
    """Called from the calling thread after every trial; an exception it raises ends the search."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_types(self)
        if self.evaluator not in EVALUATORS:
            raise OptionError(f"evaluator is {self.evaluator!r}; allowed: {', '.join(EVALUATORS)}")
        if not 0 < self.margin <= 1:
            raise OptionError(f"margin is {self.margin!r}; allowed: above 0 and at most 1")
        if self.validate_only and self.validate is None:
            raise OptionError("validate_only needs validate; give a function or leave it out")
        for name, value, low, high in (
            ("holdout", self.holdout, 0, math.inf),
            ("workers", self.workers, 0, MOST_THREADS),
            ("threads_per_trial", self.threads_per_trial, 1, MOST_THREADS),
            ("max_trials", 1 if self.max_trials is None else self.max_trials, 1, math.inf),
        ):
            if not low <= value <= high:
                reach = f"{low} or more" if high == math.inf else f"{low} to {high}"
                raise OptionError(f"{name} is {value!r}; allowed: a whole number, {reach}")
        for name, seconds in (
            ("time_budget_s", self.time_budget_s),
            ("trial_timeout_s", self.trial_timeout_s),
        ):
            if seconds is not None and not 0 < seconds < math.inf:
                raise OptionError(f"{name} is {seconds!r}; allowed: a positive number of seconds")
        self._check_devices()
        if self.holdout == 1:
            raise OptionError(
                "holdout is 1, which leaves nothing to search with; allowed: 0, 2 or more"
            )

    def _check_devices(self) -> None:
        allowed = "allowed: one device id or more, each 0 or more, in a tuple"
        if not self.devices or any(item < 0 for item in self.devices):
            raise OptionError(f"devices is {self.devices!r}; {allowed}")
        if self.provider == _CPU and tuple(self.devices) != (0,):
            raise OptionError(
                f"devices is {self.devices!r}, and {_CPU} has none to choose from; name the"
                " provider whose devices they are (provider), or leave devices out"
            )

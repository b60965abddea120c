"""Why a search cannot begin, or ends without a model: what failed, where, and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.auto.job import Job
from halve.compare.verdict import compare_outputs
from halve.errors import HalveError, SessionError, VerdictError
from halve.search import CheckError
from halve.session.samples import Sample
from halve.session.steps import Outputs

__all__ = ["check_error"]


def check_error(error: CheckError, job: Job, reference: Outputs) -> HalveError:
    """The error of a check that all float32 fails, in terms of the job: a VerdictError, or a
    SessionError where a run broke, which is no verdict. `reference` is what the sample is compared
    with.
    """
    sample = job.samples[error.sample]
    if error.answer.failure:
        return SessionError(_broken(sample.id, error.answer.failure, job.options.trial_timeout_s))
    if error.answer.validated is None:
        for trial in compare_outputs(reference, reference, job.options.tolerances):
            array = reference[trial.name]
            if not trial.passed and not np.isfinite(array).all():
                return VerdictError(_unlike_itself(sample, trial.name, array))
    kept = job.options.convert.keep_io_types is True
    border = "" if kept else " (only its inputs and outputs were cast)"
    first = "" if kept else "use --keep-io-types, or "
    golden = (
        "; its golden outputs are not what the float32 model gives here: without them the sample is"
        " judged by the float32 run"
    )
    return VerdictError(
        f"with all nodes float32{border}, sample {sample.id} fails its check ({error.what});"
        f" allowed: a float32 model that passes; {first}give samples and"
        f" {_measure(error)} that the float32 model meets"
        f"{'' if sample.outputs is None else golden}"
    )


def _measure(error: CheckError) -> str:
    return "a tolerance" if error.answer.validated is None else "a validate function"


def _unlike_itself(sample: Sample, name: str, reference: NDArray[Any]) -> str:
    """Of an output of which not even the reference itself is within the tolerance."""
    what, test = ("NaN", np.isnan) if np.isnan(reference).any() else ("infinity", np.isinf)
    who = "the float32 run itself has" if sample.outputs is None else "the golden outputs have"
    odd = [item for item, array in sample.inputs.items() if _any(test, array)]
    of_input = f", and its input {odd[0]!r} has, too" if odd else ""
    return (
        f"{who} {what} in output {name!r} on sample {sample.id}{of_input}: by this tolerance"
        " nothing compares with that; allowed: numbers; correct the sample, or leave it out"
    )


def _any(test: Callable[[NDArray[Any]], NDArray[Any]], array: NDArray[Any]) -> bool:
    return array.dtype.kind in "fc" and bool(test(array).any())


def _broken(sample: int, failure: str, limit_s: float | None) -> str:
    limit = "" if limit_s is None else f" above {limit_s:g}"
    return (
        f"with all nodes float32, the run of sample {sample} broke, and without it nothing can be"
        f" judged: {failure}; allowed: a run that ends; where its time limit ended it, raise"
        f" --trial-timeout{limit}; where it lacked memory, run fewer trials at a time (--workers)"
    )

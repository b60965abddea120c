"""Why a search cannot begin, has no model or a doubtful one: what failed, where, and the way on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.auto.job import Job
from halve.compare.verdict import compare_outputs
from halve.errors import HalveError, SessionError, VerdictError
from halve.search import CheckError, SearchOutcome
from halve.search_options import SearchOptions
from halve.search_types import FinalVerdict
from halve.session.samples import Sample
from halve.session.steps import Outputs

__all__ = ["broken_runs", "check_error", "nothing_passes"]


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


def nothing_passes(
    verdict: FinalVerdict, outcome: SearchOutcome, options: SearchOptions
) -> VerdictError:
    """The error of a search that ends without a set which the judge of the written model takes."""
    spent = () if outcome.complete else _budgets(options)
    ended = f" before {' or '.join(spent)} ended the search" if spent else ""
    steps = ["allow it more"] if spent else []
    who = "let the validate function accept more"
    steps.append(who if options.validate_only else "widen the tolerance")
    if options.convert.keep_io_types is not True:
        steps.append("keep inputs and outputs float32 (--keep-io-types)")
    return VerdictError(
        f"no set of float32 nodes was found that passes the verdict{ended}{_worst(verdict)};"
        f" {', or '.join(steps)}"
    )


def broken_runs(outcome: SearchOutcome, *, resumable: bool) -> tuple[str, ...]:
    """A warning where runs in mid-search gave no outputs: their sets count as failing, unjudged."""
    failures = [answer.failure for answer in outcome.memo.values() if answer.failure]
    if not failures:
        return ()
    many = len(failures) != 1
    again = "run the same command again to repeat them" if resumable else "search again"
    return (
        f"{len(failures)} run{'s' if many else ''} of the search broke and"
        f" {'count' if many else 'counts'} as failing, so that more nodes may be float32 than need"
        f" be (the first: {failures[0]}); {again}",
    )


def _budgets(options: SearchOptions) -> tuple[str, ...]:
    """The flags of the budgets that a search has."""
    limits = {"--time-budget": options.time_budget_s, "--max-trials": options.max_trials}
    return tuple(f"{flag} {limit:g}" for flag, limit in limits.items() if limit is not None)


def _worst(verdict: FinalVerdict) -> str:
    failed = [row for row in verdict.samples if not row.passed]
    outputs = [(row.id, item) for row in failed for item in row.outputs if not item.passed]
    if outputs and verdict.by_tolerance:
        number, worst = max(outputs, key=lambda pair: pair[1].error)
        return f" (sample {number}, output {worst.name!r}: {worst.error:.3g} times the tolerance)"
    return f" (sample {failed[0].id}: the validate function refuses it)" if failed else ""


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

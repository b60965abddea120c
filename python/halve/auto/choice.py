"""Which evaluator "auto" takes on CUDA: real sessions, or the probe where that was measured to
be faster and to say the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from halve.auto.candidate import Judge
from halve.auto.evaluators import evaluator_name, make_evaluator
from halve.auto.job import Job
from halve.auto.workspace import Workspace
from halve.errors import SessionError
from halve.search.journal import read_header
from halve.search_types import Evaluator, Trial, UnitSet
from halve.session.providers import CUDA_PROVIDER

__all__ = ["settle_evaluator"]

_clock = time.perf_counter


def settle_evaluator(job: Job, judge: Judge, workspace: Workspace) -> tuple[Job, tuple[str, ...]]:
    """The job with "probe" or "sessions" for its evaluator, and what there is to say of that.

    On CUDA, "auto" tries both on a few sets, unless a journal says what its search used. In
    children nothing is tried here: a model that crashes would end the search.

    Raises:
        HalveError: as make_evaluator raises for sessions.
    """
    options = job.options
    name, notes = evaluator_name(options), tuple[str, ...]()
    on_cuda = options.provider == CUDA_PROVIDER and options.convert.target != "cpu"
    if options.evaluator == "auto" and on_cuda and not options.isolate:
        journalled = None if workspace.journal is None else read_header(workspace.journal)
        if journalled is not None and "evaluator" in journalled:
            name = str(journalled["evaluator"])
        else:
            name, notes = _faster(job, judge, workspace)
    return _using(job, name), notes


def _using(job: Job, name: str) -> Job:
    return replace(job, options=replace(job.options, evaluator=name))


def _faster(job: Job, judge: Judge, workspace: Workspace) -> tuple[str, tuple[str, ...]]:
    sets = _sets(len(job.units))
    real, real_s = _tried(make_evaluator(_using(job, "sessions"), judge, workspace), sets)
    try:
        probe = make_evaluator(_using(job, "probe"), judge, workspace)
    except SessionError as error:
        return "sessions", (f"trials are real sessions: the probe does not load here: {error}",)
    emulated, emulated_s = _tried(probe, sets)
    if [trial.passed for trial in real] != [trial.passed for trial in emulated]:
        return "sessions", ("trials are real sessions: the probe decides otherwise here",)
    if emulated_s < real_s:
        return "probe", ("trials are runs of the probe: as sessions decided, and measured faster",)
    return "sessions", ("trials are real sessions, which were measured faster than the probe",)


def _sets(count: int) -> list[UnitSet]:
    """All in 16 bits, and both halves; no two share a session."""
    middle = count // 2
    return [frozenset(), frozenset(range(middle)), frozenset(range(middle, count))]


def _tried(evaluator: Evaluator, sets: Sequence[UnitSet]) -> tuple[list[Trial], float]:
    """The trials, and their seconds; what an evaluator does once is done before the clock."""
    try:
        evaluator.run(frozenset().union(*sets), 0)
        started_s = _clock()
        trials = [evaluator.run(fp32, 0) for fp32 in sets]
        return trials, _clock() - started_s
    finally:
        evaluator.close()

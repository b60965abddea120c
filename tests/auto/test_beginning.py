"""A probe that is loaded while the float32 model is observed is the one that is made later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto.beginning import Beginning
from halve.auto.candidate import Judge
from halve.auto.evaluators import make_evaluator
from halve.auto.job import Job, prepare
from halve.auto.workspace import open_workspace
from halve.errors import SessionError
from halve.plan import load_target
from halve.plan.units import search_units
from models import mlp

OPTIONS = SearchOptions(
    convert=ConvertOptions(keep_io_types=True, target="any"),
    tolerances=Tolerances(OutputTolerance(1e-5, 1e-4)),
    workers=2,
)
MODEL = mlp((64, 64, 64, 8))
(INPUT,) = [item.name for item in MODEL.graph.input]
SAMPLES = (Sample(0, {INPUT: np.random.default_rng(0).standard_normal((2, 64), np.float32)}),)


def test_a_begun_probe_gives_the_same_trials() -> None:
    seen: list[Job] = []
    with open_workspace(None, clean=False) as workspace, Beginning(workspace) as beginning:

        def begin(job: Job) -> None:
            seen.append(job)
            beginning.begin(job)

        job = prepare(MODEL, SAMPLES, OPTIONS, workspace, begin)
        judge = Judge.prepare(MODEL, SAMPLES, frozenset(), OPTIONS, workspace)
        begun = make_evaluator(job, judge, workspace, beginning.take)
        assert beginning.take() is None
        later = make_evaluator(job, judge, workspace)
        sets = [frozenset(range(count)) for count in range(len(job.units) + 1)]
        assert [begun.run(s, 0) for s in sets] == [later.run(s, 0) for s in sets]
    (early,) = seen
    assert [(u.nodes, u.sources) for u in early.units] == [(u.nodes, u.sources) for u in job.units]
    assert not early.statistics
    convert = job.options.convert
    assert job.units == search_units(
        job.analysis, convert, load_target(convert.target), shapes=job.shapes
    )


def test_what_runs_in_children_or_as_it_is_is_not_begun() -> None:
    for options in (
        replace(OPTIONS, isolate=True),
        replace(OPTIONS, convert=replace(OPTIONS.convert, target="cpu")),
    ):
        with open_workspace(None, clean=False) as workspace, Beginning(workspace) as beginning:
            prepare(MODEL, SAMPLES, options, workspace, beginning.begin)
            assert beginning.take() is None


def test_an_error_of_what_was_begun_comes_when_it_is_taken() -> None:
    wrong = replace(OPTIONS, session_options={"session.load_model_format": "ORT"})
    with open_workspace(None, clean=False) as workspace, Beginning(workspace) as beginning:
        prepare(MODEL, SAMPLES, wrong, workspace, beginning.begin)
        with pytest.raises(SessionError, match="search probe"):
            beginning.take()

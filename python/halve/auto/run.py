"""Search, write, judge, repair: what `halve.search` and `halve.auto` do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnx import ModelProto

from halve.auto.beginning import Beginning
from halve.auto.candidate import Judge
from halve.auto.choice import settle_evaluator
from halve.auto.delivery import Delivery, loading_check
from halve.auto.depends import dependencies
from halve.auto.evaluators import evaluator_name, make_evaluator
from halve.auto.job import Job, Source, at_own_opset, prepare
from halve.auto.kept_models import keep_deployed, keep_runs
from halve.auto.on_demand import OnDemand
from halve.auto.raised import raised_job
from halve.auto.records import AutoResult
from halve.auto.refusals import broken_runs, check_error, nothing_passes
from halve.auto.simplified import simplified_job
from halve.auto.suitable import check_inputs, check_repeats
from halve.auto.validating import checked
from halve.auto.workspace import Workspace, open_workspace
from halve.convert import convert
from halve.errors import VerdictError
from halve.files import given_path
from halve.plan import JUDGE_AGAIN
from halve.search import CheckError, Journal, Parameters, Problem, SearchOutcome, repair
from halve.search import search as find_units
from halve.search.diagnose import Diagnosis
from halve.search.engine import Setting
from halve.search.journal import journal_header
from halve.search.problem import ORDERS
from halve.search_options import SearchOptions
from halve.search_types import (
    Evaluator,
    FinalVerdict,
    SearchResult,
    Trial,
    UnitEvidence,
    UnitSet,
)
from halve.session.installed import describe_runtime
from halve.session.providers import check_types_kept
from halve.session.samples import Sample, SampleSource, as_samples
from halve.session.type_oracle import with_runtime_types
from halve.source import open_model
from halve.types import Plan, PlanNode
from halve.write import check_target

__all__ = ["auto", "judge_options", "search", "search_model", "verify_plan"]

_Path = str | os.PathLike[str]
_UNNAMED = "model.onnx"


def search(
    source: _Path | ModelProto,
    samples: SampleSource,
    *,
    options: SearchOptions | None = None,
) -> SearchResult:
    """Find the nodes that must stay float32, and prove it on the written model.

    The set is 1-minimal: the verdict fails without any one of `required`. The model that it makes
    is written, read back and judged on every sample; nothing of it is kept but the plan.

    Args:
        source: a path, or a ModelProto, which is not changed.
        samples: a folder of samples, one feed (arrays by input name, in the source's types), or
            several feeds or Samples, which may have golden outputs.
        options: see SearchOptions.

    Raises:
        VerdictError: the float32 model fails its own check, or no set passes.
        OptionError: the validate function raises, or returns anything but a bool; or as
            `halve.convert` raises.
        SampleError: a sample does not fit the model.
        SessionError: ONNX Runtime cannot load or run the model, or a run of it with all nodes
            float32 breaks (a crash, the time limit, out of memory).
        WorkspaceError: the workspace is of another model, other samples or other options.
        ModelError, OutputError: as `halve.convert` raises.
    """
    options = _asking(options)
    if options.convert.simplify is not None:
        with simplified_job(_source(source), samples, options) as job:
            return job.told(search(job.path, job.samples, options=job.options))
    with raised_job(_source(source), samples, options) as raised:
        if raised is not None:
            return raised.told(search(raised.path, raised.samples, options=raised.options))
    with open_workspace(options.workspace, clean=options.clean) as workspace:
        searched = _searched(_source(source), as_samples(samples), options, workspace)
        with searched as (result, _):
            return result


def auto(
    source: _Path | ModelProto,
    target: _Path,
    samples: SampleSource,
    *,
    options: SearchOptions | None = None,
) -> AutoResult:
    """Search, and write the mixed model to `target`. The written file is what was judged.

    A workspace then holds, beside journal and plan, fp32.onnx (what was searched: with `simplify`
    the simplified model), fp16.onnx (all in 16 bits but for what the options keep float32) and
    deploy.onnx (a copy of the target).

    Raises:
        OutputError: the target cannot be written, or is the source: what was there is untouched. Or
            a model of the workspace cannot be written.
        HalveError: as `search` raises; nothing is written then.
    """
    options, model, path = _asking(options), _source(source), given_path(target, what="OUT")
    if options.convert.simplify is not None:
        with simplified_job(model, samples, options, target=path) as job:
            return job.told_auto(auto(job.path, path, job.samples, options=job.options))
    with raised_job(model, samples, options, target=path) as raised:
        if raised is not None:
            found = auto(raised.path, path, raised.samples, options=raised.options)
            return raised.told_auto(found)
    check_target(open_model(model, allow_links=options.convert.allow_links), path)
    with open_workspace(options.workspace, clean=options.clean) as workspace:
        searched = _searched(model, as_samples(samples), options, workspace, name=path.name)
        with searched as (result, delivery):
            keep_runs(delivery.judge, delivery.ids(frozenset()), path)
            converted, verdict = delivery.write(path)
            if not verdict.passed:
                raise VerdictError(f"{path}: the written file fails its verdict; do not deploy it")
            keep_deployed(delivery.judge, path)
            notes = (*result.notes, *delivery.notes(path))
        result = replace(result, verdict=verdict, notes=notes)
        _save(result, workspace)
    return AutoResult(result, converted, delivery.borders(converted.casts), path)


def search_model(
    source: ModelProto | _Path,
    samples: SampleSource,
    *,
    options: SearchOptions,
) -> ModelProto:
    """Search, and return the mixed model in memory.

    Raises:
        HalveError: as `search` raises.
    """
    options = _asking(options)
    if options.convert.simplify is not None:
        with simplified_job(_source(source), samples, options) as job:
            return search_model(job.path, job.samples, options=job.options)
    result = search(source, samples, options=options)
    kept = sorted({*options.convert.fp32_nodes, *_kept_ids(result)})
    proto = open_model(source, allow_links=options.convert.allow_links).proto
    written = replace(at_own_opset(options.convert, proto), fp32_nodes=tuple(kept))
    converted = convert(source, options=written)
    if converted.model is None:
        raise VerdictError("the conversion returned no model")
    return converted.model


def verify_plan(
    source: _Path | ModelProto,
    plan: _Path,
    samples: SampleSource,
    *,
    options: SearchOptions | None = None,
) -> FinalVerdict:
    """Judge a plan again, without a search: the model that it makes, on every sample.

    The verdict's warnings say where the model, the options, the runtime or its provider are
    otherwise than those that the plan was made for.

    Raises:
        PlanError: the plan cannot be read, or is of another model.
        HalveError: as `search` raises.
    """
    options, model = _asking(options), _source(source)
    if options.convert.simplify is not None:
        planned = replace(options, convert=replace(options.convert, plan=Path(plan)))
        with simplified_job(model, samples, planned) as job:
            return judge_options(job.path, job.samples, job.options)
    convert_options = replace(options.convert, plan=Path(plan))
    return judge_options(model, as_samples(samples), replace(options, convert=convert_options))


def judge_options(
    source: Source, samples: Sequence[Sample], options: SearchOptions
) -> FinalVerdict:
    """Judge the model that the options of the conversion make, on every sample.

    Raises:
        HalveError: as `verify_plan` raises.
    """
    model = open_model(source, allow_links=options.convert.allow_links)
    check_inputs(model.proto, samples)
    with open_workspace(None, clean=False) as workspace:
        judge = Judge.prepare(source, samples, frozenset(), options, workspace)
        path = workspace.scratch("scratch-plan") / "model.onnx"
        made = convert(source, path, options=replace(options.convert, progress=None))
        warnings = [text.removesuffix(f"; {JUDGE_AGAIN}") for text in made.warnings]
        warnings += _other_provider(options)
        return replace(judge.judge_file(path), warnings=tuple(warnings))


def _other_provider(options: SearchOptions) -> list[str]:
    plan = options.convert.plan
    verified_on = Plan.load(plan).provider if plan is not None else ""
    if verified_on in ("", options.provider):
        return []
    return [f"the plan was verified on {verified_on} and is judged on {options.provider}"]


def _asking(options: SearchOptions | None) -> SearchOptions:
    """The options, which must keep the model's types, with ONNX Runtime to ask for types."""
    options = options or SearchOptions()
    check_types_kept(options.provider, options.provider_options)
    return replace(options, convert=with_runtime_types(options.convert))


@contextmanager
def _searched(
    source: Source,
    samples: Sequence[Sample],
    options: SearchOptions,
    workspace: Workspace,
    name: str | None = None,
) -> Iterator[tuple[SearchResult, Delivery]]:
    """The result and, while the context lasts, the model that it makes, which is to be called
    `name` where it is to be written.
    """
    with (
        loading_check(options, written=name is not None) as ready,
        Beginning(workspace) as beginning,
    ):
        started = time.monotonic()
        job = prepare(source, samples, options, workspace, beginning.begin)
        options = job.options
        check_repeats(source, job.analysis, samples, options)
        diagnosis = Diagnosis(job.analysis, job.units, job.statistics, options.convert)
        judge = Judge.prepare(source, samples, job.held_out, options, workspace)
        job, chosen = settle_evaluator(job, judge, workspace)
        with (
            _evaluating(job, judge, workspace, beginning) as (evaluator, job, note),
            Delivery(job, judge, name or _UNNAMED, ready) as delivery,
        ):
            with _Trials(job, _problem(job, diagnosis), evaluator, judge) as trials:
                outcome = _delivered(trials, delivery, evaluator, job)
            if not (outcome.passed and delivery.verdict.passed):
                raise nothing_passes(delivery.verdict, outcome, options)
            result = _result(job, outcome, delivery, diagnosis, time.monotonic() - started)
            broken = broken_runs(outcome, resumable=workspace.journal is not None)
            warnings = (*result.warnings, *broken)
            result = replace(result, notes=(*chosen, *note), warnings=warnings)
            _save(result, workspace)
            yield result, delivery


def _delivered(trials: _Trials, delivery: Delivery, evaluator: OnDemand, job: Job) -> SearchOutcome:
    """What a search finds, repaired where the judge of the written model refuses it."""
    outcome = trials.search()
    with evaluator.cleared():
        passed = delivery.passes(outcome.fp32)
    if outcome.passed and not passed:
        room = evaluator.cleared if job.large else nullcontext
        outcome = trials.repair(outcome, partial(_passes, delivery, room))
        if outcome.passed and delivery.fp32 != outcome.fp32:
            delivery.passes(outcome.fp32)
    return outcome


def _passes(
    delivery: Delivery, room: Callable[[], AbstractContextManager[None]], fp32: UnitSet
) -> bool:
    """Judge a set of a repair, for a large model without its evaluator beside it."""
    with room():
        return delivery.passes(fp32)


@contextmanager
def _evaluating(
    job: Job, judge: Judge, workspace: Workspace, beginning: Beginning
) -> Iterator[tuple[OnDemand, Job, tuple[str, ...]]]:
    """The evaluator, closed however this ends, with the job that it is of and what to say of it."""
    evaluator = OnDemand(partial(make_evaluator, job, judge, workspace, beginning.take))
    try:
        job, note = _with_margin(job, evaluator)
        if note:
            evaluator.close()
            evaluator = OnDemand(partial(make_evaluator, job, judge, workspace))
        yield evaluator, job, note
    finally:
        evaluator.close()


def _with_margin(job: Job, evaluator: OnDemand) -> tuple[Job, tuple[str, ...]]:
    """The job with the whole tolerance where all float32 passes that, but not the margin."""
    margin = job.options.margin
    every = frozenset(range(len(job.units)))
    with ThreadPoolExecutor(job.options.workers or os.cpu_count() or 1) as pool:
        trials = list(pool.map(partial(evaluator.run, every), range(len(job.samples))))
    worst = max(trial.error for trial in trials)
    if job.options.validate_only or not 1 < worst <= 1 / margin:
        if job.options.validate is None:  # which may change what it is shown
            evaluator.learn(every, trials)
        return job, ()
    note = (
        f"with every node float32 the outputs use {worst * margin:.3g} of the tolerance, so the"
        f" search worked at all of it instead of {margin:g}"
    )
    return replace(job, options=replace(job.options, margin=1.0)), (note,)


class _Trials:
    """The evaluator of a search with its journal, closed at the end."""

    def __init__(self, job: Job, problem: Problem, evaluator: Evaluator, judge: Judge) -> None:
        self._job = job
        self._problem = problem
        self._evaluator = evaluator
        self._references = judge.references
        options = job.options
        self._journal: Journal | None = None
        path = judge.workspace.journal
        if path is not None:
            header = journal_header(problem, dependencies(job))
            self._journal = Journal(path, header, validate_only=options.validate_only)
        self._ask = None if options.validate is None else checked(options.validate)

    def __enter__(self) -> _Trials:
        return self

    def __exit__(self, *error: object) -> None:
        self._evaluator.close()
        if self._journal:
            self._journal.close()

    def search(self) -> SearchOutcome:
        try:
            return find_units(self._problem, self._evaluator, setting=self._setting())
        except CheckError as error:
            raise check_error(error, self._job, self._references[error.sample]) from error

    def repair(self, outcome: SearchOutcome, judge: Callable[[UnitSet], bool]) -> SearchOutcome:
        return repair(self._problem, outcome, self._evaluator, judge, setting=self._setting())

    def _setting(self) -> Setting:
        options = self._job.options
        return Setting(
            journal=self._journal,
            workers=options.workers or os.cpu_count() or 1,
            validate=None if self._ask is None else self._validate,
            validate_only=options.validate_only,
            progress=options.progress,
        )

    def _validate(self, sample: int, trial: Trial) -> bool:
        reference, values = self._references[sample], trial.values or {}
        if self._ask is None:
            return True
        return self._ask(list(reference.values()), [values[name] for name in reference])


def _problem(job: Job, diagnosis: Diagnosis) -> Problem:
    options = job.options
    return Problem(
        units=job.units,
        samples=len(job.samples),
        held_out=job.held_out,
        margin=options.margin,
        marked=diagnosis.marked(),
        carry=job.carry,
        parameters=Parameters(orders=ORDERS),
        seed=options.seed,
        max_trials=options.max_trials,
        time_budget_s=options.time_budget_s,
    )


def _result(
    job: Job,
    outcome: SearchOutcome,
    delivery: Delivery,
    diagnosis: Diagnosis,
    elapsed_s: float,
) -> SearchResult:
    energies: Mapping[int, float] = outcome.sensitivity
    total = sum(energies.values())
    decided = outcome.required if outcome.complete else _seen_to_fail_without(outcome)
    evidence = tuple(
        diagnosis.evidence(
            unit, role, energies.get(unit), total, decided=unit in decided or role == "carried"
        )
        for role, units in (("required", outcome.required), ("carried", outcome.carried))
        for unit in sorted(units)
    )
    return SearchResult(
        plan=_explained(delivery.result.plan, evidence, job.options),
        required=job.node_ids(outcome.required),
        carried=job.node_ids(outcome.carried),
        units=job.units,
        fp32=tuple(sorted(outcome.fp32)),
        evidence=evidence,
        verdict=delivery.verdict,
        trials=outcome.trials,
        sensitivity=dict(energies),
        evaluator=evaluator_name(job.options),
        complete=outcome.complete,
        fp32_flop_share=job.fp32_flop_share(outcome.fp32),
        seed=job.options.seed,
        elapsed_s=elapsed_s,
        warnings=(*job.warnings, *delivery.result.warnings),
        given=job.given_ids(),
    )


def _seen_to_fail_without(outcome: SearchOutcome) -> UnitSet:
    """The units without which a trial of the set that was found failed."""
    failed = {frozenset(row.fp32) for row in outcome.trials if not row.passed}
    return frozenset(unit for unit in outcome.required if outcome.fp32 - {unit} in failed)


def _explained(plan: Plan, evidence: Sequence[UnitEvidence], options: SearchOptions) -> Plan:
    """The plan with the reasons that the search found, and what it was verified on."""
    reasons = {node: f"{row.cause}: {row.reason}" for row in evidence for node in row.nodes}
    nodes: list[PlanNode] = []
    for node in plan.nodes:
        found = reasons.get(node.id) if node.dtype == "float32" else None
        nodes.append(replace(node, reason=found) if found else node)
    runtime = f"onnxruntime {describe_runtime().version}"
    return replace(plan, nodes=tuple(nodes), runtime=runtime, provider=options.provider)


def _kept_ids(result: SearchResult) -> frozenset[int]:
    return frozenset((*result.required, *result.carried))


def _save(result: SearchResult, workspace: Workspace) -> None:
    if workspace.plan is not None:
        result.plan.save(workspace.plan)


def _source(source: _Path | ModelProto) -> Source:
    return source if isinstance(source, ModelProto) else given_path(source, what="the model")

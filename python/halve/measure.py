"""`halve.measure`: the float32 model and its 16-bit conversion, node by node.

Ties the chain of a conversion to the twin run of halve.session and the statistics of halve.stats.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from halve.auto.job import at_own_opset
from halve.auto.workspace import Workspace, open_workspace
from halve.convert import convert, plan_model, rewrite_model
from halve.errors import OptionError, SampleError
from halve.files import given_path
from halve.manual_options import ManualOptions
from halve.manual_simplified import told_report
from halve.manual_types import (
    ManualEvent,
    ManualReport,
    NodeStatistics,
    OutputStatistics,
    SampleStatistics,
)
from halve.manual_workspace import ManualFiles
from halve.options import ConvertOptions
from halve.plan import Analysis, analyse
from halve.plan.neutral import initializer_tensors, is_neutral
from halve.plan.opset import needed_opset, raise_opset
from halve.session.installed import describe_runtime
from halve.session.runtime import check_provider
from halve.session.samples import Sample, SampleSource, as_samples
from halve.session.twin import TwinModels, TwinSession
from halve.session.twin_lane import tag_nodes
from halve.session.twin_walk import TwinValue, WalkSettings
from halve.session.type_oracle import with_runtime_types
from halve.session.weight_store import WeightStore
from halve.simplify import StandIn, simplified_model
from halve.source import open_model
from halve.stats import Collector, Limits, merge_model_outputs, model_outputs
from halve.stats.collect import merge_outputs
from halve.types import CastJob, ConvertResult, DType, Plan, RewrittenModel, SourceModel
from halve.write import build_model, write_model

__all__ = ["finalize", "measure"]

_PLAN = "plan.json"
_LIMITS = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}
# What a report shows of the options where it is set; mode, thresholds and provider stand elsewhere.
_SHOWN = ("exact_local", "threads", "provider_options", "session_options", "feedback")
# Of a smaller model a few copies do no harm.
_IN_MEMORY_BYTES = 500_000_000


def measure(
    source: str | os.PathLike[str] | ModelProto,
    samples: SampleSource,
    *,
    options: ManualOptions | None = None,
) -> ManualReport:
    """Run a model in float32 and as its conversion would compute, and measure every node.

    The 16-bit run is that of the model which `halve.convert` makes with `options.convert`: its
    weights, its casts, its float32 nodes. Each value is measured when it is there and then freed.

    Args:
        source: a path, or a ModelProto, which is not changed.
        samples: a folder of samples, one feed (arrays by input name, in the source's types), or
            several feeds or Samples; golden outputs are compared with both runs.
        options: see ManualOptions.

    Raises:
        OptionError: an option does not fit this model (an unknown id or operator, say).
        SampleError: a sample does not fit the model.
        ModelError, UnsupportedModelError, PlanError: as `halve.convert` raises.
        SessionError: the model does not load or run, or this runtime erases casts.
        WorkspaceError, OutputError: the workspace is none, or cannot be written.
    """
    started = time.monotonic()
    options = options or ManualOptions()
    options = replace(options, convert=with_runtime_types(options.convert))
    given = source if isinstance(source, ModelProto) else given_path(source, what="the model")
    rows = as_samples(samples)
    if not rows:
        raise SampleError("no samples were given; allowed: one or more")
    if options.convert.simplify is not None:
        return _measure_simplified(given, rows, options)
    check_provider(options.provider)
    _report(options, ManualEvent("prepare"))
    with (
        open_workspace(options.workspace, clean=options.clean) as workspace,
        _prepared(given, options, workspace) as job,
    ):
        prepared_s = time.monotonic() - started
        found = tuple(_measured(job, sample, place, len(rows)) for place, sample in enumerate(rows))
        plan = _verified_plan(job, found)
        job.files.save_plan(plan)
        report = _report_of(job, found, plan)
    return replace(report, prepare_s=prepared_s, elapsed_s=time.monotonic() - started)


def _measure_simplified(
    source: Path | ModelProto, samples: Sequence[Sample], options: ManualOptions
) -> ManualReport:
    """The report of the simplified model, in the ids of the file given."""
    with _simplified(source, options, samples) as made:
        shown = _shown(made.plan, options)
        inner = replace(
            options,
            convert=made.options,
            op_id_filter=None,
            op_id_bypass=None,
            op_type_filter=None,
            op_type_bypass=None,
        )
        report = measure(made.path, samples, options=inner)
        told = told_report(report, made, shown, options.convert.fp32_nodes)
    if options.workspace is not None:
        told.plan.save(options.workspace / _PLAN)
    return told


@contextmanager
def _simplified(
    source: str | os.PathLike[str] | ModelProto,
    options: ManualOptions,
    samples: Sequence[Sample] | None = None,
    target: Path | None = None,
) -> Iterator[StandIn]:
    how = options.convert.simplify
    if how is not None and samples is not None:
        how = replace(how, samples=samples)
    convert_options = replace(options.convert, simplify=how)
    pairs = options.feedback
    with simplified_model(source, convert_options, target=target, feedback=pairs) as made:
        yield made


def finalize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    options: ManualOptions | None = None,
) -> ConvertResult:
    """Write the deployable model that `options.convert` describes, without statistics, and where
    there is a workspace its plan.

    Raises:
        WorkspaceError: the workspace is of another model.
        HalveError: as `halve.convert` raises; what was at the target is untouched then.
    """
    options = options or ManualOptions()
    convert_options = with_runtime_types(options.convert)
    if convert_options.simplify is not None:
        with _simplified(source, options, target=Path(target)) as made:
            inner = replace(options, convert=made.options)
            told = made.file_result(finalize(made.path, target, options=inner))
        if options.workspace is not None:
            told.plan.save(options.workspace / _PLAN)
        return told
    with open_workspace(options.workspace, clean=options.clean) as workspace:
        digest = open_model(source, allow_links=convert_options.allow_links).digest
        files = ManualFiles(workspace, digest)
        files.open()
        result = convert(source, target, options=convert_options)
        files.deployed(result.plan, Path(target))
    return result


@dataclass(frozen=True, slots=True)
class _Job:
    """A model made ready: its plan, what is reported of it, and both runs."""

    options: ManualOptions
    plan: Plan
    floats: Mapping[int, tuple[int, ...]]
    shown: frozenset[int]
    calls: frozenset[int]
    twin: TwinSession
    warnings: tuple[str, ...]
    files: ManualFiles


def _load_settings(options: ManualOptions) -> dict[str, Any]:
    """What ONNX Runtime needs to know of each model that it loads."""
    return {
        "provider": options.provider,
        "provider_options": options.provider_options,
        "session_options": options.session_options,
        "custom_op_library": options.convert.custom_op_library,
    }


def _report(options: ManualOptions, event: ManualEvent) -> None:
    if options.progress is not None:
        options.progress(event)


@contextmanager
def _prepared(
    source: Path | ModelProto, options: ManualOptions, workspace: Workspace
) -> Iterator[_Job]:
    model = _tagged(open_model(source, allow_links=options.convert.allow_links))
    convert = at_own_opset(options.convert, model.proto)
    options = replace(options, convert=convert)
    analysis = analyse(model.proto, convert.type_oracle)
    plan, warnings = plan_model(model, analysis, convert)
    rewritten, plan = rewrite_model(model, analysis, plan, convert)
    shown = _shown(plan, options)
    floats = _float_outputs(analysis)
    files = ManualFiles(workspace, model.digest, _load_settings(options))
    files.open()
    with _models(model, rewritten, analysis, options, workspace) as models:
        twin = TwinSession(
            replace(models, floats={k: v for k, v in floats.items() if v}),
            WalkSettings(
                **_load_settings(options),
                threads=options.threads,
                inside=None if options.on_device else _limits(options).rule,
            ),
            keep=files.keep,
        )
        calls = frozenset(node.id for node in analysis.nodes if node.calls_function)
        notes = (*analysis.warnings, *warnings, *rewritten.warnings)
        yield _Job(options, plan, floats, shown, calls, twin, notes, files)


def _tagged(model: SourceModel) -> SourceModel:
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    tag_nodes(proto)
    return replace(model, proto=proto)


@contextmanager
def _models(
    model: SourceModel,
    rewritten: RewrittenModel,
    analysis: Analysis,
    options: ManualOptions,
    workspace: Workspace,
) -> Iterator[TwinModels]:
    """Both models, with their payload in memory or, of a large one, in files."""
    convert = options.convert
    goal = needed_opset(convert)
    raised = None if goal is None else raise_opset(model, goal)
    plain = model if raised is None else raised.model
    neutral = _neutral_ids(analysis, convert)
    common: dict[str, Any] = {"floats": {}, "neutral": neutral, "half": convert.half}
    common |= {"local": options.runs_local, "real": options.on_device}
    if model.nbytes < _IN_MEMORY_BYTES:
        exact, _ = build_model(_unchanged(plain), options=convert)
        half, _ = build_model(rewritten, options=convert)
        yield TwinModels(source=exact, converted=half, **common)
        return
    with _weights_folder(workspace) as folder:
        path = folder / "converted.onnx"
        write_model(rewritten, model, path, options=convert)
        written = open_model(path)
        yield TwinModels(
            source=plain.proto,
            converted=written.proto,
            source_store=WeightStore(folder, plain.refs, "float32.bin"),
            converted_store=WeightStore(folder, written.refs, "rounded.bin"),
            **common,
        )


@contextmanager
def _weights_folder(workspace: Workspace) -> Iterator[Path]:
    """Where a large model's weights go: the models of a workspace refer to them there."""
    if workspace.kept:
        yield workspace.folder
        return
    with workspace.temporary("scratch-weights") as folder:
        yield folder


def _unchanged(model: SourceModel) -> RewrittenModel:
    jobs = tuple(CastJob(ref.name, ref, ref.dtype) for ref in model.refs)
    return RewrittenModel(model.proto, jobs)


def _float_outputs(analysis: Analysis) -> dict[int, tuple[int, ...]]:
    """The positions of each node's float32 tensor outputs, by id."""
    found: dict[int, set[int]] = {}
    for node in analysis.nodes:
        slots = found.setdefault(node.id, set())
        slots.update(
            slot
            for slot, value in enumerate(node.outputs)
            if value is not None and value.elem == DType.FLOAT and not node.calls_function
        )
    return {number: tuple(sorted(slots)) for number, slots in found.items()}


def _neutral_ids(analysis: Analysis, options: ConvertOptions) -> frozenset[int]:
    """Nodes that only move or select values, whatever instance of a function they are in."""
    tensors = initializer_tensors(analysis)
    other = {node.id for node in analysis.nodes if not is_neutral(node, tensors, options)}
    return frozenset(node.id for node in analysis.nodes) - other


def _shown(plan: Plan, options: ManualOptions) -> frozenset[int]:
    """The ids that the filters let through.

    Raises:
        OptionError: a filter names an id or an operator that the model does not have.
    """
    every = frozenset(node.id for node in plan.nodes)
    for name, wanted in options.filters.items():
        by_id = "_id_" in name
        known: set[int | str] = {node.id if by_id else node.type for node in plan.nodes}
        for item in wanted:
            if item not in known:
                allowed = (
                    f"ids 0 to {len(every) - 1}" if by_id else ", ".join(sorted(map(str, known)))
                )
                raise OptionError(
                    f"{name} has {item!r}, which this model has not; allowed: {allowed}"
                )
        matched = frozenset(n.id for n in plan.nodes if (n.id if by_id else n.type) in wanted)
        return matched if name.endswith("filter") else every - matched
    return every


def _measured(job: _Job, sample: Sample, place: int, count: int) -> SampleStatistics:
    options = job.options
    collector = Collector(_limits(options))
    names = job.twin.output_names
    options.tolerances.check_names(names)
    _check_golden(sample, names)
    visitor = _Shown(collector, options, place, count, len(job.plan.nodes))
    made = job.twin.run(sample, visitor, options.feedback)
    outputs = model_outputs(names, made.exact, made.half, sample.outputs, options.tolerances)
    return SampleStatistics(sample.id, _nodes(job, collector.outputs), outputs)


@dataclass(slots=True)
class _Shown:
    """A collector that tells how far it is."""

    collector: Collector
    options: ManualOptions
    sample: int
    samples: int
    total: int

    def look(self, values: Sequence[TwinValue]) -> list[tuple[bool, bool]]:
        return self.collector.look(values)

    def settle(self, values: Sequence[TwinValue], reads: Sequence[tuple[bool, bool]]) -> None:
        self.collector.settle(values, reads)
        done = min(len(self.collector.outputs), self.total)
        _report(self.options, ManualEvent("measure", self.sample, self.samples, done, self.total))


def _check_golden(sample: Sample, names: Sequence[str]) -> None:
    golden = sample.outputs
    missing = [] if golden is None else [name for name in names if name not in golden]
    if missing:
        raise SampleError(
            f"sample {sample.id}: output {missing[0]!r} is missing; its outputs:"
            f" {sorted(golden or ())}"
        )


def _limits(options: ManualOptions) -> Limits:
    return Limits(
        options.ge_value_thres,
        options.le_value_thres,
        _LIMITS[options.convert.dtype],
        options.tolerances.default,
        options.runs_local,
        options.distribution,
        options.threads,
    )


def _nodes(
    job: _Job, outputs: Mapping[tuple[int, int], OutputStatistics]
) -> tuple[NodeStatistics, ...]:
    rows = []
    for node in job.plan.nodes:
        if node.id not in job.shown:
            continue
        slots = job.floats.get(node.id, ())
        found = tuple(outputs[node.id, slot] for slot in slots if (node.id, slot) in outputs)
        rows.append(
            NodeStatistics(
                node.id,
                node.name,
                node.type,
                node.scope,
                node.dtype,
                found,
                "" if len(found) == len(slots) and node.id not in job.calls
                else _reason(job, node.id),
            )
        )  # fmt: skip
    return tuple(rows)


def _reason(job: _Job, number: int) -> str:
    """Why a node has no statistics."""
    if number in job.calls:
        return "a call of a local function: the nodes of its body have the statistics"
    return job.twin.whole.get(
        number, "it did not run: no branch or iteration that holds it was taken"
    )


def _verified_plan(job: _Job, found: Sequence[SampleStatistics]) -> Plan:
    """The plan, with what it was verified on where every sample passed."""
    if not all(sample.passed for sample in found):
        return job.plan
    return replace(job.plan, runtime=_runtime(), provider=job.options.provider)


def _runtime() -> str:
    return f"onnxruntime {describe_runtime().version}"


def _report_of(job: _Job, found: tuple[SampleStatistics, ...], plan: Plan) -> ManualReport:
    options = job.options
    return ManualReport(
        mode=options.mode,
        plan=plan,
        fp32_nodes=tuple(sorted(set(options.convert.fp32_nodes))),
        samples=found,
        merged=_merged(job, found),
        files=job.files.files(plan),
        reused=tuple(job.files.reused),
        notes=tuple(job.files.notes),
        limit=_LIMITS[options.convert.dtype],
        ge=options.ge_value_thres,
        le=options.le_value_thres,
        local="exact" if options.runs_local else "output",
        runtime=_runtime(),
        provider=options.provider,
        level="device" if options.on_device else "emulated",
        options=_shown_options(options, job.plan),
        warnings=job.warnings,
    )


def _shown_options(options: ManualOptions, plan: Plan) -> dict[str, object]:
    """The options in plain values: what changes a result."""
    limits = {"all": options.tolerances.default, **options.tolerances.outputs}
    own = {name: getattr(options, name) for name in _SHOWN}
    return {
        **plan.options,
        "tolerances": {name: _given(asdict(limit)) for name, limit in limits.items()},
        **options.filters,
        **{name: value for name, value in own.items() if value},
    }


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _merged(job: _Job, found: tuple[SampleStatistics, ...]) -> SampleStatistics:
    if len(found) == 1:
        return replace(found[0], id=None)
    outputs: dict[tuple[int, int], OutputStatistics] = {}
    for sample in found:
        for node in sample.nodes:
            for item in node.outputs:
                key = (node.id, item.slot)
                outputs[key] = merge_outputs(outputs[key], item) if key in outputs else item
    rows = tuple(row for sample in found for row in sample.model_outputs)
    return SampleStatistics(None, _nodes(job, outputs), merge_model_outputs(rows))

"""A model made ready for a search: its units, its statistics, its samples, its probe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from halve.auto.suitable import check_inputs
from halve.auto.workspace import Workspace
from halve.options import OPSETS, ConvertOptions
from halve.plan import Analysis, analyse, load_target, make_plan, match_plan
from halve.plan.schemas import normal_domain
from halve.plan.units import carried_units, fixed_flops, search_units, with_costs
from halve.search_options import SearchOptions
from halve.search_types import Unit, UnitSet
from halve.session.judging import read_model
from halve.session.observe import ValueStatistics, observe
from halve.session.samples import Sample
from halve.session.weight_store import WeightStore
from halve.source import open_model, text
from halve.types import DType, Plan, SourceModel

__all__ = ["Job", "Source", "at_own_opset", "loaded", "prepare", "split_samples"]

Source = Path | ModelProto
# The payload of larger models stays out of the graphs that are made of them, which would be copied
# again and again.
_IN_MEMORY_BYTES = 32_000_000
# A probe holds a weight and its rounded copy: those of larger models are mapped, and nothing else
# is held beside it.
_LARGE_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """What the steps of a search share. `held_out` are positions in `samples`."""

    source: Source
    model: SourceModel
    analysis: Analysis
    plan: Plan
    units: tuple[Unit, ...]
    statistics: Mapping[str, ValueStatistics]
    shapes: Mapping[tuple[str, str], Sequence[int]]
    samples: tuple[Sample, ...]
    held_out: frozenset[int]
    options: SearchOptions
    warnings: tuple[str, ...] = ()

    @property
    def large(self) -> bool:
        """Whether its weights are mapped from files, and held once."""
        return self.model.nbytes >= _LARGE_BYTES

    @property
    def shown(self) -> tuple[Sample, ...]:
        """The samples that the search may look at."""
        return tuple(s for i, s in enumerate(self.samples) if i not in self.held_out)

    def node_ids(self, units: Sequence[int] | frozenset[int]) -> tuple[int, ...]:
        """The plan ids of units' nodes, ascending."""
        return tuple(sorted(number for unit in units for number in self.units[unit].ids))

    def fp32_flop_share(self, kept: Collection[int]) -> float:
        """The share of all floating-point operations that are float32 with these units so."""
        fixed = fixed_flops(self.analysis, self.options.convert, self.units, self.shapes)
        total = fixed + sum(unit.flops for unit in self.units)
        return (fixed + sum(self.units[unit].flops for unit in kept)) / total if total else 0.0

    def carry(self, kept: UnitSet) -> UnitSet:
        """`kept` and what is cheaper in float32 than the casts around it; nothing where nothing
        has to be kept: an all 16-bit model is what was asked for.
        """
        if not kept:
            return kept
        convert = self.options.convert
        return carried_units(
            self.analysis,
            convert,
            load_target(convert.target),
            units=self.units,
            kept=kept,
            shapes=self.shapes,
        )

    def given_ids(self) -> tuple[int, ...]:
        """The plan ids that the options keep float32."""
        return tuple(sorted({*self.options.convert.fp32_nodes}))


def _ignore(_: Job) -> None:
    """Where nothing is begun."""


def prepare(
    source: Source,
    samples: Sequence[Sample],
    options: SearchOptions,
    workspace: Workspace,
    begin: Callable[[Job], None] = _ignore,
) -> Job:
    """Read the model's graph, run its statistics, and find its units.

    `begin` is called with the job before anything is run: it has no statistics then, and its units
    no costs.

    Raises:
        HalveError: the model, the samples or the options do not do; see halve.search.
    """
    job = _outline(source, samples, options)
    begin(job)
    measured = _observe(job, workspace)
    shapes: dict[tuple[str, str], Sequence[int]] = {
        ("", name): item.shape for name, item in measured.items()
    }
    shapes |= {("", text(t.name)): tuple(t.dims) for t in job.model.proto.graph.initializer}
    units = with_costs(job.units, job.analysis, shapes)
    return replace(job, units=units, statistics=measured, shapes=shapes)


def _outline(source: Source, samples: Sequence[Sample], options: SearchOptions) -> Job:
    """The job as far as the graph tells."""
    options, warnings = _resolved(source, options)
    model = open_model(source, allow_links=options.convert.allow_links)
    check_inputs(model.proto, samples)
    convert = at_own_opset(options.convert, model.proto)
    analysis = analyse(model.proto, convert.type_oracle)
    profile = load_target(convert.target)
    return Job(
        source=source,
        model=model,
        analysis=analysis,
        plan=make_plan(analysis, convert, profile, model_hash=model.digest),
        units=search_units(analysis, convert, profile),
        statistics={},
        shapes={},
        samples=tuple(samples),
        held_out=split_samples(samples, options.holdout),
        options=replace(options, convert=convert),
        warnings=tuple(warnings),
    )


def _observe(job: Job, workspace: Workspace) -> dict[str, ValueStatistics]:
    names = [text(value.name) for value in job.analysis.main.values.values() if _observed(value)]
    with loaded(job.source, job.model, workspace) as (proto, store):
        return observe(
            proto,
            names,
            job.shown,
            store=store,
            threads=job.options.threads_per_trial,
            feedback=job.options.feedback,
            custom_op_library=job.options.convert.custom_op_library,
        )


def at_own_opset(options: ConvertOptions, proto: ModelProto) -> ConvertOptions:
    """The options by which a quantised model keeps its opset: what is searched, and what its trials
    round, are the nodes of the file as they are.
    """
    found = {normal_domain(entry.domain): entry.version for entry in proto.opset_import}
    own = found.get("", 0)
    if options.opset is not None or own not in OPSETS:
        return options
    return replace(options, opset=own)


def split_samples(samples: Sequence[Sample], holdout: int) -> frozenset[int]:
    """The positions that are held out: every `holdout`-th of at least as many samples."""
    return frozenset(range(holdout - 1, len(samples), holdout)) if holdout else frozenset()


def _resolved(source: Source, options: SearchOptions) -> tuple[SearchOptions, list[str]]:
    """The options with a plan file turned into ids, and what there is to say of that."""
    convert = options.convert
    if convert.plan is None:
        return options, []
    model = open_model(source, allow_links=convert.allow_links)
    ids, warnings = match_plan(Plan.load(convert.plan), analyse(model.proto), model.digest)
    fixed = replace(convert, plan=None, fp32_nodes=(*convert.fp32_nodes, *ids))
    return replace(options, convert=fixed), warnings


@contextmanager
def loaded(
    source: Source, model: SourceModel, workspace: Workspace
) -> Iterator[tuple[ModelProto, WeightStore | None]]:
    """A copy of the model: a small one with its payload, else without, and a store for that."""
    if model.nbytes < _IN_MEMORY_BYTES:
        yield _whole(source), None
        return
    with workspace.temporary("scratch-weights") as folder:
        proto = ModelProto()
        proto.CopyFrom(model.proto)
        yield proto, WeightStore(folder, model.refs)


def _whole(source: Source) -> ModelProto:
    if isinstance(source, ModelProto):
        copy = ModelProto()
        copy.CopyFrom(source)
        return copy
    return read_model(source)


def _observed(value: object) -> bool:
    return getattr(value, "elem", None) == DType.FLOAT and bool(getattr(value, "name", ""))

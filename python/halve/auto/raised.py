"""A search at the opset that the 16-bit type needs, told in the ids of the file given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from halve.auto.job import Source, at_own_opset
from halve.auto.stand_in import StandInJob
from halve.convert import plan_model
from halve.options import ConvertOptions
from halve.plan import analyse
from halve.plan.opset import RaisedModel, needed_opset, raise_opset
from halve.search_options import SearchOptions
from halve.session.samples import SampleSource, as_samples
from halve.simplify import StandIn
from halve.source import open_model
from halve.types import CastJob, Plan, RewrittenModel, SourceModel
from halve.write import check_target, write_model

__all__ = ["RaisedFile", "raised_job"]


@dataclass(frozen=True, slots=True)
class RaisedFile(StandIn):
    """A file at a higher opset, which stands for the file given."""

    raised: RaisedModel

    def file_plan(self, plan: Plan) -> Plan:
        """A plan of the raised model as one of the file."""
        return replace(self.raised.file_plan(plan, self.plan), model_hash=self.plan.model_hash)


@contextmanager
def raised_job(
    source: Source, samples: SampleSource, options: SearchOptions, *, target: Path | None = None
) -> Iterator[StandInJob | None]:
    """The job in a folder that is gone afterwards; None where the model's own opset serves.

    Raises:
        OutputError: the target is the source.
        UnsupportedModelError: a node cannot be expressed at that opset.
        HalveError: the options do not fit the file.
    """
    model = open_model(source, allow_links=options.convert.allow_links)
    goal = needed_opset(at_own_opset(options.convert, model.proto))
    raised = None if goal is None else raise_opset(model, goal)
    if raised is None:
        yield None
        return
    if target is not None:
        check_target(model, target)
    with tempfile.TemporaryDirectory(prefix="halve-raised-") as folder:
        path = Path(folder) / "model.onnx"
        jobs = tuple(CastJob(ref.name, ref, ref.dtype) for ref in raised.model.refs)
        unchanged = RewrittenModel(raised.model.proto, jobs)
        write_model(unchanged, raised.model, path, options=ConvertOptions())
        stands = _stands_for(model, raised, path, options.convert, samples)
        yield StandInJob(stands, replace(options, convert=stands.options), options.workspace)


def _stands_for(
    model: SourceModel,
    raised: RaisedModel,
    path: Path,
    options: ConvertOptions,
    samples: SampleSource,
) -> RaisedFile:
    plan, warnings = plan_model(model, analyse(model.proto, options.type_oracle), options)
    kept = raised.inner_ids(node.id for node in plan.nodes if "blocked by" in node.reason)
    return RaisedFile(
        path=path,
        origins=tuple((number,) for number in raised.ids),
        samples=as_samples(samples),
        options=replace(options, plan=None, fp32_nodes=kept, op_block=(), node_block=()),
        plan=plan,
        source_nbytes=model.nbytes,
        warnings=(raised.warning, *warnings),
        scopes=raised.file_scopes(plan),
        raised=raised,
    )

"""From a plan to the payload-free output: one pass a file, run in a fixed order."""

from __future__ import annotations

from halve.options import ConvertOptions
from halve.plan.analysis import Analysis
from halve.rewrite.arrange import arrange_nodes
from halve.rewrite.assign import assign_types
from halve.rewrite.casts import insert_casts
from halve.rewrite.interface import declare_types
from halve.rewrite.plan_rows import plan_as_written
from halve.rewrite.state import Rewriting
from halve.rewrite.verify import verify_types
from halve.rewrite.weights import convert_weights
from halve.types import Plan, RewrittenModel, SourceModel

__all__ = ["rewrite"]


def rewrite(
    source: SourceModel, analysis: Analysis, plan: Plan, options: ConvertOptions
) -> RewrittenModel:
    """Rewrite a copy of `source.proto` as `plan` says; no payload is read.

    `analysis` is that of `source.proto`. Where nothing changes the result is the identity.

    Raises:
        OptionError: keep_io_types names something that is no graph input or output.
        PlanError: the plan does not fit the model.
        UnsupportedModelError: the model's opset has no Cast to the 16-bit type.
        ModelError: the graph has a cycle.
    """
    state = Rewriting.start(source, analysis, plan, options)
    assign_types(state)
    settled = convert_weights(state)
    insert_casts(state, settled)
    declare_types(state)
    if not state.changed:
        return RewrittenModel(
            state.proto, tuple(state.jobs), identity=True, plan=plan_as_written(state)
        )
    arrange_nodes(state)
    verify_types(state)
    return RewrittenModel(
        state.proto,
        tuple(state.jobs),
        tuple(state.casts),
        state.cast_lower_bound,
        plan=plan_as_written(state),
    )

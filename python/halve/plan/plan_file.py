"""Find the nodes of a plan in a model."""

from __future__ import annotations

from halve.errors import PlanError
from halve.plan.analysis import Analysis
from halve.plan.keys import node_keys
from halve.types import Plan

__all__ = ["match_plan"]


def match_plan(plan: Plan, analysis: Analysis, model_hash: str) -> tuple[list[int], list[str]]:
    """The ids that a plan keeps float32, found in this model, and warnings.

    Ids hold where the model is the plan's own; else nodes are found by their structural keys.

    Raises:
        PlanError: a float32 node of the plan is not in this model.
    """
    kept = [node for node in plan.nodes if node.dtype == "float32"]
    if plan.model_hash == model_hash:
        return [node.id for node in kept], []
    ids = {key: number for number, key in enumerate(node_keys(analysis))}
    missing = [node for node in kept if node.key not in ids]
    if missing:
        first = missing[0]
        raise PlanError(
            f"the plan belongs to another model: {len(missing)} of its {len(kept)} float32 nodes"
            f" are not here, the first is node {first.id} ({first.type} {first.name!r});"
            " make a new plan for this model"
        )
    return [ids[node.key] for node in kept], [
        "the plan was made for another file; its nodes were found by their structure"
    ]

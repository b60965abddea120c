"""Find the nodes of a plan in a model, and say where a model comes out otherwise than planned."""

from __future__ import annotations

from importlib import metadata

from halve.errors import PlanError
from halve.plan.analysis import Analysis
from halve.plan.keys import node_keys
from halve.plan.matching import Matching, listed, match_rows
from halve.source import text
from halve.types import Plan, PlanNode

__all__ = ["JUDGE_AGAIN", "match_plan", "plan_warnings"]

_PACKAGES = ("onnxruntime-gpu", "onnxruntime")
_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
JUDGE_AGAIN = "judge it again with halve auto --verify-plan"
"""The next step after a plan was applied where it was not verified."""


def match_plan(plan: Plan, analysis: Analysis, model_hash: str) -> tuple[list[int], list[str]]:
    """The ids that a plan keeps float32, found in this model, and warnings.

    Ids hold where the model is the plan's own; else nodes are found by their structural keys (see
    halve.plan.matching), and a warning says which rows found none and which nodes are new.

    Raises:
        PlanError: a float32 node of the plan, or half of all its nodes, is not in this model, or
            the plan has no nodes.
    """
    if not plan.nodes and analysis.all_nodes:
        raise PlanError(
            f"the plan lists no nodes, and the model has {len(analysis.all_nodes)}: it says nothing"
            " of them; make a new plan for this model"
        )
    kept = [node for node in plan.nodes if node.dtype == "float32"]
    if plan.model_hash == model_hash:
        return [node.id for node in kept], []
    found = match_rows(plan.nodes, _nodes(analysis))
    if 2 * len(found.pairs) < len(plan.nodes):
        raise PlanError(
            f"the plan belongs to another model: of its {len(plan.nodes)} nodes"
            f" {len(found.pairs)} are here; not here: {listed(found.lost)}; make a new plan for"
            " this model"
        )
    missing = [row for row in found.lost if row.dtype == "float32"]
    if missing:
        new = f"; new here: {listed(found.new)}" if found.new else ""
        raise PlanError(
            f"the plan no longer fits this model: {len(missing)} of its {len(kept)} float32 nodes"
            f" are not here: {listed(missing)}{new}; make a new plan for this model"
        )
    ids = [node.id for row, node in found.pairs if row.dtype == "float32"]
    return ids, [_fit_warning(found)]


def _nodes(analysis: Analysis) -> list[PlanNode]:
    """The nodes of a model as rows without a decision."""
    keys = node_keys(analysis)
    return [
        PlanNode(number, text(node.name), text(node.op_type), scope, keys[number], "")
        for number, scope, node in analysis.all_nodes
    ]


def _fit_warning(found: Matching) -> str:
    start = "the plan was made for another file; its nodes were found by their structure"
    changes = []
    if found.lost:
        changes.append(f"{len(found.lost)} of its nodes are not here: {listed(found.lost)}")
    if found.new:
        changes.append(f"{len(found.new)} nodes are new and follow the rules: {listed(found.new)}")
    if not changes:
        return start
    return f"{start}, and the model has changed: {'; '.join(changes)}; {JUDGE_AGAIN}"


def plan_warnings(given: Plan, made: Plan) -> list[str]:
    """Where `made`, which a model was written by, is otherwise than the plan file it comes from:
    other options, another runtime than `given` was verified on, other types of nodes.
    """
    warnings = [
        f"the plan was made with {name} {given.options[name]!r} and is applied with {value!r};"
        f" {JUDGE_AGAIN}"
        for name, value in made.options.items()
        if name in given.options and given.options[name] != value
    ]
    warnings += _runtime_warnings(given, str(made.options.get("target", "")))
    if given.options.get("dtype", made.options.get("dtype")) == made.options.get("dtype"):
        warnings += _row_warnings(given, made)
    return warnings


def _runtime_warnings(given: Plan, target: str) -> list[str]:
    installed = _installed_runtime()
    provider = _PROVIDERS.get(target)
    warnings = []
    if given.runtime and installed and given.runtime != installed:
        warnings.append(
            f"the plan was verified on {given.runtime}, this is {installed}; {JUDGE_AGAIN}"
        )
    # On the CPU provider a plan for another target was verified by emulation.
    if given.provider not in ("", _PROVIDERS["cpu"]) and provider not in (None, given.provider):
        warnings.append(
            f"the plan was verified on {given.provider} and is applied for target {target!r};"
            f" {JUDGE_AGAIN}"
        )
    return warnings


def _installed_runtime() -> str:
    """As a plan names it; "" where no ONNX Runtime is installed."""
    for package in _PACKAGES:
        try:
            return f"onnxruntime {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def _row_warnings(given: Plan, made: Plan) -> list[str]:
    pairs = match_rows(given.nodes, made.nodes).pairs
    other = [(old, new) for old, new in pairs if _types(old) != _types(new)]
    if not other:
        return []
    old, new = other[0]
    return [
        f"{len(other)} nodes come out otherwise than in the plan, the first is node {new.id}"
        f" ({new.type} {new.name!r}): {_spelt(old)} there, {_spelt(new)} here; {JUDGE_AGAIN}"
    ]


def _types(row: PlanNode) -> tuple[str, dict[str, str]]:
    return row.dtype, dict(row.operands)


def _spelt(row: PlanNode) -> str:
    operands = ", ".join(f"{slot} {dtype}" for slot, dtype in sorted(row.operands.items()))
    return (row.dtype or "no float operands") + (f" ({operands})" if operands else "")

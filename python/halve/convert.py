"""From a float32 model to a 16-bit one: the only place that chains the stages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from halve.ahead import Ahead
from halve.errors import OptionError, UnsupportedModelError
from halve.files import given_path
from halve.options import ConvertOptions, Progress
from halve.plan import (
    Analysis,
    analyse,
    load_target,
    make_plan,
    match_plan,
    plan_warnings,
    unmatched_names,
    unmatched_ops,
    unmatched_wishes,
)
from halve.plan.opset import Goal, RaisedModel, needed_opset, raise_opset, useful_opset
from halve.rewrite import rewrite
from halve.source import open_model
from halve.types import ConvertResult, DType, Plan, RewrittenModel, SourceModel, WriteSummary
from halve.write import build_model, check_target, write_model

__all__ = ["NO_SUCH_OPS", "convert", "plan_model", "rewrite_model"]

# How the warning about unused entries of op_block begins.
NO_SUCH_OPS = "op_block names what no node is: "


def convert(
    source: str | os.PathLike[str] | ModelProto,
    target: str | os.PathLike[str] | None = None,
    *,
    options: ConvertOptions | None = None,
    ahead: Ahead | None = None,
) -> ConvertResult:
    """Convert a float32 model to float16 or bfloat16.

    The same as `halve.convert`, but that no runtime is asked for types unless the options name a
    `type_oracle`.

    `source` is a path or a ModelProto, which is not changed. With a `target` path the result is
    written there, the weights streamed past in bounded memory; without one `result.model` holds
    it. float32 operands that stay float32, and why, stand in `result.plan`. Weights are rounded to
    nearest even within the bounds of the options; what was clipped or flushed is counted in
    `result.summary` and named in `result.warnings`. Nothing is run, so nothing is said of accuracy.
    `ahead` is what was begun for this source, target and options; the result is the same without.

    Raises:
        OptionError: an option does not fit this model (an unknown id or graph output).
        ModelError, DataError: the source cannot be read.
        UnsupportedModelError: the source has what this version cannot convert.
        PlanError: the plan in the options cannot be read or is of another model.
        SessionError: the oracle cannot answer at all.
        OutputError: the target cannot be written, or is the source. What was there is untouched.
    """
    options = options or ConvertOptions()
    started = time.monotonic()
    if options.simplify is not None:
        raise OptionError("simplify is for halve.convert and halve.auto; leave it out here")
    report = options.progress or _ignore
    report(Progress("open"))
    model = open_model(source, allow_links=options.allow_links)
    path = None if target is None else given_path(target, what="the new model")
    if path is not None:
        check_target(model, path)
    report(Progress("plan"))
    analysis = analyse(model.proto, options.type_oracle)
    plan, warnings = plan_model(model, analysis, options)
    report(Progress("rewrite"))
    rewritten, plan = rewrite_model(model, analysis, plan, options)
    built, summary = _write(rewritten, model, path, options, ahead)
    return ConvertResult(
        target=path,
        model=built,
        plan=plan,
        summary=summary,
        casts=rewritten.casts,
        cast_lower_bound=rewritten.cast_lower_bound,
        source_nbytes=model.nbytes,
        identity=rewritten.identity,
        warnings=(
            *_unused(options),
            *analysis.warnings,
            *warnings,
            *rewritten.warnings,
            *_plan_warnings(plan, options),
            *_cast_warnings(summary),
            *summary.warnings,
        ),
        elapsed_s=time.monotonic() - started,
    )


def _ignore(_: Progress) -> None:
    """Where nobody asked for progress."""


def _unused(options: ConvertOptions) -> list[str]:
    """What was asked for and changes nothing."""
    if options.custom_op_library is None or options.type_oracle is not None:
        return []
    return [
        f"custom_op_library {options.custom_op_library} has no effect without a type_oracle: "
        "halve.convert has one, halve.convert.convert asks nobody"
    ]


def plan_model(
    model: SourceModel, analysis: Analysis, options: ConvertOptions
) -> tuple[Plan, list[str]]:
    """The plan that the options make for a model, and warnings.

    Raises:
        OptionError, PlanError: as `convert` raises.
    """
    ids: list[int] = []
    warnings: list[str] = []
    if options.plan is not None:
        ids, warnings = match_plan(Plan.load(options.plan), analysis, model.digest)
    warnings += [f"no node is called {name!r}" for name in unmatched_names(analysis, options)]
    ops = unmatched_ops(analysis, options)
    warnings += [NO_SUCH_OPS + ", ".join(ops)] if ops else []
    wishes = unmatched_wishes(analysis, options)
    if wishes:
        warnings.append(f"op_half or operand_block names what no node is: {', '.join(wishes)}")
    profile = load_target(options.target)
    plan = make_plan(analysis, options, profile, model_hash=model.digest, fp32_nodes=ids)
    return plan, warnings


def rewrite_model(
    model: SourceModel, analysis: Analysis, plan: Plan, options: ConvertOptions
) -> tuple[RewrittenModel, Plan]:
    """The rewritten model and the plan in the file's ids, at a higher opset where that is needed or
    saves casts.

    Raises:
        OptionError, UnsupportedModelError: as `convert` raises.
    """
    if not any(node.dtype for node in plan.nodes):
        return _rewrite_plain(model, analysis, plan, options)
    goal = needed_opset(options)
    made = None if goal is None else _rewrite_at(goal, model, plan, options)
    made = made or _rewrite_plain(model, analysis, plan, options)
    better = useful_opset(made[1], options)
    return made if better is None else _fewer_casts(made, better, model, plan, options)


_Rewritten = tuple[RewrittenModel, Plan]


def _rewrite_plain(
    model: SourceModel, analysis: Analysis, plan: Plan, options: ConvertOptions
) -> _Rewritten:
    rewritten = rewrite(model, analysis, plan, options)
    return rewritten, rewritten.plan or plan


def _rewrite_at(
    goal: Goal, model: SourceModel, plan: Plan, options: ConvertOptions
) -> _Rewritten | None:
    """The model rewritten at that opset; None where its own is as high, or nothing is changed."""
    raised = raise_opset(model, goal)
    if raised is None:
        return None
    rewritten, raised_plan = _rewrite_raised(raised, plan, options)
    return None if rewritten.identity else (rewritten, raised_plan)


def _fewer_casts(
    made: _Rewritten, goal: Goal, model: SourceModel, plan: Plan, options: ConvertOptions
) -> _Rewritten:
    """`made`, or what it is at the goal's opset where that takes fewer casts."""
    try:
        other = _rewrite_at(goal, model, plan, options)
    except UnsupportedModelError as error:
        note = f"casts could be fewer at opset {goal.opset}, which the model was not raised to: "
        return replace(made[0], warnings=(*made[0].warnings, f"{note}{error}")), made[1]
    return other if other is not None and len(other[0].casts) < len(made[0].casts) else made


def _rewrite_raised(
    raised: RaisedModel, plan: Plan, options: ConvertOptions
) -> tuple[RewrittenModel, Plan]:
    model, profile = raised.model, load_target(options.target)
    analysis = analyse(model.proto, options.type_oracle)
    # What the options say of the file's nodes is in its plan, by ids as well as by types and names.
    kept = raised.inner_ids(node.id for node in plan.nodes if "blocked by" in node.reason)
    inner = replace(options, fp32_nodes=(), op_block=(), node_block=())
    made = make_plan(analysis, inner, profile, model_hash=model.digest, fp32_nodes=kept)
    rewritten = rewrite(model, analysis, made, inner)
    scopes = raised.file_scopes(plan)
    casts = tuple(
        replace(cast, scope=scopes.get(cast.scope, cast.scope)) for cast in rewritten.casts
    )
    warnings = (raised.warning, *rewritten.warnings)
    return replace(rewritten, casts=casts, warnings=warnings), raised.file_plan(
        rewritten.plan or made, plan
    )


def _write(
    rewritten: RewrittenModel,
    model: SourceModel,
    path: Path | None,
    options: ConvertOptions,
    ahead: Ahead | None,
) -> tuple[ModelProto | None, WriteSummary]:
    if path is None:
        return build_model(rewritten, options=options)
    return None, write_model(rewritten, model, path, options=options, ahead=ahead)


def _plan_warnings(made: Plan, options: ConvertOptions) -> list[str]:
    return [] if options.plan is None else plan_warnings(Plan.load(options.plan), made)


# Counts that change a value by more than rounding, and what the warning calls them.
_LOSSES: tuple[tuple[str, Callable[[int], str]], ...] = (
    ("lowered", "{} lowered to the maximum".format),
    ("raised", "{} raised to the minimum".format),
    ("overflow", "{} overflowed to infinity".format),
    ("flushed", "{} flushed to zero".format),
)


def _cast_warnings(summary: WriteSummary) -> list[str]:
    """One line a tensor that lost values to the bounds or to the type's range."""
    lines = []
    for row in summary.rows:
        losses = [
            text(count) for field, text in _LOSSES if (count := getattr(row.counts, field)) > 0
        ]
        if losses and row.dtype != DType.FLOAT:
            lines.append(
                f"tensor {row.name!r}: of {row.counts.elements} values {', '.join(losses)}"
                f" (largest magnitude {row.counts.max_abs:.9g})"
            )
    return lines

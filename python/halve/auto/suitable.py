"""What a model and its samples must be for a search to say anything, checked before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import ModelProto

from halve.auto.candidate import judge_settings
from halve.compare.verdict import compare_outputs
from halve.errors import SampleError, UnsupportedModelError, VerdictError
from halve.plan import Analysis
from halve.plan.analysis import NodeInfo
from halve.search_options import SearchOptions
from halve.session.samples import Sample
from halve.session.written import open_source, run_sample
from halve.source import text

__all__ = ["check_inputs", "check_repeats"]

# Operators that draw numbers; Dropout does where it is told by its third operand that it trains.
_DRAWING = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_TRAINING = 2


def check_inputs(model: ModelProto, samples: Sequence[Sample]) -> None:
    """See that there are samples, the model takes tensors, and no sample replaces a weight.

    Raises:
        UnsupportedModelError: an input is a sequence, an optional or a map.
        SampleError: there is no sample, or one gives an input that has a default.
    """
    if not samples:
        raise SampleError("no samples were given; allowed: one or more")
    weights = {text(tensor.name) for tensor in model.graph.initializer}
    for port in model.graph.input:
        kind = port.type.WhichOneof("value")
        if kind not in ("tensor_type", None):
            raise UnsupportedModelError(
                f"input {text(port.name)!r} is a {kind.removesuffix('_type').replace('_', ' ')};"
                " allowed: tensors"
            )
        name = text(port.name)
        given = [sample.id for sample in samples if name in sample.inputs]
        if given and name in weights:
            raise SampleError(
                f"sample {given[0]}: input {name!r} has a default, an initializer of that name,"
                " which a search takes for a constant; allowed: the inputs without one; leave it"
                " out of the samples, or remove the initializer from the model"
            )


def check_repeats(
    source: Path | ModelProto,
    analysis: Analysis,
    samples: Sequence[Sample],
    options: SearchOptions,
) -> None:
    """See that a model which may draw numbers gives the first sample's outputs twice.

    Raises:
        VerdictError: it does not, within the tolerance.
    """
    drawing = sorted({node.op_type for node in analysis.nodes if _may_draw(node)})
    if not drawing or options.validate_only:
        return
    settings, sample = judge_settings(options), samples[0]
    session = open_source(source, settings)
    first, again = (run_sample(session, sample, settings.feedback) for _ in range(2))
    of_itself = compare_outputs(first, first, options.tolerances)
    for itself, trial in zip(
        of_itself, compare_outputs(again, first, options.tolerances), strict=True
    ):
        if itself.passed and not trial.passed:
            raise VerdictError(
                f"the float32 model is not within the tolerance of itself: output {trial.name!r} of"
                f" sample {sample.id} differs from run to run (it has {', '.join(drawing)});"
                " allowed: a model that gives the same outputs for the same inputs; take what it"
                " draws as an input, and export for inference"
            )


def _may_draw(node: NodeInfo) -> bool:
    if node.op_type == "Dropout":
        return len(node.inputs) > _TRAINING and node.inputs[_TRAINING] is not None
    return node.op_type in _DRAWING

"""A float32 model and its 16-bit conversion, run side by side on samples."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto

from halve._native.cast import cast_into
from halve.session.canary import check_arithmetic, check_canary
from halve.session.element_types import type_text
from halve.session.feeds import Port, check_feeds
from halve.session.lowering import flatten, half_names, lower
from halve.session.samples import Sample
from halve.session.steps import roll
from halve.session.twin_pair import pair_models
from halve.session.twin_walk import Visitor, Walk, WalkSettings
from halve.session.values import from_value
from halve.session.weight_store import WeightStore
from halve.types import CastBounds, DType

__all__ = ["TwinModels", "TwinOutputs", "TwinSession"]

_HALF_TYPES: dict[DType, Any] = {DType.FLOAT16: np.float16, DType.BFLOAT16: ml_dtypes.bfloat16}
_OTHER_FLOATS = ("tensor(double)", "tensor(float16)", "tensor(bfloat16)")
# A fed-back value of the 16-bit run, among the inputs of a step.
_MARK = "16:"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinModels:
    """The source and its conversion, both with tagged nodes (twin_lane.tag_nodes).

    `floats` has the positions of each source node's float32 outputs by id, `neutral` the ids of
    nodes that only move or select values. `local`: whether to make local runs. With `real` both
    run as they are, and 16 bits are computed by the provider's own kernels; without, every 16-bit
    tensor is really rounded around float32 arithmetic. The stores hold the payload of large models,
    in one folder; without, it is in the models.
    """

    source: ModelProto
    converted: ModelProto
    floats: Mapping[int, tuple[int, ...]]
    neutral: frozenset[int]
    half: DType = DType.FLOAT16
    local: bool = True
    real: bool = False
    source_store: WeightStore | None = None
    converted_store: WeightStore | None = None


@dataclass(frozen=True, slots=True)
class TwinOutputs:
    """The outputs of the model in both runs, by name; 16-bit outputs have their type."""

    exact: Arrays
    half: Arrays


class TwinSession:
    """Runs samples through both models; see halve.session.twin_walk."""

    def __init__(
        self,
        models: TwinModels,
        settings: WalkSettings | None = None,
        *,
        keep: Callable[[ModelProto, ModelProto], None] | None = None,
    ) -> None:
        """Lower and pair the models; parts are loaded when they are first run. `keep` is shown
        both models as they are run.

        Raises:
            ModelError, UnsupportedModelError: a model cannot be lowered.
            SessionError: this runtime erases casts, or the provider has no kernels for `real`.
            BackendUnavailableError: the provider is not here.
        """
        settings = settings or WalkSettings()
        library = settings.custom_op_library
        if models.real:
            check_arithmetic(models.half.name.lower(), provider=settings.provider)
        else:
            check_canary(models.half.name.lower(), optimise=False, threads=settings.threads)
        ready = partial(_ready, library=library, real=models.real)
        exact = ready(models.source, models.source_store)
        half = ready(models.converted, models.converted_store)
        if keep is not None:
            keep(exact, half)
        self.inputs = _ports(exact.graph)
        self.output_names = tuple(item.name for item in exact.graph.output)
        self._rounded = tuple(
            info.type.tensor_type.elem_type == models.half and port.type == "tensor(float)"
            for info, port in zip(half.graph.input, self.inputs, strict=True)
        )
        self._half = models.half
        work = pair_models(
            exact,
            half,
            models.floats,
            models.neutral,
            int(models.half),
            local=models.local,
            halves=half_names(half, custom_op_library=library) if models.real else frozenset(),
        )
        self._main = work.main
        self.whole = work.whole
        store = models.source_store
        folder = None if store is None else store.folder
        others = any(port.type in _OTHER_FLOATS for port in self.inputs)
        how = replace(settings, data_folder=folder, local_runs=models.local, other_floats=others)
        self._walk = Walk(work, how)

    def run(
        self, sample: Sample, visitor: Visitor, feedback: tuple[tuple[str, str], ...] = ()
    ) -> TwinOutputs:
        """One sample, rolled over its steps with `feedback`; each run keeps its own state.

        Raises:
            SampleError, OptionError: the sample does not fit.
            SessionError: a part does not load or run.
        """
        inputs = dict(sample.inputs)
        pairs = [*feedback]
        for output, name in feedback:
            if name in inputs:
                inputs[_MARK + name] = inputs[name]
                pairs.append((_MARK + output, _MARK + name))

        def step(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
            return self._step(sample, feeds, visitor)

        made = roll(step, inputs, tuple(pairs))
        names = self.output_names
        return TwinOutputs(
            {name: made[name] for name in names}, {name: made[_MARK + name] for name in names}
        )

    def _step(self, sample: Sample, feeds: Mapping[str, NDArray[Any]], visitor: Visitor) -> Arrays:
        where = f"sample {sample.id}"
        states = {port.name for port in self.inputs if _MARK + port.name in feeds}
        own = {
            name: array for name, array in feeds.items() if name.removeprefix(_MARK) not in states
        }
        exact = self._checked({**own, **{name: feeds[name] for name in states}}, where)
        half = {**own, **{name: feeds[_MARK + name] for name in states}}
        first, second = self._walk.run(
            dict(zip(self._main.exact_inputs, exact.values(), strict=True)),
            {
                name: self._round(np.asarray(half[port.name])) if rounded else half[port.name]
                for name, port, rounded in zip(
                    self._main.half_inputs, self.inputs, self._rounded, strict=True
                )
            },
            visitor,
        )
        made = {n: from_value(v, where) for n, v in zip(self.output_names, first, strict=True)}
        for name, value in zip(self.output_names, second, strict=True):
            made[_MARK + name] = from_value(value, where)
        return made

    def _checked(self, feeds: Mapping[str, NDArray[Any]], where: str) -> Arrays:
        ready = check_feeds(self.inputs, (), feeds, where)
        return {port.name: ready[port.name] for port in self.inputs}

    def _round(self, array: NDArray[Any]) -> NDArray[Any]:
        """The input as the 16-bit model reads it; beyond the range is infinity."""
        rounded = np.empty(array.shape, _HALF_TYPES[self._half])
        cast_into(np.require(array, np.float32, "C"), rounded, self._half, CastBounds(), threads=1)
        return rounded


def _ready(
    model: ModelProto, store: WeightStore | None, *, library: Path | None, real: bool
) -> ModelProto:
    """The model as it is paired and run."""
    ready = flatten(model) if real else lower(model, custom_op_library=library, weights=store)
    return ready if store is None else store.settle(ready)


def _ports(graph: GraphProto) -> tuple[Port, ...]:
    return tuple(Port(item.name, type_text(item.type), _shape(item)) for item in graph.input)


def _shape(item: Any) -> tuple[int | str | None, ...]:
    dims = item.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)

"""What a float32 run's values look like: shapes, extremes, and what 16 bits would do to them.

Values of the main graph are looked at as they come, a batch of outputs a run, so that memory stays
bounded, and weights where they lie; values inside bodies are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto

from halve.compare import statistics
from halve.session.feeds import Port
from halve.session.runtime import load, run
from halve.session.samples import Sample, naming
from halve.session.steps import roll
from halve.session.weight_store import MAPPED, InlineWeights, Weights, WeightStore

__all__ = ["ValueStatistics", "observe"]

# float16 rounds what is at least this to infinity, and to zero what is at most that.
OVERFLOW = 65520.0
UNDERFLOW = 2.0**-25
# Above this float16 no longer has every integer.
_INTEGERS = 2048.0
_BATCH_BYTES = 256 << 20
_FIRST_BATCH = 16
# Packing the weights of a large model takes about as long as it saves in this many runs.
_RUNS_WORTH_PACKING = 6


@dataclass(frozen=True, slots=True)
class ValueStatistics:
    """A float32 value of the main graph over all samples.

    `overflow` counts finite elements that float16 rounds to infinity, `underflow` nonzero ones
    that it rounds to zero. `integers`: beyond 2048 and whole numbers all of them.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    max_abs: float
    overflow: int
    underflow: int
    nonfinite: int
    integers: bool

    def merged(self, other: ValueStatistics) -> ValueStatistics:
        """Both together; the shape is the larger one."""
        larger = max(self, other, key=_nbytes)
        return replace(
            self,
            shape=larger.shape,
            elements=self.elements + other.elements,
            max_abs=max(self.max_abs, other.max_abs),
            overflow=self.overflow + other.overflow,
            underflow=self.underflow + other.underflow,
            nonfinite=self.nonfinite + other.nonfinite,
            integers=self.integers and other.integers,
        )


def observe(  # noqa: PLR0913 - keywords, all with defaults
    model: ModelProto,
    names: Sequence[str],
    samples: Sequence[Sample],
    *,
    store: WeightStore | None = None,
    threads: int = 1,
    feedback: tuple[tuple[str, str], ...] = (),
    **settings: Any,  # noqa: ANN401 - load's own keywords
) -> dict[str, ValueStatistics]:
    """Run `model`, which is changed, and measure the named values of its main graph.

    With a `store` the model is one without its payload, which is written there.

    Raises:
        SessionError, SampleError: the model does not load or run, or a sample does not fit.
    """
    outputs = {item.name for item in model.graph.output}
    given = {item.name for item in model.graph.input}
    wanted = [name for name in dict.fromkeys(names) if name not in given]
    weights = _weights(model, set(wanted), store or InlineWeights())
    wanted = [name for name in wanted if name not in weights]
    model.graph.output.extend(ValueInfoProto(name=n) for n in wanted if n not in outputs)
    session = load(
        model if store is None else store.settle(model),
        optimise=False,
        threads=threads,
        external_data_folder=None if store is None else store.folder,
        session_options=MAPPED if store is not None and len(samples) < _RUNS_WORTH_PACKING else {},
        where="statistics run",
        **settings,
    )
    floats = {port.name: port for port in session.outputs if port.type == "tensor(float)"}
    wanted = [name for name in wanted if name in floats]
    told = _told_sizes(floats.values())
    found: dict[str, ValueStatistics] = {}
    for sample in samples:
        for batch in _batches(wanted, told, found):

            def step(
                feeds: Mapping[str, NDArray[Any]], batch: Sequence[str] = batch
            ) -> dict[str, NDArray[Any]]:
                fetch = [*batch, *(output for output, _ in feedback)]
                return dict(zip(fetch, run(session, feeds, fetch=fetch), strict=True))

            with naming(sample):
                values = roll(step, sample.inputs, feedback)
            for name, array in values.items():
                _add(found, _measured(name, array))
        for name, array in sample.inputs.items():
            if array.dtype == np.float32:
                _add(found, _measured(name, array))
    return weights | found


def _weights(
    model: ModelProto, names: AbstractSet[str], weights: Weights
) -> dict[str, ValueStatistics]:
    return {
        tensor.name: _measured(tensor.name, weights.array(tensor))
        for tensor in model.graph.initializer
        if tensor.name in names and tensor.data_type == TensorProto.FLOAT
    }


def _told_sizes(ports: Iterable[Port]) -> dict[str, int]:
    """The bytes of float32 values whose shapes ONNX Runtime knows before a run."""
    return {
        port.name: 4 * math.prod(sizes)
        for port in ports
        if len(sizes := [dim for dim in port.shape if isinstance(dim, int)]) == len(port.shape) > 0
    }


def _batches(
    names: Sequence[str], told: dict[str, int], found: Mapping[str, ValueStatistics]
) -> Iterable[Sequence[str]]:
    """Runs of names whose arrays fit the budget, by the sizes in bytes that are known so far."""
    start = 0
    while start < len(names):
        sizes = told | {name: _nbytes(item) for name, item in found.items()}
        # Where nothing was seen yet, a few show how large values of unknown shape are.
        blind = len(names) if found else _FIRST_BATCH
        largest = max(sizes.values(), default=0)
        size, stop = 0, start
        while stop < len(names) and (stop == start or (size < _BATCH_BYTES and blind > 0)):
            size += sizes.get(names[stop], largest)
            blind -= names[stop] not in sizes
            stop += 1
        yield names[start:stop]
        start = stop


def _nbytes(item: ValueStatistics) -> int:
    return 4 * math.prod(item.shape)


def _add(found: dict[str, ValueStatistics], item: ValueStatistics) -> None:
    known = found.get(item.name)
    found[item.name] = item if known is None else known.merged(item)


def _measured(name: str, array: NDArray[Any]) -> ValueStatistics:
    found = statistics(array, ge=OVERFLOW, le=UNDERFLOW)
    whole = found.max_abs > _INTEGERS and bool(np.array_equal(array, np.rint(array)))
    return ValueStatistics(
        name=name,
        shape=array.shape,
        elements=found.elements,
        max_abs=found.max_abs,
        overflow=found.ge - found.inf,
        underflow=found.le - found.zero,
        nonfinite=found.nan + found.inf,
        integers=whole,
    )

"""A sample rolled over its steps, for models that carry state from one run to the next.

With feedback (output, input) pairs, a sample's arrays have a leading axis of steps for every input
but those that are fed back, whose arrays are the initial state. A step takes its slice of each; the
state of the next is the output of the last. Outputs are stacked along a leading axis of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.errors import OptionError, SampleError

__all__ = ["Outputs", "roll"]

Outputs = dict[str, NDArray[Any]]
_Step = Callable[[Mapping[str, NDArray[Any]]], Outputs]


def roll(
    step: _Step, inputs: Mapping[str, NDArray[Any]], feedback: tuple[tuple[str, str], ...]
) -> Outputs:
    """Run `step` once, or with `feedback` once a step of the inputs.

    Raises:
        SampleError: the inputs do not agree on the number of steps, or have none.
        OptionError: a pair names an input or an output that the model does not have.
    """
    if not feedback:
        return step(inputs)
    state = {name: inputs[name] for _, name in feedback if name in inputs}
    unknown = [name for _, name in feedback if name not in inputs]
    if unknown:
        raise OptionError(f"feedback names input {unknown[0]!r}; allowed: {sorted(inputs)}")
    series = {name: array for name, array in inputs.items() if name not in state}
    counts = {array.shape[0] if array.ndim else 0 for array in series.values()}
    if len(counts) != 1 or 0 in counts:
        raise SampleError(
            f"inputs {sorted(series)} have {sorted(counts)} steps along their first axis; allowed:"
            " the same number in all, 1 or more, where outputs are fed back"
        )
    rows: list[Outputs] = []
    for number in range(counts.pop()):
        rows.append(step({**{name: array[number] for name, array in series.items()}, **state}))
        state = {name: _fed(rows[-1], output) for output, name in feedback}
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _fed(outputs: Outputs, name: str) -> NDArray[Any]:
    if name not in outputs:
        raise OptionError(f"feedback names output {name!r}; allowed: {sorted(outputs)}")
    return outputs[name]

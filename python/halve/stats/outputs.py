"""The outputs of the model in both runs, against each other and against golden values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.compare.verdict import compare_outputs
from halve.manual_types import ModelOutput, OutputBlock, merge_comparisons
from halve.search_types import Tolerances

__all__ = ["merge_model_outputs", "model_outputs"]


def model_outputs(
    names: Sequence[str],
    exact: Mapping[str, NDArray[Any]],
    half: Mapping[str, NDArray[Any]],
    golden: Mapping[str, NDArray[Any]] | None,
    tolerances: Tolerances,
) -> tuple[ModelOutput, ...]:
    """Compare each output, in graph order (see ModelOutput)."""
    return tuple(
        ModelOutput(
            name,
            None if golden is None else _block(name, half[name], golden[name], tolerances),
            None if golden is None else _block(name, exact[name], golden[name], tolerances),
            _block(name, half[name], exact[name], tolerances),
        )
        for name in names
    )


def merge_model_outputs(rows: Sequence[ModelOutput]) -> tuple[ModelOutput, ...]:
    """The outputs of several samples together: a block passes where all do."""
    merged: dict[str, ModelOutput] = {}
    for row in rows:
        known = merged.get(row.name)
        merged[row.name] = row if known is None else ModelOutput(
            row.name,
            _both(known.fp16_golden, row.fp16_golden),
            _both(known.fp32_golden, row.fp32_golden),
            _joined(known.fp16_fp32, row.fp16_fp32),
        )  # fmt: skip
    return tuple(merged.values())


def _both(first: OutputBlock | None, second: OutputBlock | None) -> OutputBlock | None:
    return first or second if first is None or second is None else _joined(first, second)


def _joined(first: OutputBlock, second: OutputBlock) -> OutputBlock:
    return replace(
        first,
        passed=first.passed and second.passed,
        close=first.close and second.close,
        error=max(first.error, second.error),
        a_elements=first.a_elements + second.a_elements,
        b_elements=first.b_elements + second.b_elements,
        mismatches=first.mismatches + second.mismatches,
        comparison=merge_comparisons(first.comparison, second.comparison),
    )


def _block(
    name: str, value: NDArray[Any], reference: NDArray[Any], tolerances: Tolerances
) -> OutputBlock:
    (trial,) = compare_outputs({name: value}, {name: reference}, tolerances)
    found = trial.comparison
    if found is not None:
        mismatches = found.mismatches
    elif value.shape == reference.shape:
        mismatches = int(np.count_nonzero(value != reference))
    else:
        mismatches = max(value.size, reference.size)
    allowed = tolerances.of(name).ntol * reference.size
    close = value.shape == reference.shape and mismatches <= allowed
    sizes = (value.size, reference.size)
    return OutputBlock(trial.passed, close, trial.error, *sizes, mismatches, found)

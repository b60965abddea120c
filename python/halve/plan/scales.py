"""Quantisers whose scale the 16-bit type does not hold stay float32.

A wrong scale is wrong for every value, and the scales of int32 biases are products of two others:
float16 makes one below 2^-25 zero. A scale that is at hand (small, constant) may be off by a
256th at the most, as far as bfloat16 is at its worst.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, NodeInfo
from halve.plan.decision import Decision
from halve.plan.neutral import initializer_tensors, small_constant
from halve.types import DType

__all__ = ["QUANTIZERS", "keep_scales"]

QUANTIZERS = frozenset({"DequantizeLinear", "QuantizeLinear"})
_LARGEST_ERROR = 2.0**-8
_REASON = "its scale does not fit the 16-bit type"


def keep_scales(
    analysis: Analysis, decisions: list[Decision], options: ConvertOptions
) -> list[Decision]:
    """The decisions with such quantisers in float32."""
    found = [n for n in analysis.nodes if _is_half_quantizer(n, decisions[n.uid])]
    if not found or options.half != DType.FLOAT16:  # bfloat16 has float32's range
        return decisions
    tensors = initializer_tensors(analysis)
    result = list(decisions)
    for node in found:
        value = node.inputs[1]
        scale = None if value is None else small_constant(value, tensors)
        if scale is not None and not _holds(scale, options):
            result[node.uid] = Decision(frozenset(), _REASON)
    return result


def _is_half_quantizer(node: NodeInfo, decision: Decision) -> bool:
    if node.domain or node.op_type not in QUANTIZERS or len(node.inputs) < 2:
        return False
    return node.in_types[1][0] in decision.half_vars


def _holds(scale: NDArray[np.float32], options: ConvertOptions) -> bool:
    bounds = options.bounds
    with np.errstate(over="ignore"):
        stored = np.clip(scale, -bounds.max_finite, bounds.max_finite).astype(np.float16)
        error = np.abs(stored.astype(np.float32) - scale)
    return bool(np.all(error <= _LARGEST_ERROR * np.abs(scale)))

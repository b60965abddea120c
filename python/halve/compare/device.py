"""Comparison and statistics of arrays in a GPU's memory."""

from __future__ import annotations

from typing import Any

from halve._native.cuda_arrays import compare_array, measure_array, measure_ratios
from halve._native.device_arrays import is_on_device, open_device_array
from halve.errors import ComparisonError
from halve.types import Comparison, TensorStatistics

__all__ = ["compare_on_device", "on_device", "ratios_on_device", "statistics_on_device"]


def on_device(a: object, b: object) -> bool:
    """Whether both arrays are on a device, or neither.

    Raises:
        ComparisonError: one is on a device and the other is not.
    """
    first, second = is_on_device(a), is_on_device(b)
    if first != second:
        there, here = ("a", "b") if first else ("b", "a")
        raise ComparisonError(
            f"{there} is in a device's memory and {here} is not; allowed: both in one memory; move"
            " one of them"
        )
    return first


def compare_on_device(
    a: Any,  # noqa: ANN401 - any library's array
    b: Any,  # noqa: ANN401 - any library's array
    *,
    rtol: float,
    atol: float,
    equal_nan: bool,
) -> Comparison:
    """As halve.compare, of arrays on one device; the same bits.

    Raises:
        ComparisonError: the shapes or devices differ, or an array is of another type or layout.
        BackendUnavailableError: CUDA is not usable here.
    """
    first, second = open_device_array("a", a), open_device_array("b", b)
    if first.shape != second.shape:
        raise ComparisonError(
            f"compare of shape {first.shape} with {second.shape}; allowed: equal shapes; reshape "
            "or broadcast one of them first"
        )
    if first.size and first.device != second.device:
        raise ComparisonError(
            f"a is on device {first.device}, b on {second.device}; allowed: one device; copy one "
            "of them"
        )
    return compare_array(first, second, rtol=rtol, atol=atol, equal_nan=equal_nan)


def ratios_on_device(
    a: Any,  # noqa: ANN401 - any library's array
    b: Any,  # noqa: ANN401 - any library's array
    *,
    rtol: float,
    atol: float,
) -> tuple[float, float]:
    """The largest share of a tolerance that an element uses, and the sum of the shares' fourth
    powers, each divided by the largest first. `b`, the reference, is float32.

    Raises:
        ComparisonError: an array is of another type or layout.
        BackendUnavailableError: CUDA is not usable here.
    """
    first, second = open_device_array("a", a), open_device_array("b", b)
    return measure_ratios(first, second, rtol=rtol, atol=atol)


def statistics_on_device(
    array: Any,  # noqa: ANN401 - any library's array
    *,
    ge: float,
    le: float,
) -> TensorStatistics:
    """As halve.statistics, of an array on a device; the same bits.

    Raises:
        ComparisonError: the array is of another type or layout.
        BackendUnavailableError: CUDA is not usable here.
    """
    return measure_array(open_device_array("array", array), ge=ge, le=le)

"""What a loaded model takes, and the check of what it is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve.errors import SampleError

__all__ = ["Port", "check_feeds", "is_bfloat16"]

_NUMPY_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bfloat16)": ml_dtypes.bfloat16,
    "tensor(bool)": np.bool_,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
}
_HALF_TYPES = ("tensor(float16)", "tensor(bfloat16)")


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its ONNX type as ONNX Runtime writes it ("tensor(float16)"), and its
    shape, where a dimension that is not fixed is a name or None.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...]


def is_bfloat16(port: Port) -> bool:
    """Whether a port is a bfloat16 tensor."""
    return port.type == "tensor(bfloat16)"


def check_feeds(
    inputs: Iterable[Port],
    optional: Iterable[Port],
    feeds: Mapping[str, NDArray[Any]],
    where: str,
) -> dict[str, NDArray[Any]]:
    """The feeds as the model wants them: float32 rounded to its 16-bit type, all else as it is.

    Raises:
        SampleError: an input is missing, unknown, or has the wrong type or shape.
    """
    required = {port.name: port for port in inputs}
    known = required | {port.name: port for port in optional}
    names = ", ".join(map(repr, required)) or "none"
    for name in feeds:
        if name not in known:
            raise SampleError(f"{where}: the model has no input {name!r}; its inputs: {names}")
    for name in required:
        if name not in feeds:
            raise SampleError(f"{where}: input {name!r} is missing; the model's inputs: {names}")
    return {name: _check_array(known[name], array, where) for name, array in feeds.items()}


def _check_array(port: Port, array: NDArray[Any], where: str) -> NDArray[Any]:
    if not port.type.startswith("tensor("):
        return array  # sequences and maps: ONNX Runtime checks
    value = np.asarray(array)
    if value.dtype == np.float32 and port.type in _HALF_TYPES:
        with np.errstate(over="ignore"):  # beyond the range is infinity, as in a float16 model
            value = value.astype(_NUMPY_TYPES[port.type])
    if not _type_fits(port.type, value.dtype):
        raise SampleError(
            f"{where}: input {port.name!r} has type {value.dtype}; allowed: {_allowed(port.type)}"
        )
    if not _shape_fits(port.shape, value.shape):
        raise SampleError(
            f"{where}: input {port.name!r} has shape {list(value.shape)}; "
            f"allowed: [{', '.join(str(d) if d is not None else '?' for d in port.shape)}]"
        )
    return value


def _type_fits(port_type: str, dtype: np.dtype[Any]) -> bool:
    if port_type == "tensor(string)":
        return dtype.kind in "OUST"
    wanted = _NUMPY_TYPES.get(port_type)
    return wanted is None or dtype == np.dtype(wanted)


def _allowed(port_type: str) -> str:
    name = port_type.removeprefix("tensor(").removesuffix(")")
    return f"{name}, or float32 to be rounded to it" if port_type in _HALF_TYPES else name


def _shape_fits(wanted: tuple[int | str | None, ...], shape: tuple[int, ...]) -> bool:
    # ONNX Runtime reports a scalar and an input of unknown rank alike, as no dimensions.
    if not wanted:
        return True
    return len(wanted) == len(shape) and all(
        not isinstance(dim, int) or dim < 0 or dim == size
        for dim, size in zip(wanted, shape, strict=True)
    )

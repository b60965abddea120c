"""Weights of candidates in a device's memory: each uploaded once, read by every session there.

ONNX Runtime takes an initializer that it is given as a value where that lies, if the value does not
own its memory and the initializer is planned on the same device (SessionOptions.add_initializer);
planned elsewhere it is read from the file, which costs memory only.
"""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from halve.errors import SessionError

__all__ = ["DeviceWeights"]

# Others stay in the file.
_TYPES: Mapping[int, Any] = {
    int(TensorProto.FLOAT): np.float32,
    int(TensorProto.FLOAT16): np.float16,
    int(TensorProto.BFLOAT16): ml_dtypes.bfloat16,
    int(TensorProto.DOUBLE): np.float64,
}
# What is smaller is not worth a value of its own.
_LEAST_BYTES = 1 << 16

_Key = tuple[int, int, int, tuple[int, ...], int]


class DeviceWeights:
    """The values for a candidate's initializers. Safe to use from several threads."""

    def __init__(
        self, folder: Path, upload: Callable[[NDArray[Any], int], Any], *, bfloat16: bool = True
    ) -> None:
        """`folder` holds external data; `upload(array, device)` makes a value that lies there and
        does not own its memory.

        Without `bfloat16` such weights stay in the file.
        """
        self._folder = folder
        left = () if bfloat16 else (int(TensorProto.BFLOAT16),)
        self._types = {code: dtype for code, dtype in _TYPES.items() if code not in left}
        self._upload = upload
        self._lock = threading.Lock()
        self._values: dict[_Key, Any] = {}

    def clear(self) -> None:
        """Let go of the values; sessions that use some keep those."""
        with self._lock:
            self._values.clear()

    def values(self, model: bytes, device: int) -> dict[str, Any]:
        """By name, the initializers of the main graph that lie beside the model.

        Raises:
            SessionError: the external data cannot be read.
        """
        proto = ModelProto.FromString(model)
        found = {}
        for tensor in proto.graph.initializer:
            place = _place(tensor)
            if place is not None and tensor.data_type in self._types:
                found[tensor.name] = self._value(tensor, *place, device)
        return found

    def _value(
        self, tensor: TensorProto, location: str, offset: int, length: int, device: int
    ) -> Any:
        key = (offset, length, int(tensor.data_type), tuple(tensor.dims), device)
        with self._lock:
            if key not in self._values:
                array = self._read(tensor, self._folder / location, offset, length)
                self._values[key] = self._upload(array, device)
            return self._values[key]

    def _read(self, tensor: TensorProto, path: Path, offset: int, length: int) -> NDArray[Any]:
        dtype = np.dtype(self._types[tensor.data_type])
        try:
            flat = np.fromfile(path, dtype, length // dtype.itemsize, offset=offset)
            return flat.reshape(tuple(tensor.dims))
        except (OSError, ValueError) as error:
            raise SessionError(
                f"{path}: the weights of {tensor.name!r} cannot be read at byte {offset}: {error}"
            ) from error


def _place(tensor: TensorProto) -> tuple[str, int, int] | None:
    """Location, offset and length of a large tensor's external data; None for all else."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = int(entries.get("length", "0"))
    if length < _LEAST_BYTES:
        return None
    return entries["location"], int(entries.get("offset", "0")), length

"""Weights of a large model in one side file, read by the sessions that need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from halve.errors import OutputError
from halve.source import clear_payload, inline_ref, iter_tensors, payload_index, read_array
from halve.types import TensorRef

__all__ = ["MAPPED", "InlineWeights", "WeightStore", "Weights"]

# Session options for weights that are mapped from a file: packing would copy them.
MAPPED = {"session.disable_prepacking": "1"}

_FILE = "weights.bin"
# ONNX Runtime maps external data by pages where it begins at one.
_ALIGNMENT = 4096
_INLINE_BYTES = 1024


class Weights(Protocol):
    """Where the weights of a model that is being rewritten lie."""

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """A tensor's values."""
        ...

    def tensor(self, name: str, array: NDArray[np.float32]) -> TensorProto:
        """A new tensor with these values."""
        ...


class InlineWeights:
    """Weights inside the model."""

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """A tensor's values."""
        return numpy_helper.to_array(tensor)

    def tensor(self, name: str, array: NDArray[np.float32]) -> TensorProto:
        """A new tensor with these values."""
        return numpy_helper.from_array(array, name)


class WeightStore:
    """Weights of a model that was opened without its payload (halve.source.open_model).

    One tensor is in memory at a time. What is written stays until the folder is removed.
    """

    def __init__(self, folder: Path, refs: Sequence[TensorRef]) -> None:
        """A store in a folder, for a model whose payload entries index `refs`."""
        self.folder = folder
        self._refs = refs
        self._path = folder / _FILE
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._path.touch()

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """A tensor's values."""
        index = payload_index(tensor)
        return read_array(inline_ref(tensor, tensor.name) if index is None else self._refs[index])

    def tensor(self, name: str, array: NDArray[np.float32]) -> TensorProto:
        """A new tensor with these values."""
        if array.nbytes < _INLINE_BYTES:
            return numpy_helper.from_array(array, name)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape)
        _refer(tensor, *self._append(np.ascontiguousarray(array, "<f4")))
        return tensor

    def settle(self, model: ModelProto) -> ModelProto:
        """Let every tensor whose payload was left out refer to the file, in place."""
        for _, tensor in iter_tensors(model):
            index = payload_index(tensor)
            if index is None:
                continue
            if index not in self._places:
                self._places[index] = self._append(read_array(self._refs[index]))
            clear_payload(tensor)
            _refer(tensor, *self._places[index])
        return model

    def _append(self, array: NDArray[Any]) -> tuple[int, int]:
        offset = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        try:
            with self._path.open("r+b") as file:
                file.seek(offset)
                file.write(array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written at byte {offset}: {error.strerror}; free some"
                " space, or name a workspace on a larger disk"
            ) from error
        self._end = offset + array.nbytes
        return offset, array.nbytes


def _refer(tensor: TensorProto, offset: int, nbytes: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", _FILE), ("offset", str(offset)), ("length", str(nbytes))):
        tensor.external_data.add(key=key, value=value)

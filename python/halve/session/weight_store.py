"""Weights of a large model in one side file, read by the sessions that need them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import RawIOBase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from halve._native.cast import widen_into
from halve.errors import OutputError
from halve.source import (
    clear_payload,
    inline_ref,
    iter_tensors,
    payload_array,
    payload_index,
    payload_pieces,
    read_array,
)
from halve.types import DType, TensorRef

__all__ = ["MAPPED", "InlineWeights", "WeightStore", "Weights", "widened"]

# Session options for weights that are mapped from a file: packing would copy them.
MAPPED = {"session.disable_prepacking": "1"}

_FILE = "weights.bin"
# ONNX Runtime maps external data by pages where it begins at one.
_ALIGNMENT = 4096
_INLINE_BYTES = 1024
# Of what is copied at a time: it stays in the caches.
_PIECE_BYTES = 1 << 19


class Weights(Protocol):
    """Where the weights of a model that is being rewritten lie."""

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """A tensor's values."""
        ...

    def tensor(self, name: str, array: NDArray[np.float32]) -> TensorProto:
        """A new tensor with these values."""
        ...

    def widened(self, name: str, tensor: TensorProto) -> TensorProto:
        """A new float32 tensor with the values of a 16-bit one."""
        ...


class InlineWeights:
    """Weights inside the model."""

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """A tensor's values."""
        return numpy_helper.to_array(tensor)

    def tensor(self, name: str, array: NDArray[np.float32]) -> TensorProto:
        """A new tensor with these values."""
        return numpy_helper.from_array(array, name)

    def widened(self, name: str, tensor: TensorProto) -> TensorProto:
        """A new float32 tensor with the values of a 16-bit one."""
        return self.tensor(name, widened(self.array(tensor), DType(tensor.data_type)))


def widened(array: NDArray[Any], half: DType) -> NDArray[np.float32]:
    """The 16-bit values of an array, exactly."""
    result = np.empty(array.shape, np.float32)
    widen_into(np.ascontiguousarray(array), result, half)
    return result


class WeightStore:
    """Weights of a model that was opened without its payload (halve.source.open_model).

    Payloads are copied to the file once, and used from there: no more than a piece of one is in
    memory otherwise. What is written stays until the folder is removed, and what uses it longer
    keeps it.
    """

    def __init__(self, folder: Path, refs: Sequence[TensorRef], name: str = _FILE) -> None:
        """A store in a folder, for a model whose payload entries index `refs`."""
        self.folder = folder
        self._refs = refs
        self._path = folder / name
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._path.touch()

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """A tensor's values, in the file where their payload is not in the model."""
        index = payload_index(tensor)
        ref = inline_ref(tensor, tensor.name) if index is None else self._refs[index]
        if index is None or ref.nbytes == 0:
            return read_array(ref)
        offset, nbytes = self._place(index)
        mapped = np.memmap(self._path, np.uint8, "r", offset, nbytes)
        return payload_array(ref, mapped.data)

    def tensor(self, name: str, array: NDArray[np.float32]) -> TensorProto:
        """A new tensor with these values."""
        if array.nbytes < _INLINE_BYTES:
            return numpy_helper.from_array(array, name)
        dense = np.ascontiguousarray(array, "<f4")
        place = self._append([dense.reshape(-1).view(np.uint8).data], dense.nbytes)
        return self._new(name, array.shape, place)

    def widened(self, name: str, tensor: TensorProto) -> TensorProto:
        """A new float32 tensor with the values of a 16-bit one."""
        index, half = payload_index(tensor), DType(tensor.data_type)
        if index is None:
            return self.tensor(name, widened(self.array(tensor), half))
        ref = self._refs[index]
        return self._new(name, ref.shape, self._append(_wide_pieces(ref, half), 2 * ref.nbytes))

    def _new(self, name: str, shape: Sequence[int], place: tuple[int, int]) -> TensorProto:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        _refer(tensor, self._path.name, *place)
        return tensor

    def settle(self, model: ModelProto) -> ModelProto:
        """Let every tensor whose payload was left out refer to the file, in place."""
        for _, tensor in iter_tensors(model):
            index = payload_index(tensor)
            if index is None:
                continue
            clear_payload(tensor)
            _refer(tensor, self._path.name, *self._place(index))
        return model

    def _place(self, index: int) -> tuple[int, int]:
        """Where a payload is in the file; it is copied there once."""
        if index not in self._places:
            ref = self._refs[index]
            self._places[index] = self._append(payload_pieces(ref, _PIECE_BYTES), ref.nbytes)
        return self._places[index]

    def _append(self, pieces: Iterable[memoryview], nbytes: int) -> tuple[int, int]:
        offset = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        with self._path.open("r+b", buffering=0) as file:
            file.seek(offset)
            for piece in pieces:
                self._write(file, piece)
        self._end = offset + nbytes
        return offset, nbytes

    def _write(self, file: RawIOBase, piece: memoryview) -> None:
        try:
            while piece:
                piece = piece[file.write(piece) or 0 :]
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written: {error.strerror}; free some space, or name a"
                " workspace on a larger disk"
            ) from error


def _wide_pieces(ref: TensorRef, half: DType) -> Iterator[memoryview]:
    room = np.empty(_PIECE_BYTES // 2, np.float32)
    for piece in payload_pieces(ref, _PIECE_BYTES):
        words = np.frombuffer(piece, "<u2")
        part = room[: words.size]
        # On one thread: a piece takes less time than starting another.
        widen_into(words, part, half, threads=1)
        yield part.view(np.uint8).data


def _refer(tensor: TensorProto, file: str, offset: int, nbytes: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(nbytes))):
        tensor.external_data.add(key=key, value=value)

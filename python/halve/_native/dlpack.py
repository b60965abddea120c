"""Reads DLPack capsules: where the memory lies, its shape and its type; nothing is copied.

The structures are those of dlpack.h, with and without a version.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from halve.errors import ComparisonError

__all__ = ["CUDA_DEVICES", "HOST_DEVICES", "DlTensor", "read_capsule"]

# kDLCPU, and host memory pinned for CUDA or ROCm; kDLCUDA and kDLCUDAManaged.
HOST_DEVICES = frozenset({1, 3, 11})
CUDA_DEVICES = frozenset({2, 13})

_READ_ONLY = 1
_NAMES = (b"dltensor", b"dltensor_versioned")
# (type code, bits) of dlpack.h: kDLFloat is 2, kDLBfloat 4.
_TYPES: dict[tuple[int, int], np.dtype[Any]] = {
    (2, 16): np.dtype(np.float16),
    (2, 32): np.dtype(np.float32),
    (2, 64): np.dtype(np.float64),
    (4, 16): np.dtype(ml_dtypes.bfloat16),
}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


@dataclass(frozen=True, slots=True)
class DlTensor:
    """What a capsule says. `strides` are in elements, None where there are none (C order).

    `dtype` is None for a type that halve does not compute with, which `type_name` describes.
    """

    pointer: int
    device_type: int
    device: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any] | None
    type_name: str
    read_only: bool


def read_capsule(capsule: object) -> DlTensor:
    """The tensor of a capsule that nobody has consumed; the capsule keeps its memory alive.

    It is left as it is: when it goes, its own destructor frees what it holds.

    Raises:
        ComparisonError: the object is no DLPack capsule, was consumed, or is of a later version.
    """
    api = ctypes.pythonapi
    api.PyCapsule_IsValid.restype = ctypes.c_int
    api.PyCapsule_IsValid.argtypes = (ctypes.py_object, ctypes.c_char_p)
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    for name in _NAMES:
        if api.PyCapsule_IsValid(capsule, name):
            return _read(int(api.PyCapsule_GetPointer(capsule, name)), versioned=name == _NAMES[1])
    raise ComparisonError(
        f"__dlpack__ returned {capsule!r}; allowed: a capsule named {_NAMES[0]!r} or {_NAMES[1]!r}"
    )


def _read(address: int, *, versioned: bool) -> DlTensor:
    if not versioned:
        return _describe(_Managed.from_address(address).tensor, read_only=False)
    managed = _Versioned.from_address(address)
    if managed.major != 1:
        raise ComparisonError(
            f"DLPack capsule of version {managed.major}.{managed.minor}; allowed: 1.x; update halve"
        )
    return _describe(managed.tensor, read_only=bool(managed.flags & _READ_ONLY))


def _describe(tensor: _Tensor, *, read_only: bool) -> DlTensor:
    known = _TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    return DlTensor(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        device_type=tensor.device_type,
        device=tensor.device_id,
        shape=tuple(tensor.shape[: tensor.ndim]),
        strides=tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None,
        dtype=known,
        type_name=str(known or f"DLPack type {tensor.code} of {tensor.bits}x{tensor.lanes} bits"),
        read_only=read_only,
    )

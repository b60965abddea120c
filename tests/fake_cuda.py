"""A CUDA module, and arrays "on a device", that are the host's.

The module computes with the processor's kernels on the addresses it is given, so that everything
around the device (protocols, checks, results) runs as it is.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve import _core

__all__ = [
    "FakeArray",
    "FakeContext",
    "FakeCudaError",
    "FakeDlpack",
    "FakeOrtValue",
    "FakeStreamCaster",
    "fake_module",
]

ROW = {
    "index": 0,
    "name": "Card",
    "capability": (9, 0),
    "memory_bytes": 1 << 30,
    "multiprocessors": 2,
}
STREAM = 0x1234
_TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)
_ORT_NAMES = {"float32": "tensor(float)", "float16": "tensor(float16)", "int64": "tensor(int64)"}


class FakeCudaError(RuntimeError):
    """What a fake module raises."""


def _at(address: int, n: int, dtype: Any) -> NDArray[Any]:
    """The array at an address."""
    nbytes = n * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * nbytes).from_address(address), dtype)


class FakeContext:
    """The compiled module's Context; `followed` are the streams that it waited for. A kernel takes
    1 ms by its clock, and a copy 2.
    """

    def __init__(self, device: int) -> None:
        if device > 3:
            raise FakeCudaError("cudaSetDevice failed: invalid device ordinal")
        self.device = device
        self.stream = STREAM
        self.followed: list[int] = []
        self.broken = False
        self.kernel_ms = 0.0

    def follow(self, stream: int) -> None:
        self.followed.append(stream)

    def cast(self, kind: int, items: Sequence[Any], low: float, high: float) -> list[Any]:
        return [self.cast_through(kind, *item, low, high, 1 << 20) for item in items]

    def cast_through(  # noqa: PLR0917 - the compiled signature
        self, kind: int, src: int, dst: int, n: int, low: float, high: float, piece: int
    ) -> Any:
        if self.broken:
            raise FakeCudaError("cudaMalloc failed: out of memory")
        self.kernel_ms = 1.0
        assert piece > 0
        status, counts = _core.cast(0, kind, src, dst, n, low, high, 1, 0)
        if status:
            raise ValueError("bounds out of range")
        return counts

    def compare(  # noqa: PLR0917 - the compiled signature
        self, a: int, b: int, items: Sequence[Any], rtol: float, atol: float, equal_nan: bool
    ) -> list[Any]:
        self.kernel_ms = 1.0
        return [_core.compare(0, a, x, b, y, n, rtol, atol, equal_nan, 1)[1] for x, y, n in items]

    def ratios(
        self, kind: int, items: Sequence[Any], rtol: float, atol: float, scale: float
    ) -> list[Any]:
        rows = []
        for a, b, n in items:
            with np.errstate(all="ignore"):
                x = _at(a, n, _TYPES[kind]).astype(np.float64)
                y = _at(b, n, np.float32).astype(np.float64)
                shares = np.abs(x - y) / (atol + rtol * np.abs(y))
            shares = np.where(x == y, 0.0, np.nan_to_num(shares, nan=np.inf, posinf=np.inf))
            with np.errstate(invalid="ignore"):
                rows.append((float(shares.max(initial=0)), float(((shares * scale) ** 4).sum())))
        return rows

    def statistics(self, kind: int, items: Sequence[Any], ge: float, le: float) -> list[Any]:
        self.kernel_ms = 1.0
        return [_core.stats(0, kind, x, n, ge, le, 1)[1] for x, n in items]


class _Bounds(ctypes.Structure):
    _fields_ = (("low", ctypes.c_float), ("high", ctypes.c_float))


class _Counts(ctypes.Structure):
    _fields_ = (("counts", ctypes.c_uint64 * 8), ("maxima", ctypes.c_float * 3))


_CastFunction = ctypes.CFUNCTYPE(
    ctypes.c_uint8,
    ctypes.c_void_p,
    ctypes.c_uint8,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_uint64,
    _Bounds,
    ctypes.POINTER(_Counts),
)


class _Caster(ctypes.Structure):
    _fields_ = (("cast", _CastFunction), ("state", ctypes.c_void_p), ("elements", ctypes.c_uint64))


class FakeStreamCaster:
    """halve::Caster (csrc/include/halve/caster.h) whose cast is the processor's."""

    made: ClassVar[list[FakeStreamCaster]] = []

    def __init__(self, device: int) -> None:
        if device > 3:
            raise FakeCudaError("cudaSetDevice failed: invalid device ordinal")
        self.device = device
        self.elements = 0
        self.problem = ""
        self._caster = _Caster(_CastFunction(self._cast), None, 1 << 16)
        FakeStreamCaster.made.append(self)

    def _cast(  # noqa: PLR0917 - the compiled signature
        self, _: None, kind: int, src: int, dst: int, n: int, bounds: Any, total: Any
    ) -> int:
        if self.problem:
            return 3
        self.elements += n
        status, found = _core.cast(0, kind, src, dst, n, bounds.low, bounds.high, 1, 0)
        for i in range(8):
            total[0].counts[i] += found[i]
        for i in range(3):
            total[0].maxima[i] = max(total[0].maxima[i], found[8 + i])
        return int(status)

    @property
    def capsule(self) -> object:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._caster), b"halve.Caster", None)


class FakeMemory:
    """Bytes of a device's memory."""

    def __init__(self, device: int, nbytes: int) -> None:
        self.device = device
        self.nbytes = nbytes
        self._bytes = np.zeros(nbytes + 16, np.uint8)
        self.pointer = -(-self._bytes.ctypes.data // 16) * 16


class FakeTimer:
    """A clock of a device that always says the same."""

    def __init__(self, context: FakeContext) -> None:
        self.context = context

    def start(self) -> None: ...

    def stop_ms(self) -> float:
        return 2.0


def _copy(context: FakeContext, dst: int, src: int, nbytes: int, wait: bool = True) -> None:
    assert isinstance(context, FakeContext)
    assert wait in (True, False)
    ctypes.memmove(dst, src, nbytes)
    context.kernel_ms = 2.0


def fake_module(**functions: object) -> types.ModuleType:
    """`halve._cuda` with one device of 9.0 and a driver, but for `functions`."""
    module: Any = types.ModuleType("halve._cuda")
    module.CudaError = FakeCudaError
    module.Context = FakeContext
    module.StreamCaster = FakeStreamCaster
    module.Memory = FakeMemory
    module.Timer = FakeTimer
    module.copy = _copy
    module.versions = lambda: (13000, 13000)
    module.devices = lambda: [dict(ROW)]
    module.executed_architecture = lambda _: 900
    module.pointer_device = lambda _: 0
    for name, function in functions.items():
        setattr(module, name, function)
    result: types.ModuleType = module
    return result


class FakeArray:
    """The CUDA array interface over a numpy array; `changes` replace its entries."""

    def __init__(self, array: NDArray[Any], **changes: object) -> None:
        self.array = array
        self.dtype = array.dtype
        self._changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "version": 3,
            "shape": self.array.shape,
            "typestr": "<V2" if self.array.dtype.name == "bfloat16" else self.array.dtype.str,
            "data": (self.array.ctypes.data, not self.array.flags.writeable),
            "strides": None if self.array.flags.c_contiguous else self.array.strides,
            "stream": 1,
        }
        return described | self._changes


class FakeDlpack:
    """DLPack over a numpy array: numpy's own capsule, on another device by its word.

    `asked` are the streams that a reader wanted to use it on.
    """

    def __init__(self, array: NDArray[Any], kind: int = 2, versions: bool = True) -> None:
        self.array = array
        self.kind = kind
        self.versions = versions
        self.asked: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, **options: Any) -> object:
        if "max_version" in options and not self.versions:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        self.asked.append(options.pop("stream", None))
        return self.array.__dlpack__(**options)


class FakeOrtValue:
    """What halve asks of an onnxruntime.OrtValue, over a numpy array."""

    def __init__(self, array: NDArray[Any], where: str = "cuda") -> None:
        self.array = array
        self.where = where

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: list[int], element: Any, where: str, device: int
    ) -> FakeOrtValue:
        assert device == 0
        return FakeOrtValue(np.zeros(shape, element), where)

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def device_name(self) -> str:
        return self.where

    def data_type(self) -> str:
        return _ORT_NAMES[self.array.dtype.name]

    def shape(self) -> list[int]:
        return list(self.array.shape)

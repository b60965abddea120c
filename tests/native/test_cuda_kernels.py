"""The CUDA kernels on a device against the scalar definition, bit for bit."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from halve._native import cuda
from halve._native.cast import cast_into
from halve._native.compare import FLOAT_TYPES, compare_arrays, measure_array
from halve._native.cuda_arrays import cast_through
from halve.types import CastBounds, CastCounts, Comparison, DType, TensorStatistics

pytestmark = pytest.mark.gpu

HALVES: dict[DType, Any] = {DType.FLOAT16: np.float16, DType.BFLOAT16: ml_dtypes.bfloat16}
BOUNDS = [CastBounds(0.0, math.inf), CastBounds(1e-7, 1e4), CastBounds(1e-40, 65504.0)]
SIZES = [1, 7, 8, 9, 4095, 4096, 4097, 100_003, (1 << 18) * 3 + 77]


class Held:
    """An array in a device's memory, `offset` elements behind an aligned place."""

    def __init__(self, array: NDArray[Any], offset: int = 0) -> None:
        self.array = np.ascontiguousarray(array)
        self.context = cuda.context(0)
        self.skip = offset * array.dtype.itemsize
        self.memory = cuda.load().Memory(0, array.nbytes + self.skip + 16)
        self.pointer = self.memory.pointer + self.skip
        self._move(self.pointer, self.array.ctypes.data)

    def read(self) -> NDArray[Any]:
        result = np.empty_like(self.array)
        self._move(result.ctypes.data, self.pointer)
        return result

    def _move(self, dst: int, src: int) -> None:
        if self.array.nbytes:
            cuda.load().copy(self.context, dst, src, self.array.nbytes)


def mixed(n: int, seed: int) -> NDArray[np.float32]:
    """Ordinary values, and one in fifty of any pattern at all."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(n).astype(np.float32)
    odd = random.random(n) < 0.02
    x[odd] = random.integers(0, 1 << 32, int(odd.sum()), dtype=np.uint32).view(np.float32)
    x[random.random(n) < 0.02] = 0
    return x


def cast_here(x: NDArray[np.float32], half: DType, bounds: CastBounds) -> tuple[Any, CastCounts]:
    wanted = np.empty(x.shape, HALVES[half])
    return wanted, cast_into(x, wanted, half, bounds, backend="scalar")


def cast_there(
    x: NDArray[np.float32], half: DType, bounds: CastBounds, offsets: Sequence[int] = (0, 0)
) -> tuple[Any, CastCounts]:
    src = Held(x, offsets[0])
    dst = Held(np.zeros(x.shape, HALVES[half]), offsets[1])
    low, high = float(np.float32(bounds.min_positive)), float(np.float32(bounds.max_finite))
    kind = 0 if half is DType.FLOAT16 else 1
    (counts,) = src.context.cast(kind, [(src.pointer, dst.pointer, x.size)], low, high)
    return dst.read(), CastCounts(*counts)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("n", SIZES)
def test_casts_equal_the_definition(half: DType, bounds: CastBounds, n: int) -> None:
    x = mixed(n, n)
    wanted, counts = cast_here(x, half, bounds)
    for offsets in ((0, 0), (1, 0), (2, 3), (0, 7)):
        found, found_counts = cast_there(x, half, bounds, offsets)
        assert found.tobytes() == wanted.tobytes()
        assert found_counts == counts


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
def test_every_float32_is_cast_as_defined(half: DType) -> None:
    step = 1 << 28
    for start in range(0, 1 << 32, step):
        x = np.arange(start, start + step, dtype=np.uint32).view(np.float32)
        wanted = np.empty(step, HALVES[half])
        counts = cast_into(x, wanted, half, BOUNDS[0])
        found, found_counts = cast_there(x, half, BOUNDS[0])
        assert found.tobytes() == wanted.tobytes()
        assert found_counts == counts


def test_a_batch_of_casts_has_counts_a_tensor() -> None:
    arrays = [mixed(n, n) for n in (5, 1, 70_000, 4096)]
    sources = [Held(x) for x in arrays]
    targets = [Held(np.zeros(x.shape, np.float16)) for x in arrays]
    items = [(s.pointer, t.pointer, s.array.size) for s, t in zip(sources, targets, strict=True)]
    rows = cuda.context(0).cast(0, [*items, (0, 0, 0)], 0.0, 65504.0)
    for x, target, row in zip(arrays, targets, rows, strict=False):
        wanted, counts = cast_here(x, DType.FLOAT16, CastBounds(0.0, 65504.0))
        assert target.read().tobytes() == wanted.tobytes()
        assert CastCounts(*row) == counts
    assert CastCounts(*rows[-1]) == CastCounts()


def test_casts_through_the_device_equal_the_definition() -> None:
    x = mixed(1_000_003, 1)[1:]
    wanted, counts = cast_here(x, DType.BFLOAT16, BOUNDS[1])
    for piece in (1000, 65_536, 1 << 22):
        found = np.empty_like(wanted)
        through = cast_through(x, found, DType.BFLOAT16, BOUNDS[1], device=0, piece=piece)
        assert found.tobytes() == wanted.tobytes()
        assert through == counts


@pytest.mark.parametrize("a_type", FLOAT_TYPES, ids=str)
@pytest.mark.parametrize("b_type", FLOAT_TYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_comparisons_equal_the_definition(a_type: Any, b_type: Any, n: int) -> None:
    with np.errstate(all="ignore"):
        x = mixed(n, n + 1)
        a = x.astype(a_type)
        b = (x * np.float32(1.0001)).astype(b_type)
    for equal_nan in (False, True):
        rule = {"rtol": 1e-3, "atol": 1e-6, "equal_nan": equal_nan}
        wanted = compare_arrays(a, b, **rule, backend="scalar")  # type: ignore[arg-type]
        for offsets in ((0, 0), (1, 0), (0, 1)):
            first, second = Held(a, offsets[0]), Held(b, offsets[1])
            (row,) = first.context.compare(
                FLOAT_TYPES[a_type], FLOAT_TYPES[b_type], [(first.pointer, second.pointer, n)],
                1e-3, 1e-6, equal_nan,
            )  # fmt: skip
            assert repr(Comparison(*row)) == repr(wanted)


@pytest.mark.parametrize("dtype", FLOAT_TYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_statistics_equal_the_definition(dtype: Any, n: int) -> None:
    with np.errstate(all="ignore"):
        x = mixed(n, n + 2).astype(dtype)
    wanted = measure_array(x, ge=2.0, le=1e-3, backend="scalar")
    held = Held(x, 1)
    (row,) = held.context.statistics(FLOAT_TYPES[dtype], [(held.pointer, n)], 2.0, 1e-3)
    assert repr(TensorStatistics(*row)) == repr(wanted)


def test_the_first_of_equal_worst_elements_is_named() -> None:
    for first in (0, 4096, 16_383, 299_999):
        a, b = np.full(300_000, 2, np.float16), np.full(300_000, 2, np.float16)
        a[first::3] = 3
        x, y = Held(a), Held(b)
        for _ in range(5):
            (row,) = x.context.compare(1, 1, [(x.pointer, y.pointer, a.size)], 0.0, 0.0, False)
            assert Comparison(*row) == compare_arrays(a, b, rtol=0.0, atol=0.0)


def test_threads_have_contexts_of_their_own_and_the_same_answers() -> None:
    x = mixed(2_000_000, 5)
    wanted = measure_array(x, ge=2.0, le=1e-3)
    found: list[Any] = []

    def work() -> None:
        held = Held(x)
        for _ in range(5):
            (row,) = held.context.statistics(0, [(held.pointer, x.size)], 2.0, 1e-3)
            found.append(TensorStatistics(*row))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [repr(row) for row in found] == [repr(wanted)] * 20


@pytest.mark.parametrize("half", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_shares_of_a_tolerance_are_those_of_a_plain_loop(half: Any) -> None:
    b = np.random.default_rng(7).standard_normal(300_007).astype(np.float32)
    a = (b * np.float32(1.001)).astype(half)
    a[::50] = b[::50].astype(half)
    x, y = a.astype(np.float64), b.astype(np.float64)
    shares = np.where(x == y, 0.0, np.abs(x - y) / (1e-3 + 1e-2 * np.abs(y)))
    first, second = Held(a, 3), Held(b, 1)
    items = [(first.pointer, second.pointer, b.size)]
    ((worst, total),) = first.context.ratios(FLOAT_TYPES[a.dtype], items, 1e-2, 1e-3, 0.25)
    assert worst == shares.max()
    assert total == pytest.approx(((shares / 4) ** 4).sum(), rel=1e-12)


def test_every_kernel_once_as_a_sanitizer_runs_it() -> None:
    """Small, with every edge: a tool that watches each access makes it a hundred times slower."""
    x = mixed(20_011, 11)
    for half in HALVES:
        wanted, counts = cast_here(x, half, BOUNDS[1])
        found, found_counts = cast_there(x, half, BOUNDS[1], (1, 3))
        assert (found.tobytes(), found_counts) == (wanted.tobytes(), counts)
    with np.errstate(all="ignore"):
        arrays = {dtype: Held(x.astype(dtype), 1) for dtype in FLOAT_TYPES}
    context = cuda.context(0)
    for a_type, a in arrays.items():
        assert context.statistics(FLOAT_TYPES[a_type], [(a.pointer, x.size)], 2.0, 1e-3)
        for b_type, b in arrays.items():
            kinds = FLOAT_TYPES[a_type], FLOAT_TYPES[b_type]
            items = [(a.pointer, b.pointer, n) for n in (x.size, 0, 77)]
            rows = context.compare(*kinds, items, 1e-3, 1e-6, False)
            wanted_row = compare_arrays(a.array, b.array, rtol=1e-3, atol=1e-6, backend="scalar")
            assert repr(Comparison(*rows[0])) == repr(wanted_row)
    y = arrays[np.dtype(np.float32)]
    ((worst, _),) = context.ratios(0, [(y.pointer, y.pointer, x.size)], 1e-3, 1e-6, 1.0)
    assert worst == math.inf  # there are NaNs


def repeated(block: NDArray[Any], times: int) -> Any:
    """Device memory with a block many times over."""
    module, context = cuda.load(), cuda.context(0)
    memory = module.Memory(0, block.nbytes * times)
    module.copy(context, memory.pointer, block.ctypes.data, block.nbytes)
    filled = block.nbytes
    while filled < memory.nbytes:
        more = min(filled, memory.nbytes - filled)
        module.copy(context, memory.pointer + filled, memory.pointer, more)
        filled += more
    return memory


def test_arrays_of_more_than_2_31_elements() -> None:
    block = np.random.default_rng(3).standard_normal(1 << 20).astype(np.float32)
    times = (1 << 11) + 3
    n = block.size * times
    module, context = cuda.load(), cuda.context(0)
    if cuda.status().devices[0].memory_bytes < 24 << 30:
        pytest.skip(f"the device has no 24 GiB for arrays of {n} elements")
    source = repeated(block, times)
    target = module.Memory(0, 2 * n)
    (row,) = context.cast(0, [(source.pointer, target.pointer, n)], 0.0, 65504.0)
    wanted, once = cast_here(block, DType.FLOAT16, CastBounds(0.0, 65504.0))
    counts = CastCounts(*row)
    assert (counts.elements, counts.subnormal) == (n, times * once.subnormal)
    assert counts.max_rel_error == once.max_rel_error
    last = np.empty(block.size, np.float16)
    module.copy(context, last.ctypes.data, target.pointer + 2 * (n - block.size), last.nbytes)
    assert last.tobytes() == wanted.tobytes()
    del source
    other = repeated(wanted, times)
    changed = np.array([9.0], np.float16)
    module.copy(context, other.pointer + 2 * (n - 1), changed.ctypes.data, 2)
    (row,) = context.compare(1, 1, [(other.pointer, target.pointer, n)], 1e-3, 1e-3, False)
    found = Comparison(*row)
    assert (found.elements, found.mismatches, found.max_abs_index) == (n, 1, n - 1)
    statistics = TensorStatistics(*context.statistics(1, [(target.pointer, n)], 2.0, 1e-3)[0])
    alone = measure_array(wanted, ge=2.0, le=1e-3)
    assert (statistics.elements, statistics.ge) == (n, times * alone.ge)


def test_what_a_kernel_cannot_take_is_refused() -> None:
    context = cuda.context(0)
    held = Held(np.ones(8, np.float32))
    with pytest.raises(ValueError, match="not aligned"):
        context.statistics(0, [(held.pointer + 2, 1)], 1.0, 1.0)
    with pytest.raises(ValueError, match="null pointer"):
        context.cast(0, [(0, held.pointer, 1)], 0.0, 1.0)
    with pytest.raises(ValueError, match="bounds"):
        context.cast(0, [(held.pointer, held.pointer + 16, 1)], 2.0, 1.0)

"""Types of the compiled module; only `halve._native` imports it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# features.cc: CPU backends
def backends() -> list[tuple[str, bool, bool]]: ...
def chosen_backend() -> int | None: ...
def forced_backend() -> str | None: ...

# cast.cc: arrays
_Counts = tuple[int, int, int, int, int, int, int, int, float, float, float]

def cast(
    backend: int,
    type: int,
    src: int,
    dst: int,
    n: int,
    min_positive: float,
    max_finite: float,
    threads: int,
    policy: int,
) -> tuple[int, _Counts]: ...
def widen(backend: int, type: int, src: int, dst: int, n: int, threads: int) -> int: ...
def round(
    backend: int,
    type: int,
    src: int,
    dst: int,
    n: int,
    min_positive: float,
    max_finite: float,
    threads: int,
) -> tuple[int, _Counts]: ...
def copy(kind: int, dst: int, src: int, nbytes: int, threads: int) -> int: ...

# compare.cc: pairs of arrays, statistics
_CompareTotals = tuple[
    int,
    int,
    int,
    int,
    int,
    int,
    float,
    int | None,
    float,
    int | None,
    float,
    float,
    float,
    float,
]
_StatsTotals = tuple[int, int, int, int, int, int, int, float, float, float]

def compare(
    backend: int,
    a_type: int,
    a: int,
    b_type: int,
    b: int,
    n: int,
    rtol: float,
    atol: float,
    equal_nan: bool,
    threads: int,
) -> tuple[int, _CompareTotals]: ...
def stats(
    backend: int, type: int, x: int, n: int, ge: float, le: float, threads: int
) -> tuple[int, _StatsTotals]: ...
def stats_many(
    backend: int, jobs: list[tuple[int, int, int]], ge: float, le: float, threads: int
) -> tuple[int, list[_StatsTotals]]: ...
def compare_many(
    backend: int,
    jobs: list[tuple[int, int, int, int, int]],
    rtol: float,
    atol: float,
    equal_nan: bool,
    threads: int,
) -> tuple[int, list[_CompareTotals]]: ...
def judge(
    backend: int,
    a_type: int,
    a: NDArray[Any],
    b_type: int,
    b: NDArray[Any],
    rtol: float,
    atol: float,
) -> tuple[int, _CompareTotals, float, float]: ...
def judge_briefly(
    backend: int,
    a_type: int,
    a: NDArray[Any],
    b_type: int,
    b: NDArray[Any],
    rtol: float,
    atol: float,
) -> tuple[int, int, float, float]: ...
def xor_words(p: int, nbytes: int) -> int: ...

# switches.cc: what rules a run of the probe
class SwitchBoard:
    def __init__(
        self, rounds: Sequence[Sequence[int]], settled: Sequence[Sequence[int]], units: int
    ) -> None: ...
    def set(self, fp32: Iterable[int]) -> NDArray[np.bool_]: ...

# csrc/bindings/twin.cc
_TwinTotals = tuple[_StatsTotals, _StatsTotals, _CompareTotals, _CompareTotals, int, int]

def twin(
    backend: int,
    arrays: list[int],
    n: int,
    rounding: int,
    second: int,
    ge: float,
    le: float,
    limit: float,
    rtol: float,
    atol: float,
    threads: int,
) -> tuple[int, _TwinTotals]: ...

_TwinRow = tuple[
    tuple[int, ...] | None,
    tuple[int, ...] | None,
    _StatsTotals | None,
    _StatsTotals | None,
    _CompareTotals | None,
    _CompareTotals | None,
    int,
    int,
    list[tuple[int, int]],
    int,
]

class TwinBoard:
    def __init__(
        self,
        backend: int,
        rows: int,
        ge: float,
        le: float,
        limit: float,
        rtol: float,
        atol: float,
        threads: int,
        samples: int,
    ) -> None: ...
    @property
    def number(self) -> int: ...
    def take(self) -> list[_TwinRow | None]: ...

# csrc/bindings/wire.cc
class WireError(ValueError):
    args: tuple[str, int]

def wire_elide_file(
    fd: int, size: int, threshold: int
) -> tuple[bytes, list[tuple[int, list[tuple[int, int, int]]]]]: ...
def wire_elide_bytes(
    data: bytes, threshold: int
) -> tuple[bytes, list[tuple[int, list[tuple[int, int, int]]]]]: ...
def wire_initializers(skeleton: bytes) -> list[tuple[int, dict[bytes, bytes]]]: ...
def wire_splice(
    skeleton: bytes, table: list[tuple[int, int]]
) -> tuple[int, list[tuple[int, bytes | int]]]: ...

# stream (csrc/bindings/stream.cc)
class Stream:
    def __init__(
        self,
        origins: list[tuple[bytes] | bytes | bytearray],
        jobs: list[tuple[int, int, float, float, list[tuple[int, int, int]]]],
        outputs: list[
            tuple[tuple[bytes] | bytes | bytearray, int, list[tuple[int, int, int, bytes]]]
        ],
        *,
        threads: int,
        budget_bytes: int,
        direct: bool,
        caster: object = None,
    ) -> None: ...
    def wait(self, limit_ms: int) -> bool: ...
    def cancel(self) -> None: ...
    def done_bytes(self) -> int: ...
    def finish(
        self,
    ) -> tuple[
        list[tuple[int, int, int, int, int, int, int, int, float, float, float]],
        int,
        int,
        tuple[int, int, int, int, int],
    ]: ...

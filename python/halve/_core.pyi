"""Types of the compiled module; only `halve._native` imports it."""

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
def copy(kind: int, dst: int, src: int, nbytes: int, threads: int) -> int: ...

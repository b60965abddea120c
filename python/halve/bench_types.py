"""The options of a benchmark, checked when made, and the records of its results. Frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from halve.errors import OptionError
from halve.field_types import check_threads, check_types

__all__ = ["BenchModel", "BenchOptions", "BenchResult", "BenchRow", "PlacedNode"]

_CPU = "CPUExecutionProvider"
_LEVELS = ("disabled", "basic", "extended", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How to measure; every field has a default.

    Raises:
        OptionError: a field has a value outside its range.
    """

    rounds: int = 20
    """Rounds; every model is run in each of them, in turn."""
    round_s: float = 0.1
    """Seconds that a model is run for in a round (one run at least)."""
    warmup: int = 3
    """Runs of every model before the first round, which are not counted."""
    batch_sizes: tuple[int, ...] = ()
    """Sizes of the first dimension to measure, where models leave it open; empty: as the sample
    is."""
    concurrency: tuple[int, ...] = (1,)
    """Numbers of threads that run one session at the same time, each measured by itself."""
    threads: int = 0
    """Threads inside a run, at most 1024; 0 is one for each core that this process may use."""
    provider: str = _CPU
    """ONNX Runtime's execution provider."""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the provider, by ONNX Runtime's names."""
    session_options: Mapping[str, str] = field(default_factory=dict)
    """Session configuration entries, by ONNX Runtime's keys."""
    device: int = 0
    """The device id, for providers that have several."""
    optimise: str = "all"
    """ONNX Runtime's optimisation level: "disabled", "basic", "extended" or "all"."""
    custom_op_library: Path | None = None
    """A shared library with custom ops."""
    memory: bool = True
    """Load and run every model in a child process once, which alone can tell its memory, the time
    of a first load, and where its nodes run."""
    progress: Callable[[str], None] | None = None
    """Called from the calling thread with what is measured next."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_types(self)
        for name, number in (("rounds", self.rounds), ("warmup", self.warmup)):
            _check_least(name, number, 1)
        check_threads("threads", self.threads, 0)
        _check_least("device", self.device, 0)
        if self.provider == _CPU and self.device:
            raise OptionError(
                f"device is {self.device!r}, and {_CPU} has none to choose from; allowed: 0, or the"
                " provider whose device it is (provider)"
            )
        if not 0 < self.round_s < math.inf:
            raise OptionError(f"round_s is {self.round_s!r}; allowed: a positive number of seconds")
        if not self.concurrency:
            raise OptionError("concurrency is empty; allowed: one number of threads or more")
        for number in self.concurrency:
            check_threads("an item of concurrency", number, 1)
        for number in self.batch_sizes:
            _check_least("an item of batch_sizes", number, 1)
        for name, numbers in (
            ("batch_sizes", self.batch_sizes),
            ("concurrency", self.concurrency),
        ):
            if len(set(numbers)) < len(numbers):
                raise OptionError(f"{name} is {numbers!r}; allowed: each number once")
        if self.optimise not in _LEVELS:
            raise OptionError(f"optimise is {self.optimise!r}; allowed: {', '.join(_LEVELS)}")


def _check_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise OptionError(f"{name} is {value!r}; allowed: {low} or more")


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node of a model's file that runs in another way than the file says.

    `id` is the node's id, `provider` where it ran, `types` the element types that it computed in
    ("float"), as ONNX Runtime names them.
    """

    id: int
    name: str
    op_type: str
    provider: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model that was measured.

    `nbytes` are those of the file and its external data, `half_nodes` the nodes of the main graph
    with a 16-bit operand. `float32` are those of them that computed in float32 all the same,
    `elsewhere` nodes that another provider ran. `load_s` is the time of a load in a fresh process;
    `loaded_bytes` and `peak_bytes` are the resident memory that loading, and loading and running,
    took in it at most, above what the process had before. None where it was not measured: then
    `unknown` says why.
    """

    path: str
    nbytes: int
    half_nodes: int
    float32: tuple[PlacedNode, ...] = ()
    elsewhere: tuple[PlacedNode, ...] = ()
    inserted_casts: int = 0
    load_s: float | None = None
    loaded_bytes: int | None = None
    peak_bytes: int | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class BenchRow:
    """The latencies of one model at one batch size and concurrency.

    `batch` is None where the sample was run as it is. Seconds a run: `p50_s` and the like are
    percentiles over all runs, with linear interpolation. `throughput` is runs a second over all
    threads, times the batch size where there is one. `speedup` is the median over the rounds of
    the first model's median latency over this one's; `round_medians_s` are those of this model.
    """

    model: int
    batch: int | None
    concurrency: int
    runs: int
    mean_s: float
    min_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    throughput: float
    speedup: float
    round_medians_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What a benchmark measured; a row a model, batch size and concurrency.

    `warnings` say what a reader must know to read the rows. `machine` and `versions` say where
    they hold.
    """

    models: tuple[BenchModel, ...]
    rows: tuple[BenchRow, ...]
    options: BenchOptions
    threads: int
    runtime: str
    machine: Mapping[str, str | int]
    warnings: tuple[str, ...]
    elapsed_s: float

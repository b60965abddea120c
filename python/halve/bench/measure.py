"""The measurement itself: rounds in which every model runs in turn, and their statistics."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from halve.bench_types import BenchOptions, BenchRow
from halve.session.bound import BoundRun

__all__ = ["Series", "make_rows", "measure_rounds", "run_for"]

_NS = 1e-9


@dataclass(slots=True)
class Series:
    """One model's latencies in ns, a list a round, and the wall time of all rounds in seconds."""

    rounds: list[list[int]] = field(default_factory=list)
    wall_s: float = 0.0


def measure_rounds(callers: Sequence[Sequence[BoundRun]], options: BenchOptions) -> list[Series]:
    """A series a model; `callers` are the bound runs of each, one a thread.

    Every other round takes the models in reverse, so that a drift of the machine meets all alike.
    """
    series = [Series() for _ in callers]
    for runs in callers:
        for bound in runs:
            for _ in range(options.warmup):
                bound()
    for number in range(options.rounds):
        order = range(len(callers)) if number % 2 == 0 else reversed(range(len(callers)))
        for model in order:
            latencies, wall_s = run_for(callers[model], options.round_s)
            series[model].rounds.append(latencies)
            series[model].wall_s += wall_s
    return series


def run_for(runs: Sequence[BoundRun], seconds: float) -> tuple[list[int], float]:
    """The latencies of all threads in ns, and the wall time from first start to last end."""
    limit_ns = int(seconds / _NS)
    if len(runs) == 1:
        start = time.perf_counter_ns()
        return _loop(runs[0], start + limit_ns), (time.perf_counter_ns() - start) * _NS
    return _run_threads(runs, limit_ns)


def _loop(bound: BoundRun, deadline_ns: int) -> list[int]:
    """Runs until the deadline, once at least; the only code that a latency could see."""
    clock = time.perf_counter_ns
    latencies: list[int] = []
    append = latencies.append
    before = clock()
    while True:
        bound()
        after = clock()
        append(after - before)
        if after >= deadline_ns:
            return latencies
        before = clock()


def _run_threads(runs: Sequence[BoundRun], limit_ns: int) -> tuple[list[int], float]:
    found: list[list[int]] = []
    errors: list[BaseException] = []
    start = threading.Barrier(len(runs) + 1)

    def work(bound: BoundRun) -> None:
        start.wait()
        try:
            found.append(_loop(bound, time.perf_counter_ns() + limit_ns))
        except BaseException as error:  # given to the caller below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(bound,)) for bound in runs]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter_ns()
    for thread in threads:
        thread.join()
    wall_s = (time.perf_counter_ns() - begun) * _NS
    if errors:
        raise errors[0]
    return [latency for part in found for latency in part], wall_s


def make_rows(series: Sequence[Series], batch: int | None, concurrency: int) -> list[BenchRow]:
    """The statistics of every model; the first is what the others are compared with."""
    medians = [[statistics.median(r) * _NS for r in one.rounds] for one in series]
    return [_row(model, one, batch, concurrency, medians) for model, one in enumerate(series)]


def _row(
    model: int,
    one: Series,
    batch: int | None,
    concurrency: int,
    medians: Sequence[Sequence[float]],
) -> BenchRow:
    latencies = np.array([latency for part in one.rounds for latency in part]) * _NS
    p50, p90, p99 = (float(value) for value in np.percentile(latencies, (50, 90, 99)))
    ratios = [first / own for first, own in zip(medians[0], medians[model], strict=True)]
    return BenchRow(
        model=model,
        batch=batch,
        concurrency=concurrency,
        runs=len(latencies),
        mean_s=float(latencies.mean()),
        min_s=float(latencies.min()),
        p50_s=p50,
        p90_s=p90,
        p99_s=p99,
        throughput=len(latencies) * (batch or 1) / one.wall_s,
        speedup=statistics.median(ratios),
        round_medians_s=tuple(medians[model]),
    )

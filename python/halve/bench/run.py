"""`halve.bench`: load, bind, measure, and say what a reader of the numbers must know."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.bench.measure import make_rows, measure_rounds
from halve.bench.placement import half_nodes
from halve.bench_types import BenchModel, BenchOptions, BenchResult, BenchRow, PlacedNode
from halve.errors import OptionError, SampleError, SessionError
from halve.files import given_path
from halve.options import usable_cores
from halve.session.bound import BoundRun
from halve.session.footprint import measure_footprint
from halve.session.installed import describe_runtime
from halve.session.random_samples import RandomSampling, random_samples
from halve.session.runtime import CPU_PROVIDER, Session, load
from halve.session.samples import SampleSource, as_samples

__all__ = ["RANDOM_INPUTS", "bench"]

RANDOM_INPUTS = "the inputs are random: where data decides what is computed, times differ"
"""What a report of random inputs must say."""

_Path = str | os.PathLike[str]
_Feeds = Mapping[str, NDArray[Any]]
# Names shown in a warning; the record has all.
_NAMES_SHOWN = 5


def bench(
    models: _Path | Sequence[_Path],
    *,
    samples: SampleSource | None = None,
    options: BenchOptions | None = None,
) -> BenchResult:
    """Measure models side by side on one provider, all on the same inputs.

    Inputs and outputs are bound, so that a run copies nothing to or from Python. Rounds are
    interleaved: whatever else the machine does in a round meets every model. The first model is
    what the others are compared with: give the float32 one first.

    Args:
        models: paths of models with the same inputs; float inputs may be 16-bit in some of them.
        samples: as `halve.search` takes them; the first one is run. None: a random one, for
            models whose inputs have fixed shapes.
        options: see BenchOptions.

    Raises:
        OptionError: no model, or a batch size where no model leaves its first dimension open.
        SampleError: the sample does not fit a model, or none can be made.
        ModelError, DataError: a model cannot be read.
        SessionError: a model does not load or run.
        BackendUnavailableError: ONNX Runtime or the provider is not here.
    """
    options, started = options or BenchOptions(), time.monotonic()
    given = [models] if isinstance(models, str | os.PathLike) else list(models)
    if not given:
        raise OptionError("bench was given no model; allowed: one path or more")
    paths = [given_path(path, what="a model") for path in given]
    feeds = _feeds(paths[0], samples)
    threads = options.threads or usable_cores()
    settings = _settings(options, threads)
    found = [_model(path, feeds, settings, options) for path in paths]
    sessions = [load(path, **settings) for path in paths]
    rows = tuple(_rows(sessions, feeds, options))
    return BenchResult(
        models=tuple(found),
        rows=rows,
        options=options,
        threads=threads,
        runtime=describe_runtime().version,
        machine=_machine(),
        warnings=tuple(_warnings(found, options, random=samples is None)),
        elapsed_s=time.monotonic() - started,
    )


def _feeds(path: Path, samples: SampleSource | None) -> _Feeds:
    if samples is not None:
        return as_samples(samples)[0].inputs
    return random_samples(path, RandomSampling())[0].inputs


def _settings(options: BenchOptions, threads: int) -> dict[str, Any]:
    place = {} if options.provider == CPU_PROVIDER else {"device_id": str(options.device)}
    return {
        "provider": options.provider,
        "optimise": options.optimise,
        "threads": threads,
        "custom_op_library": options.custom_op_library,
        "provider_options": place | dict(options.provider_options),
        "session_options": dict(options.session_options),
    }


def _model(
    path: Path, feeds: _Feeds, settings: Mapping[str, Any], options: BenchOptions
) -> BenchModel:
    nodes, nbytes = half_nodes(path)
    if not options.memory:
        reason = "not asked for"
        return BenchModel(str(path), nbytes, len(nodes.half), unknown=reason)
    _tell(options, f"loading {path.name} in a process of its own")
    try:
        found = measure_footprint(path, feeds, settings)
    except SessionError as error:
        return BenchModel(str(path), nbytes, len(nodes.half), unknown=str(error))
    return BenchModel(
        path=str(path),
        nbytes=nbytes,
        half_nodes=len(nodes.half),
        float32=nodes.in_float32(found.nodes),
        elsewhere=nodes.elsewhere(found.nodes, options.provider),
        inserted_casts=nodes.inserted_casts(found.nodes),
        load_s=found.load_s,
        loaded_bytes=found.loaded_bytes,
        peak_bytes=found.peak_bytes,
    )


def _rows(sessions: Sequence[Session], feeds: _Feeds, options: BenchOptions) -> Iterator[BenchRow]:
    for batch in options.batch_sizes or (None,):
        sized = feeds if batch is None else _resized(sessions, feeds, batch)
        for concurrency in options.concurrency:
            what = "the sample" if batch is None else f"batch size {batch}"
            _tell(options, f"{what}, {concurrency} at a time, {options.rounds} rounds")
            callers = [
                [BoundRun(session, sized, device=options.device) for _ in range(concurrency)]
                for session in sessions
            ]
            yield from make_rows(measure_rounds(callers, options), batch, concurrency)


def _resized(sessions: Sequence[Session], feeds: _Feeds, batch: int) -> _Feeds:
    """The feeds with `batch` rows, the sample's own repeated, where all models leave that open."""
    fixed = {
        port.name
        for session in sessions
        for port in (*session.inputs, *session.optional)
        if not port.shape or isinstance(port.shape[0], int)
    }
    free = [name for name in feeds if name not in fixed]
    if not free:
        raise OptionError(
            f"batch size {batch}: no input leaves its first dimension open in every model; "
            "export the models with a dynamic batch, or leave the batch sizes out"
        )
    if any(feeds[name].shape[0] == 0 for name in free):
        raise SampleError(f"batch size {batch}: the sample has no rows to repeat")
    return {
        name: array[np.arange(batch) % array.shape[0]] if name in free else array
        for name, array in feeds.items()
    }


def _tell(options: BenchOptions, text: str) -> None:
    if options.progress is not None:
        options.progress(text)


def _machine() -> dict[str, str | int]:
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "python": platform.python_version(),
    }


def _warnings(models: Sequence[BenchModel], options: BenchOptions, *, random: bool) -> list[str]:
    found = [RANDOM_INPUTS] * random
    for model in models:
        if model.float32:
            found.append(
                f"{model.path}: {len(model.float32)} of {model.half_nodes} 16-bit nodes have no "
                f"16-bit kernel in {options.provider} and compute in float32 between "
                f"{model.inserted_casts} casts that it adds, so that 16 bits save no arithmetic "
                f"here and the casts come on top: {_named(model.float32)}"
            )
        if model.elsewhere:
            found.append(
                f"{model.path}: {len(model.elsewhere)} nodes run outside {options.provider}: "
                f"{_named(model.elsewhere)}"
            )
        if model.unknown and options.memory:
            found.append(
                f"{model.path}: its memory, load time and placement are unknown: {model.unknown}"
            )
    return found


def _named(nodes: Sequence[PlacedNode]) -> str:
    types = Counter(node.op_type for node in nodes)
    counts = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
    names = ", ".join(
        f"{node.id} {node.op_type}{' ' + repr(node.name) if node.name else ''}"
        for node in nodes[:_NAMES_SHOWN]
    )
    return f"{counts} (nodes {names}{', …' if len(nodes) > _NAMES_SHOWN else ''})"

"""Two models on the same samples, or two archives of arrays, output by output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from halve.compare.pairs import compare_pair
from halve.comparisons import (
    ComparedOutput,
    ComparedSample,
    ComparedSide,
    CompareOptions,
    ModelComparison,
)
from halve.errors import ComparisonError, OptionError, SampleError
from halve.session.half_types import half_types
from halve.session.installed import describe_runtime
from halve.session.judging import load_lowered
from halve.session.runtime import CPU_PROVIDER, Session, load
from halve.session.samples import Sample, read_arrays
from halve.session.steps import Outputs
from halve.session.written import run_sample
from halve.source import open_model

__all__ = ["compare_archives", "compare_models"]

_NARROW = (np.dtype(np.float16), np.dtype(bfloat16))
_NAMES_SHOWN = 8


def compare_models(
    a: Path, b: Path, samples: Sequence[Sample], *, options: CompareOptions | None = None
) -> ModelComparison:
    """Run two models on every sample and compare the outputs of `a` with those of `b`.

    On the CPU provider, which computes 16-bit models in float32, a model with 16-bit values is
    lowered: each of them is really rounded. Golden outputs of the samples are not looked at.
    16-bit inputs of a sample are widened, and float32 ones rounded, to what each model takes.

    Raises:
        OptionError: no samples, or an option names what the models do not have.
        ComparisonError: an output is missing in one of them, or they share none.
        SampleError: a sample does not fit a model's inputs.
        ModelError, SessionError: a model cannot be read, lowered, loaded or run.
    """
    options = options or CompareOptions()
    if not samples:
        raise OptionError("no samples were given to compare on; allowed: one or more")
    first, second = _open(a, options), _open(b, options)
    names, left_out = _outputs(_side_names(first), _side_names(second), options)
    rows = tuple(_compare_sample(first, second, sample, names, options) for sample in samples)
    notes: tuple[str, ...] = ()
    if any(sample.outputs is not None for sample in samples):
        notes = ("the samples' golden outputs were not looked at: the two models were compared",)
    return ModelComparison(first.facts, second.facts, rows, options.tolerances, left_out, notes)


def compare_archives(a: Path, b: Path, *, options: CompareOptions | None = None) -> ModelComparison:
    """Compare the arrays of one .npz file with those of the same name in another.

    Raises:
        OptionError: an option names what the archives do not have.
        ComparisonError: an array is missing in one of them, or is of no plain type.
        SampleError: a file cannot be read, or holds Python objects.
    """
    options = options or CompareOptions()
    values, references = _read(a), _read(b)
    names, left_out = _outputs((str(a), list(values)), (str(b), list(references)), options)
    row = ComparedSample(None, _compare(names, values, references, options))
    first, second = (ComparedSide(str(path), "archive") for path in (a, b))
    return ModelComparison(first, second, (row,), options.tolerances, left_out)


@dataclass(frozen=True, slots=True)
class _Side:
    session: Session
    facts: ComparedSide


def _open(path: Path, options: CompareOptions) -> _Side:
    proto = open_model(path).proto
    halves = half_types(proto)
    on_cpu = options.provider == CPU_PROVIDER
    optimise = options.optimise or ("disabled" if on_cpu else "all")
    common: dict[str, Any] = {
        "optimise": optimise,
        "threads": options.threads,
        "custom_op_library": options.custom_op_library,
    }
    if halves and on_cpu:
        session, level = load_lowered(path, **common), "emulated"
    else:
        session = load(
            path,
            provider=options.provider,
            provider_options=options.provider_options,
            session_options=options.session_options,
            **common,
        )
        level = "cpu" if on_cpu else "device"
    runtime = f"onnxruntime {describe_runtime().version}"
    facts = ComparedSide(str(path), level, halves, options.provider, runtime)
    return _Side(session, facts)


def _side_names(side: _Side) -> tuple[str, list[str]]:
    return side.facts.path, [port.name for port in side.session.outputs]


def _outputs(
    a: tuple[str, list[str]], b: tuple[str, list[str]], options: CompareOptions
) -> tuple[list[str], tuple[str, ...]]:
    """The names to compare, in the reference's order, and those left out on request."""
    known = dict.fromkeys([*b[1], *a[1]])
    for name in (*options.outputs, *options.tolerances.outputs):
        if name not in known:
            raise OptionError(f"there is no output {name!r}; allowed: {_listed(known)}")
    wanted = [name for name in known if name in options.outputs or not options.outputs]
    if not wanted:
        raise ComparisonError(f"{a[0]} and {b[0]} have no outputs to compare")
    for where, names in (a, b):
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ComparisonError(
                f"{where}: there is no output {missing[0]!r}; its outputs: {_listed(names)}; name"
                " the outputs that both have with --output NAME"
            )
    return wanted, tuple(name for name in known if name not in wanted)


def _listed(names: Iterable[str]) -> str:
    rows = [repr(name) for name in names]
    more = f" and {len(rows) - _NAMES_SHOWN} more" if len(rows) > _NAMES_SHOWN else ""
    return (", ".join(rows[:_NAMES_SHOWN]) or "none") + more


def _compare_sample(
    a: _Side, b: _Side, sample: Sample, names: Sequence[str], options: CompareOptions
) -> ComparedSample:
    wide = Sample(sample.id, {name: _widened(array) for name, array in sample.inputs.items()})
    values = run_sample(a.session, wide, options.feedback)
    references = run_sample(b.session, wide, options.feedback)
    return ComparedSample(sample.id, _compare(names, values, references, options))


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    """16-bit floats as float32, which every model takes; all else as it is."""
    return array.astype(np.float32) if array.dtype in _NARROW else array


def _compare(
    names: Sequence[str], values: Outputs, references: Outputs, options: CompareOptions
) -> tuple[ComparedOutput, ...]:
    tolerances = options.tolerances
    return tuple(
        compare_pair(name, values[name], references[name], tolerances, worst=options.worst)
        for name in names
    )


def _read(path: Path) -> Outputs:
    if not path.is_file():
        raise SampleError(f"{path}: there is no such file; allowed: what numpy.savez writes")
    arrays = {}
    for name, array in read_arrays(path).items():
        if array.dtype.kind == "V":
            raise ComparisonError(
                f"{path}: {name!r} has type {array.dtype}, which says no number format (numpy"
                " saves bfloat16 like this); save it as float32"
            )
        # The comparison takes numbers in this machine's byte order.
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays

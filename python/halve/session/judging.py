"""Judge a written 16-bit model by its lowered form: the level "emulated"."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto

from halve.errors import ModelError, OptionError, SampleError, UnsupportedModelError
from halve.session.canary import check_canary
from halve.session.lowering import lower
from halve.session.runtime import Session, load, run
from halve.session.samples import Sample
from halve.session.scope import bodies
from halve.session.weight_store import MAPPED, WeightStore
from halve.source import open_model

__all__ = [
    "Judgement",
    "OutputMetrics",
    "SampleJudgement",
    "judge",
    "load_lowered",
    "measure_output",
    "read_model",
]

# Of a smaller file a few copies do no harm.
_IN_MEMORY_BYTES = 32_000_000
_HALF_NAMES = {int(TensorProto.FLOAT16): "float16", int(TensorProto.BFLOAT16): "bfloat16"}


@dataclass(frozen=True, slots=True)
class OutputMetrics:
    """One output of one sample, against the reference. Sums are in float64.

    `max_abs` and `max_rel` (|a - b| / |b|) are over elements that are not equal; a NaN, or an
    infinity where the other is not the same one, makes them inf, as a shape that differs does.
    A reference of 0 makes a difference's `max_rel` inf. `cosine` is 1 for two zero vectors, 0 for
    one, NaN where a value is not finite. `mismatches` counts elements outside
    atol + rtol·|reference|; NaN matches nothing.
    """

    name: str
    elements: int
    max_abs: float
    max_rel: float
    cosine: float
    mismatches: int
    allclose: bool
    nonfinite: int
    shape: tuple[int, ...]
    reference_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SampleJudgement:
    """The outputs of one sample, in graph order."""

    id: int
    outputs: tuple[OutputMetrics, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a written model: `passed` where every output of every sample is allclose.

    `loaded` says whether the written model itself was loaded in ONNX Runtime, too.
    """

    level: str
    passed: bool
    loaded: bool
    rtol: float
    atol: float
    samples: tuple[SampleJudgement, ...]


def judge(  # noqa: PLR0913 - keywords, all with defaults
    source: Path | str | ModelProto,
    converted: Path | str | ModelProto,
    samples: Sequence[Sample],
    *,
    rtol: float = 1e-2,
    atol: float = 1e-2,
    optimise: bool | str = False,
    threads: int = 1,
    custom_op_library: Path | None = None,
    require_load: bool = True,
) -> Judgement:
    """Compare a written model, lowered to float32 arithmetic with true rounding, with its source.

    The reference is a sample's golden outputs, else the source's own float32 run. The written
    model itself must load in ONNX Runtime (fully optimised), but its results on the CPU provider,
    which computes float16 models in float32, are not looked at. `require_load` False leaves that
    out: the CPU provider has few bfloat16 kernels, and so loads hardly a bfloat16 model.
    `optimise` is the level of the two float32 runs; off, arithmetic is as the nodes say, and an
    optimiser's own rounding (fused or reordered sums) is not counted as the conversion's.

    Raises:
        OptionError: no samples.
        SampleError: a sample does not fit the source's inputs or outputs.
        ModelError: the written model contradicts itself, or lacks an output.
        UnsupportedModelError: it cannot be lowered.
        SessionError: a model does not load or run, or this runtime erases casts.
    """
    if not samples:
        raise OptionError("judge was given no samples; allowed: one or more")
    settings: dict[str, Any] = {"threads": threads, "custom_op_library": custom_op_library}
    lowered = load_lowered(converted, optimise=optimise, **settings)
    if require_load:
        load(converted, **settings)
    reference = load(source, optimise=optimise, **settings)
    rows = tuple(_judge_sample(reference, lowered, sample, rtol, atol) for sample in samples)
    passed = all(output.allclose for row in rows for output in row.outputs)
    return Judgement("emulated", passed, require_load, rtol, atol, rows)


def read_model(model: Path | str | ModelProto) -> ModelProto:
    """A model with all its payload in memory; a ModelProto is passed through.

    Raises:
        ModelError: the file is missing, not ONNX, or its external data cannot be read.
    """
    if isinstance(model, ModelProto):
        return model
    try:
        return onnx.load(model)
    except Exception as error:  # protobuf's and onnx's errors share no class below this
        raise ModelError(f"{model}: cannot be read as an ONNX model ({error})") from error


def measure_output(
    name: str, value: NDArray[Any], reference: NDArray[Any], *, rtol: float, atol: float
) -> OutputMetrics:
    """Compare one output with its reference; see OutputMetrics for each field."""
    if value.shape != reference.shape:
        return _unlike_shapes(name, value, reference)
    wrong = _count_mismatches(value, reference, rtol, atol)
    value, reference = _numbers(value, reference)
    max_abs, max_rel = _largest_errors(value, reference)
    return OutputMetrics(
        name=name,
        elements=int(reference.size),
        max_abs=max_abs,
        max_rel=max_rel,
        cosine=_cosine(value.ravel(), reference.ravel()),
        mismatches=wrong,
        allclose=wrong == 0,
        nonfinite=int(np.count_nonzero(~np.isfinite(value))),
        shape=value.shape,
        reference_shape=reference.shape,
    )


def load_lowered(
    converted: Path | str | ModelProto,
    *,
    optimise: bool | str,
    threads: int = 1,
    custom_op_library: Path | None = None,
) -> Session:
    """A written model's lowered form, loaded; see halve.session.lowering.

    A large file is lowered as metadata, and its float32 weights are mapped from a temporary file.

    Raises:
        ModelError, UnsupportedModelError: it contradicts itself, or cannot be lowered.
        SessionError: it does not load, or this runtime erases casts.
    """
    settings: dict[str, Any] = {"optimise": optimise, "threads": threads}
    label = "model in memory" if isinstance(converted, ModelProto) else str(converted)
    with _lowered(converted, custom_op_library) as (model, folder):
        for dtype in sorted(_half_types(model.graph)):
            check_canary(dtype, **settings)
        return load(
            model,
            custom_op_library=custom_op_library,
            external_data_folder=folder,
            session_options=None if folder is None else MAPPED,
            where=f"{label}, lowered",
            **settings,
        )


@contextmanager
def _lowered(
    converted: Path | str | ModelProto, library: Path | None
) -> Iterator[tuple[ModelProto, Path | None]]:
    """The lowered model, and for a large file the folder of its weights."""
    source = None if isinstance(converted, ModelProto) else open_model(Path(converted))
    if source is None or source.nbytes < _IN_MEMORY_BYTES:
        yield lower(read_model(converted), custom_op_library=library), None
        return
    with tempfile.TemporaryDirectory(prefix="halve-judge-") as name:
        store = WeightStore(Path(name), source.refs)
        model = lower(source.proto, custom_op_library=library, weights=store)
        # What ONNX Runtime maps stays readable when the files' names are gone.
        yield store.settle(model), Path(name)


def _half_types(graph: GraphProto) -> set[str]:
    """The 16-bit types that a lowered graph casts to."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type == "Cast":
            codes = (attribute.i for attribute in node.attribute if attribute.name == "to")
            found.update(_HALF_NAMES[code] for code in codes if code in _HALF_NAMES)
        for body in bodies(node):
            found |= _half_types(body)
    return found


def _judge_sample(
    reference: Session, lowered: Session, sample: Sample, rtol: float, atol: float
) -> SampleJudgement:
    names = [port.name for port in reference.outputs]
    written = _by_name(lowered, sample.inputs)
    golden = _by_name(reference, sample.inputs) if sample.outputs is None else sample.outputs
    for name in names:
        if name not in written:
            raise ModelError(
                f"{lowered.where}: there is no output {name!r}; allowed: the source's outputs"
            )
        if name not in golden:
            raise SampleError(
                f"sample {sample.id}: output {name!r} is missing; its outputs: {sorted(golden)}"
            )
    return SampleJudgement(
        sample.id,
        tuple(
            measure_output(name, written[name], golden[name], rtol=rtol, atol=atol)
            for name in names
        ),
    )


def _by_name(session: Session, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    ports = session.outputs
    for port in ports:
        if not port.type.startswith("tensor("):
            raise UnsupportedModelError(
                f"{session.where}: output {port.name!r} is {port.type}; allowed: tensors"
            )
    return {port.name: value for port, value in zip(ports, run(session, feeds), strict=True)}


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "fc" or array.dtype.name == "bfloat16"


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _numbers(value: NDArray[Any], reference: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both in float64; texts as 1 where they differ against 0."""
    if reference.dtype.kind in "OUST":
        return _wide(value != reference), np.zeros(reference.shape)
    return _wide(value), _wide(reference)


def _count_mismatches(
    value: NDArray[Any], reference: NDArray[Any], rtol: float, atol: float
) -> int:
    if not _is_float(reference):  # indices and texts are right or wrong
        return int(np.count_nonzero(value != reference))
    with np.errstate(all="ignore"):
        close = np.isclose(_wide(value), _wide(reference), rtol=rtol, atol=atol)
    return int(np.count_nonzero(~close))


def _largest_errors(value: NDArray[Any], reference: NDArray[Any]) -> tuple[float, float]:
    unequal = value != reference
    if not unequal.any():
        return 0.0, 0.0
    with np.errstate(all="ignore"):
        absolute = np.abs(value[unequal] - reference[unequal])
        relative = absolute / np.abs(reference[unequal])
    return _worst(absolute), _worst(relative)


def _worst(errors: NDArray[Any]) -> float:
    return float(np.nan_to_num(errors, nan=np.inf, posinf=np.inf).max())


def _cosine(value: NDArray[Any], reference: NDArray[Any]) -> float:
    with np.errstate(all="ignore"):
        lengths = float(np.linalg.norm(value)), float(np.linalg.norm(reference))
        if 0.0 in lengths:
            return 1.0 if lengths == (0.0, 0.0) else 0.0
        return float(np.vdot(value / lengths[0], reference / lengths[1]).real)


def _unlike_shapes(name: str, value: NDArray[Any], reference: NDArray[Any]) -> OutputMetrics:
    return OutputMetrics(
        name=name,
        elements=int(reference.size),
        max_abs=float("inf"),
        max_rel=float("inf"),
        cosine=float("nan"),
        mismatches=max(int(reference.size), 1),
        allclose=False,
        nonfinite=0,
        shape=value.shape,
        reference_shape=reference.shape,
    )

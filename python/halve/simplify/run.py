"""`halve.simplify`: optimise, compare with the file given, and only then write."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from halve.compare.verdict import compare_outputs
from halve.convert import convert
from halve.errors import VerdictError
from halve.files import given_path
from halve.options import ConvertOptions, SimplifyOptions
from halve.search_types import OutputTolerance, OutputTrial, Tolerances
from halve.session.random_samples import RandomSampling, random_samples
from halve.session.runtime import Session, load, run
from halve.session.samples import Sample, SampleSource, as_samples, naming
from halve.session.steps import Outputs, roll
from halve.simplify.optimizer import FUSE_BN, run_optimizer
from halve.simplify.origins import find_origins
from halve.source import open_model
from halve.source.scopes import iter_nodes
from halve.types import SourceModel
from halve.write import check_target

__all__ = ["Made", "SimplifiedOutput", "SimplifyResult", "make_simplified", "simplify"]

_Path = str | os.PathLike[str]
# Everything blocked changes nothing; files are written all or nothing. Data files would keep the
# names that onnxsim drew for them, but that a limit of their size makes them anew.
_COPY = ConvertOptions(op_block=(".*",), keep_io_types=True, target="any", shard_size_bytes=1 << 62)


@dataclass(frozen=True, slots=True)
class SimplifiedOutput:
    """One output of one sample, simplified against original: the largest absolute error, and how
    much of the tolerance is used.
    """

    sample: int
    name: str
    max_abs_error: float
    error: float


@dataclass(frozen=True, slots=True)
class SimplifyResult:
    """What was simplified, and the proof of it.

    `target` is the written file, or None where `model` holds the result. `origins` says, by the
    id of a simplified node, which nodes of the file given it stands for; `removed` are ids of the
    file that none stands for: they were folded or had no effect. `op_types` are (before, after)
    counts of the types whose number changed. `outputs` are all within the tolerance.
    """

    target: Path | None
    model: ModelProto | None
    nodes_before: int
    nodes_after: int
    op_types: Mapping[str, tuple[int, int]]
    origins: tuple[tuple[int, ...], ...]
    removed: tuple[int, ...]
    outputs: tuple[SimplifiedOutput, ...]
    random_samples: bool
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Made:
    """A simplified file in a temporary folder, with what it was compared on.

    `samples` have the outputs of the file given, or their own golden ones.
    """

    path: Path
    source: SourceModel
    simplified: SourceModel
    origins: tuple[tuple[int, ...], ...]
    samples: tuple[Sample, ...]
    outputs: tuple[SimplifiedOutput, ...]
    random: bool


def simplify(  # noqa: PLR0913 - keywords, all with defaults
    source: _Path | ModelProto,
    target: _Path | None = None,
    *,
    skip_fuse_bn: bool = False,
    skipped_optimizers: Sequence[str] = (),
    samples: SampleSource | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
    custom_op_library: Path | None = None,
    allow_links: bool = False,
) -> SimplifyResult:
    """Infer shapes, fold constants and fuse nodes of a float32 model, and prove the result.

    onnxsim does the work, in a process of its own. The simplified model is run beside the original
    on samples, both without ONNX Runtime's own optimisation, and nothing is written where an
    output differs. Do it before a conversion: folding afterwards would undo casts.

    Args:
        source: a path, or a ModelProto, which is not changed.
        target: where to write, or None: `result.model` holds the model then.
        skip_fuse_bn: keep BatchNormalization beside Conv.
        skipped_optimizers: passes to leave out, by the names of onnx's optimizer.
        samples: as `halve.search` takes them; None: random ones, for inputs of fixed shape.
        rtol, atol: an element passes where |simplified - original| <= atol + rtol * |original|.
        custom_op_library: a shared library with custom ops.
        allow_links: accept external data behind a link that leaves the model's folder.

    Raises:
        BackendUnavailableError: onnxsim or ONNX Runtime is not installed.
        OptionError: there is no such pass, or `source` and `target` are one.
        ModelError: the source cannot be read, or onnxsim cannot simplify it.
        SampleError: a sample does not fit, or none can be made.
        VerdictError: an output differs. What was at the target is untouched, as always.
        OutputError: the target cannot be written.
    """
    started = time.monotonic()
    options = SimplifyOptions(
        skip_fuse_bn=skip_fuse_bn,
        skipped_optimizers=tuple(skipped_optimizers),
        samples=samples,
        rtol=rtol,
        atol=atol,
    )
    path = None if target is None else given_path(target, what="the new model")
    with tempfile.TemporaryDirectory(prefix="halve-simplify-") as folder:
        made = make_simplified(
            source,
            Path(folder),
            options,
            target=path,
            library=custom_op_library,
            allow_links=allow_links,
        )
        model = None if path else onnx.load(made.path)
        if path is not None:
            convert(made.path, path, options=_COPY)
    return _result(made, path, model, time.monotonic() - started)


def make_simplified(  # noqa: PLR0913 - keywords
    source: _Path | ModelProto,
    folder: Path,
    options: SimplifyOptions,
    *,
    target: Path | None = None,
    library: Path | None = None,
    allow_links: bool = False,
    feedback: Sequence[tuple[str, str]] = (),
) -> Made:
    """Write the simplified model into `folder`, and compare it; see `simplify`.

    `feedback` is that of a search: a sample is rolled over its steps.

    Raises:
        HalveError: as `simplify` raises.
    """
    file = _file(source, folder)
    model = open_model(file, allow_links=allow_links)
    if target is not None:
        check_target(model, target)
    skipped = (*options.skipped_optimizers, *((FUSE_BN,) if options.skip_fuse_bn else ()))
    path = folder / "simplified.onnx"
    run_optimizer(file, path, skipped=skipped, library=library)
    simplified = open_model(path)
    random = options.samples is None
    given = random_samples(file, RandomSampling()) if random else as_samples(options.samples)
    # One model at a time, because either may fill the memory.
    expected = _outputs(file, given, library, feedback)
    found = _outputs(path, given, library, feedback)
    samples, rows = _compare(file, given, expected, found, options)
    origins = find_origins(model.proto, simplified.proto)
    return Made(path, model, simplified, origins, samples, rows, random)


def _file(source: _Path | ModelProto, folder: Path) -> Path:
    if not isinstance(source, ModelProto):
        return given_path(source, what="the model")
    path = folder / "given.onnx"
    onnx.save(source, path)
    return path


def _compare(
    file: Path,
    samples: Sequence[Sample],
    expected: Sequence[Outputs],
    found: Sequence[Outputs],
    options: SimplifyOptions,
) -> tuple[tuple[Sample, ...], tuple[SimplifiedOutput, ...]]:
    tolerances = Tolerances(OutputTolerance(options.rtol, options.atol))
    rows: list[SimplifiedOutput] = []
    for sample, own, reference in zip(samples, found, expected, strict=True):
        trials = compare_outputs(own, reference, tolerances)
        rows += [_row(sample.id, trial, file, options) for trial in trials]
    golden = tuple(
        sample if sample.outputs is not None else replace(sample, outputs=reference)
        for sample, reference in zip(samples, expected, strict=True)
    )
    return golden, tuple(rows)


def _outputs(
    path: Path,
    samples: Sequence[Sample],
    library: Path | None,
    feedback: Sequence[tuple[str, str]],
) -> list[Outputs]:
    session = load(path, optimise=False, custom_op_library=library)
    found: list[Outputs] = []
    for sample in samples:
        with naming(sample):
            found.append(roll(lambda feeds: _step(session, feeds), sample.inputs, tuple(feedback)))
    return found


def _step(session: Session, feeds: Mapping[str, NDArray[Any]]) -> Outputs:
    values = run(session, feeds)
    return {port.name: value for port, value in zip(session.outputs, values, strict=True)}


def _row(sample: int, trial: OutputTrial, file: Path, options: SimplifyOptions) -> SimplifiedOutput:
    largest = 0.0 if trial.comparison is None else trial.comparison.max_abs_error
    if trial.passed:
        return SimplifiedOutput(sample, trial.name, largest, trial.error)
    raise VerdictError(
        f"{file}: simplified, output {trial.name!r} of sample {sample} differs by {largest:.3g} "
        f"(allowed: atol {options.atol:g} + rtol {options.rtol:g} of the value); nothing was "
        "written: skip the pass that causes it, widen rtol and atol, or convert without simplifying"
    )


def _result(
    made: Made, target: Path | None, model: ModelProto | None, elapsed_s: float
) -> SimplifyResult:
    before = [node.op_type for _, _, node in iter_nodes(made.source.proto)]
    after = [node.op_type for _, _, node in iter_nodes(made.simplified.proto)]
    counts = Counter(before), Counter(after)
    kept = {number for ids in made.origins for number in ids}
    return SimplifyResult(
        target=target,
        model=model,
        nodes_before=len(before),
        nodes_after=len(after),
        op_types={
            kind: (counts[0][kind], counts[1][kind])
            for kind in sorted({*before, *after})
            if counts[0][kind] != counts[1][kind]
        },
        origins=made.origins,
        removed=tuple(number for number in range(len(before)) if number not in kept),
        outputs=made.outputs,
        random_samples=made.random,
        elapsed_s=elapsed_s,
    )

"""`halve demo`: the main job on a model and samples that ship inside the package."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halve import __version__
from halve.auto import AutoResult, auto
from halve.cli.auto import search_progress
from halve.cli.parser import Parser
from halve.conversion import convert
from halve.errors import OutputError
from halve.options import ConvertOptions
from halve.report import write_json
from halve.report.html import write_page
from halve.report.search_record import AutoReport
from halve.search_options import SearchOptions
from halve.session import (
    Judgement,
    Sample,
    Session,
    judge,
    load,
    lower,
    read_model,
    read_samples,
    write_samples,
)
from halve.session import run as infer
from halve.types import ConvertResult

__all__ = ["DATA", "make_parser", "run"]

DATA = Path(__file__).resolve().parent.parent / "data" / "demo"
_SOURCE, _HALF, _MIXED = "digits.onnx", "digits_float16.onnx", "digits_mixed.onnx"
_REPORTS = ("report.html", "report.json")
_SAMPLES = "samples"
_WRITTEN = (_SOURCE, _HALF, _MIXED, *_REPORTS, _SAMPLES)
_FAILED_VERDICT = 2


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A conversion of everything and its verdict, the search's mixed model and its verdict, and
    the share of images that float32, all float16 and mixed name rightly: with every float16 value
    rounded, and by the files as ONNX Runtime's CPU provider runs them.
    """

    half: ConvertResult
    half_judgement: Judgement
    mixed: AutoResult
    report: AutoReport
    images: int
    accuracy: Sequence[float]
    accuracy_on_cpu: Sequence[float]

    def as_json(self) -> dict[str, object]:
        names = ("float32", "float16", "mixed")
        return {
            "schema_version": 2,
            "kind": "demo",
            "float16_passed": self.half_judgement.passed,
            "search": self.report.as_json(),
            "images": self.images,
            "accuracy": dict(zip(names, self.accuracy, strict=True)),
            "accuracy_on_cpu_provider": dict(zip(names, self.accuracy_on_cpu, strict=True)),
        }


def make_parser() -> Parser:
    """The parser of `halve demo`."""
    parser = Parser(
        "demo",
        description="Convert a small trained model to float16 (which goes wrong), search for the "
        "nodes that must stay float32, write the mixed model and the report of the search, all "
        "judged on images that the training did not see. Exit status 2 where the mixed model is "
        "out of tolerance.",
        usage="",
        example="halve demo --output halve-demo",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder for the results (default: ./halve-demo)"
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Converts, searches, judges and prints; returns 2 where the verdict is a failure, else 0.

    Raises:
        HalveError: the folder holds other files, or ONNX Runtime is missing.
    """
    parsed = make_parser().parse(args)
    folder = _prepare(Path(getattr(parsed, "output", "halve-demo")))
    outcome = _work(folder, quiet=parsed.quiet)
    write_json(folder / _REPORTS[1], outcome.report.as_json())
    write_page(folder / _REPORTS[0], outcome.report)
    _show(outcome, folder, parsed)
    return 0 if outcome.mixed.verdict.passed else _FAILED_VERDICT


def _prepare(folder: Path) -> Path:
    """Makes the folder; refuses one with files that are not the demo's own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(item.name for item in folder.iterdir() if item.name not in _WRITTEN)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror}; name a folder with --output") from error
    if foreign:
        raise OutputError(
            f"{folder} holds {foreign[0]!r}, which is not the demo's; "
            "name a new or an empty folder with --output"
        )
    return folder


def _work(folder: Path, *, quiet: bool) -> _Outcome:
    source, keep = folder / _SOURCE, ConvertOptions(keep_io_types=True)
    samples = read_samples(DATA)
    try:
        shutil.copyfile(DATA / "model.onnx", source)
    except OSError as error:
        raise OutputError(f"{source} cannot be written: {error.strerror}") from error
    write_samples(folder / _SAMPLES, samples)
    half = convert(source, folder / _HALF, options=keep)
    with search_progress(quiet=quiet) as progress:
        # The last of three samples is held out: the search does not see it.
        options = SearchOptions(convert=keep, holdout=3, progress=progress)
        mixed = auto(source, folder / _MIXED, samples, options=options)
    labels = _labels(samples)
    files = [folder / name for name in (_SOURCE, _HALF, _MIXED)]
    emulated = [load(lower(read_model(file))) for file in files]
    accuracy, on_cpu = (
        [_accuracy(session, samples, labels) for session in sessions]
        for sessions in (emulated, map(load, files))
    )
    return _Outcome(
        half=half,
        half_judgement=judge(source, folder / _HALF, samples),
        mixed=mixed,
        report=AutoReport.of(
            mixed.search,
            mixed.convert,
            halve_version=__version__,
            source=source,
            borders=mixed.borders,
        ),
        images=labels.size,
        accuracy=accuracy,
        accuracy_on_cpu=on_cpu,
    )


def _labels(samples: Sequence[Sample]) -> NDArray[np.int64]:
    with np.load(DATA / "labels.npz", allow_pickle=False) as archive:
        return np.concatenate([archive[f"sample{sample.id}"] for sample in samples])


def _accuracy(session: Session, samples: Sequence[Sample], labels: NDArray[np.int64]) -> float:
    answers = [infer(session, sample.inputs)[0].argmax(axis=1) for sample in samples]
    return float((np.concatenate(answers) == labels).mean())


def _show(outcome: _Outcome, folder: Path, parsed: argparse.Namespace) -> None:
    if parsed.json:
        print(json.dumps(outcome.as_json(), indent=2))
    elif not parsed.quiet:
        print("\n".join(_lines(outcome, folder)))


def _lines(outcome: _Outcome, folder: Path) -> Iterator[str]:
    half, mixed, search = outcome.half, outcome.mixed.convert, outcome.mixed.search
    yield f"handwritten digits: {half.node_count} nodes, {outcome.images} images not trained on"
    yield ""
    yield f"{'':<22}{'float32':>12}{'all float16':>14}{'mixed':>12}"
    sizes = (half.source_nbytes, half.summary.bytes_written, mixed.summary.bytes_written)
    yield f"{'size, bytes':<22}{sizes[0]:>12,}{sizes[1]:>14,}{sizes[2]:>12,}"
    nodes = (half.float_node_count, half.half_node_count, mixed.half_node_count)
    yield f"{'float16 nodes':<22}{0:>12}{nodes[1]:>14}{nodes[2]:>12}"
    for label, right in (
        ("accuracy (CPU run)", outcome.accuracy_on_cpu),
        ("accuracy (emulated)", outcome.accuracy),
    ):
        yield f"{label:<22}{right[0]:>12.2%}{right[1]:>14.2%}{right[2]:>12.2%}"
    words = [_word(outcome.half_judgement.passed), _word(search.verdict.passed)]
    yield f"{'verdict':<22}{'':>12}{words[0]:>14}{words[1]:>12}"
    yield ""
    yield f"kept in float32 after {len(search.trials)} trials:"
    names = {node.id: node for node in search.plan.nodes}
    for row in search.evidence:
        for number in row.nodes:
            yield f"  {names[number].name:<22}{row.role}, {row.cause}: {row.reason}"
    yield ""
    yield f"casts inserted        {len(mixed.casts)} (lower bound {mixed.cast_lower_bound})"
    yield f"written into          {folder}"
    for files in (_WRITTEN[:3], _WRITTEN[3:]):
        yield f"{'':<22}{', '.join(files)}"
    yield ""
    yield from _EXPLANATION
    paths = f"{folder / _SOURCE} again.onnx --sample-dir {folder / _SAMPLES}"
    yield f"  halve auto {paths} --keep-io-types"


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


_EXPLANATION = (
    "CPU run: the file itself, on ONNX Runtime's CPU provider, which computes float16 models in",
    "float32 and so shows nothing of float16. emulated: every float16 tensor of the written file",
    "is really rounded, around float32 arithmetic. Search it yourself:",
)

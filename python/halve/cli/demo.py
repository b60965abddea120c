"""`halve demo`: the main job on a model and samples that ship inside the package."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halve import __version__
from halve.cli.parser import Parser
from halve.conversion import convert
from halve.errors import OutputError
from halve.options import ConvertOptions
from halve.report import ConversionReport, write_json
from halve.session import Judgement, Sample, Session, judge, load, lower, read_model, read_samples
from halve.session import run as infer

__all__ = ["DATA", "make_parser", "run"]

DATA = Path(__file__).resolve().parent.parent / "data" / "demo"
_WRITTEN = ("digits_float16.onnx", "report.json")
_FAILED_VERDICT = 2


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The conversion, the verdict on the written file, and the share of images named rightly."""

    report: ConversionReport
    judgement: Judgement
    images: int
    accuracy_float32: float
    accuracy_half: float

    def as_json(self) -> dict[str, object]:
        return {
            "schema_version": 1,
            "kind": "demo",
            "conversion": self.report.as_json(),
            "verified": asdict(self.judgement),
            "images": self.images,
            "accuracy": {"float32": self.accuracy_float32, "float16": self.accuracy_half},
        }


def make_parser() -> Parser:
    """The parser of `halve demo`."""
    parser = Parser(
        "demo",
        description="Convert a small trained model to float16 and judge it on images that its "
        "training did not see. Exit status 2 where the result is out of tolerance.",
        usage="",
        example="halve demo --output halve-demo",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder for the results (default: ./halve-demo)"
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Converts, judges and prints; returns 2 where the tolerance is exceeded, else 0.

    Raises:
        HalveError: the folder holds other files, or ONNX Runtime is missing.
    """
    parsed = make_parser().parse(args)
    folder = _prepare(Path(getattr(parsed, "output", "halve-demo")))
    outcome = _work(folder)
    write_json(folder / "report.json", outcome.report.as_json())
    _show(outcome, folder, parsed)
    return 0 if outcome.judgement.passed else _FAILED_VERDICT


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


def _work(folder: Path) -> _Outcome:
    source, target = DATA / "model.onnx", folder / _WRITTEN[0]
    result = convert(source, target, options=ConvertOptions(keep_io_types=True))
    samples = read_samples(DATA)
    labels = _labels(samples)
    return _Outcome(
        report=ConversionReport.of(result, halve_version=__version__, source=source),
        judgement=judge(source, target, samples),
        images=labels.size,
        accuracy_float32=_accuracy(load(source), samples, labels),
        accuracy_half=_accuracy(load(lower(read_model(target))), samples, labels),
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
    report, judgement = outcome.report, outcome.judgement
    outputs = [output for sample in judgement.samples for output in sample.outputs]
    verdict = "passed" if judgement.passed else "FAILED"
    yield f"handwritten digits: {report.node_count} nodes, {outcome.images} images not trained on"
    yield ""
    yield f"{'':<24}{'float32':>12}{'float16':>12}"
    yield f"{'size, bytes':<24}{report.source_nbytes:>12,}{report.bytes_written:>12,}"
    yield f"{'nodes':<24}{report.float_node_count:>12}{report.half_node_count:>12}"
    yield (
        f"{'accuracy (' + judgement.level + ')':<24}"
        f"{outcome.accuracy_float32:>12.2%}{outcome.accuracy_half:>12.2%}"
    )
    yield ""
    yield f"casts inserted      {len(report.casts)} (lower bound {report.cast_lower_bound})"
    yield f"largest error       {max(output.max_abs for output in outputs):.3g} absolute"
    yield f"smallest cosine     {min(output.cosine for output in outputs):.7f}"
    yield f"verdict             {verdict} at rtol {judgement.rtol:g}, atol {judgement.atol:g}"
    yield f"written             {', '.join(str(folder / name) for name in _WRITTEN)}"
    yield ""
    yield from _EXPLANATION


_EXPLANATION = (
    "emulated: every float16 tensor of the written file is really rounded, around float32",
    "arithmetic, because ONNX Runtime's CPU provider does not compute in float16. The file",
    "itself was loaded as well.",
)

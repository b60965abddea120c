"""`halve compare A B --sample-dir D`, and `halve compare A.npz B.npz`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from halve import __version__
from halve.cli import values
from halve.cli.feedback import feedback_pairs
from halve.cli.flags import FLAGS as CONVERT_FLAGS
from halve.cli.flags import Flag, add_flags, given_fields
from halve.cli.parser import Parser, split_list
from halve.cli.paths import check_report_path
from halve.cli.sample_flags import add_sample_flags, sample_request, spread
from halve.cli.search_flags import FLAGS as SEARCH_FLAGS
from halve.cli.search_flags import add_tolerance_flags, given_tolerances
from halve.comparisons import CompareOptions, ModelComparison
from halve.files import given_path
from halve.report import write_json
from halve.report.compare_record import CompareReport
from halve.report.compare_text import compare_lines, print_comparison

__all__ = ["FLAGS", "compare_options", "make_parser", "run"]

_DONE, _FAILED_VERDICT = 0, 2
_ARCHIVE = ".npz"
_SHARED = {flag.field: flag for flag in (*SEARCH_FLAGS, *CONVERT_FLAGS)}
FLAGS = (
    Flag(
        "--output",
        "outputs",
        "NAME,...",
        "compare these outputs only (default: all, which both must have); may be repeated",
        split_list,
    ),
    Flag(
        "--worst",
        "worst",
        "N",
        "worst elements to report of each output (default 5)",
        values.whole("--worst"),
    ),
    _SHARED["provider"],
    _SHARED["provider_options"],
    _SHARED["session_options"],
    Flag(
        "--optimise",
        "optimise",
        "disabled|basic|extended|all",
        "ONNX Runtime's optimisation level (default: disabled on the CPU provider, all on others)",
        values.last,
    ),
    Flag(
        "--threads",
        "threads",
        "N",
        "threads inside a node (default 1); results may depend on it",
        values.whole("--threads"),
    ),
    _SHARED["custom_op_library"],
    _SHARED["feedback"],
)
"""A flag for every field of CompareOptions but `tolerances`, which has five."""
_FOR_MODELS = ("sample_dir", "min_shapes", "max_shapes", "range", "seed", "provider",
               "provider_options", "session_options", "optimise", "threads",
               "custom_op_library", "feedback")  # fmt: skip


class _Pair(NamedTuple):
    a: Path
    b: Path
    archives: bool


def make_parser() -> Parser:
    """The parser of `halve compare`."""
    parser = Parser(
        "compare",
        description="Compare the outputs of model A with those of model B, the reference, on every "
        "sample; or the arrays of A.npz with those of B.npz. Exit status 2 where a tolerance is "
        "exceeded.",
        usage="A B --sample-dir DIR",
        example="halve compare mixed.onnx model.onnx --sample-dir samples --rtol 1e-2",
    )
    parser.add_argument(
        "paths", nargs="*", default=[], metavar="A B", help="two models, or two .npz files"
    )
    parser.add_argument("--output-json", metavar="F.json", help="write the JSON record as well")
    add_sample_flags(parser)
    add_flags(parser.add_argument_group("random samples"), (_SHARED["seed"],))
    add_tolerance_flags(parser)
    add_flags(parser.add_argument_group("comparison"), FLAGS)
    return parser


def run(args: Sequence[str]) -> int:
    """Compares; returns 0, or 2 where a tolerance is exceeded.

    Raises:
        HalveError: wrong usage, or what cannot be read, run or compared.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    pair = _pair(parser, parsed)
    options = compare_options(parsed, pair.b)
    target = _json_path(parsed, pair)
    result, note = _compared(pair, parsed, options)
    report = CompareReport(__version__, result, (note,) if note else ())
    if target is not None:
        write_json(target, report.as_json())
    _show(report, parsed)
    return _DONE if result.passed else _FAILED_VERDICT


def compare_options(parsed: argparse.Namespace, model: Path | None = None) -> CompareOptions:
    """The options that the given flags describe.

    `model` has the names that say where a pair of `--feedback` is divided; None: at its last colon.

    Raises:
        OptionError: a value is not understood or not allowed.
        ModelError: the model's names are needed, and it cannot be read.
    """
    made = given_fields(FLAGS, parsed)
    if model is not None and "feedback" in made:
        made["feedback"] = feedback_pairs(parsed.feedback, model)
    tolerances = given_tolerances(parsed)
    if tolerances is not None:
        made["tolerances"] = tolerances
    return CompareOptions(**made)


def _pair(parser: Parser, parsed: argparse.Namespace) -> _Pair:
    if len(parsed.paths) != 2:
        received = " ".join(map(repr, parsed.paths)) or "nothing"
        parser.error(f"expected two models or two .npz files, A and B, received {received}")
    a, b = (given_path(path, what=name) for path, name in zip(parsed.paths, "AB", strict=True))
    archives = [path.suffix.lower() == _ARCHIVE for path in (a, b)]
    if any(archives) and not all(archives):
        parser.error(f"{a} and {b} are an archive and a model; allowed: two of one kind")
    if all(archives):
        given = [name for name in _FOR_MODELS if hasattr(parsed, name)]
        if given:
            flag = _SHARED[given[0]].name if given[0] in _SHARED else given[0].replace("_", "-")
            parser.error(f"--{flag.lstrip('-')} is for models, and {a} and {b} are archives")
    return _Pair(a, b, all(archives))


def _json_path(parsed: argparse.Namespace, pair: _Pair) -> Path | None:
    if not hasattr(parsed, "output_json"):
        return None
    path = given_path(parsed.output_json, what="--output-json")
    check_report_path(path, pair.a, pair.b, flag="--output-json")
    return path


def _compared(
    pair: _Pair, parsed: argparse.Namespace, options: CompareOptions
) -> tuple[ModelComparison, str]:
    """The comparison, and what a report must say of its samples."""
    # Here, because it brings onnx and ONNX Runtime, which --help does not need.
    from halve.session.side_by_side import compare_archives, compare_models

    if pair.archives:
        return compare_archives(pair.a, pair.b, options=options), ""
    seed = values.whole("--seed")(parsed.seed) if hasattr(parsed, "seed") else 0
    request = sample_request(parsed, seed=seed)
    note = "" if request.folder else f"the samples were random (seed {seed})"
    samples = request.load(pair.b)
    return compare_models(pair.a, pair.b, samples, options=options), note


def _show(report: CompareReport, parsed: argparse.Namespace) -> None:
    if parsed.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    elif not parsed.quiet and sys.stdout.isatty():
        from rich.console import Console

        print_comparison(report, Console())
    elif not parsed.quiet:
        print("\n".join(compare_lines(report)))

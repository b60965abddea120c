"""`halve manual IN --sample-dir D`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from halve import __version__
from halve.cli import values
from halve.cli.convert import show, show_warnings
from halve.cli.flags import Flag, add_convert_flags, add_flags, given_fields
from halve.cli.manual_report import add_view_flags, manual_view
from halve.cli.parser import Parser, split_list
from halve.cli.sample_flags import add_sample_flags, sample_request, spread
from halve.cli.search_flags import FLAGS as SEARCH_FLAGS
from halve.cli.search_flags import add_tolerance_flags, search_options
from halve.cli.simplify_flags import add_simplify_flags
from halve.errors import OptionError
from halve.files import given_path
from halve.manual_options import ManualOptions
from halve.manual_types import ManualEvent
from halve.report import ConversionReport
from halve.report.manual_record import manual_json
from halve.search_options import SearchOptions

__all__ = ["FLAGS", "WITHOUT_EFFECT", "make_parser", "manual_options", "run"]


def _ids(name: str) -> Callable[[Sequence[str]], tuple[int, ...]]:
    return lambda texts: tuple(values.whole_number(name, item) for item in split_list(texts))


FLAGS = (
    Flag(
        "--mode",
        "mode",
        "calc|raw",
        "shares beyond thresholds (calc, the default), or counts and both runs compared (raw)",
        values.last,
    ),
    Flag(
        "--le-value-thres",
        "le_value_thres",
        "X",
        "count magnitudes of at most X (default 2^-14, float16's smallest normal)",
        values.number("--le-value-thres"),
    ),
    Flag(
        "--ge-value-thres",
        "ge_value_thres",
        "X",
        "count magnitudes of at least X (default 65504, float16's largest)",
        values.number("--ge-value-thres"),
    ),
    Flag(
        "--op-id-filter",
        "op_id_filter",
        "ID ...",
        "report these nodes only; the four filters exclude each other",
        _ids("--op-id-filter"),
    ),
    Flag(
        "--op-id-bypass",
        "op_id_bypass",
        "ID ...",
        "report all but these nodes",
        _ids("--op-id-bypass"),
    ),
    Flag(
        "--op-type-filter",
        "op_type_filter",
        "TYPE ...",
        "report nodes of these operators only",
        split_list,
    ),
    Flag(
        "--op-type-bypass",
        "op_type_bypass",
        "TYPE ...",
        "report all but nodes of these operators",
        split_list,
    ),
    Flag(
        "--exact-local",
        "exact_local",
        "",
        "run each node on the float32 run's values as well, for its local error; raw mode does, "
        "and calc mode takes the rounding of its output alone",
        bool,
    ),
)
"""A flag for a field of ManualOptions; the others come from those of a search and a conversion."""
# Flags that manual and automatic mode share. Those of the second line say how to search.
_SHARED = ("seed", "threads_per_trial", "provider", "provider_options", "session_options",
           "devices", "feedback", "workspace", "clean")  # fmt: skip
WITHOUT_EFFECT = ("workers", "validate", "time_budget_s", "max_trials")
_FOR_SEARCH = {flag.field: flag.name for flag in SEARCH_FLAGS if flag.field in WITHOUT_EFFECT}
_FOR_STATISTICS = {
    "report": "--report",
    "output_json": "--output-json",
    "sort": "--sort",
    "top": "--top",
    **{flag.field: flag.name for flag in FLAGS},
}


def make_parser() -> Parser:
    """The parser of `halve manual`."""
    parser = Parser(
        "manual",
        description="Run a model in float32 and as its 16-bit conversion would compute, and say "
        "node by node what 16 bits do. With --finalize, write the deployable model instead.",
        usage="IN --sample-dir DIR",
        example="halve manual model.onnx --sample-dir samples --workspace work --fp32-nodes 3,4",
    )
    parser.add_argument("paths", nargs="*", default=[], metavar="IN", help="the model")
    parser.add_argument("--input-onnx", metavar="IN", help="the model, in place of the path")
    parser.add_argument(
        "--finalize",
        action="store_true",
        default=False,
        help="write the deployable model, without statistics, to --output or the workspace",
    )
    parser.add_argument("--output", metavar="OUT", help="where --finalize writes")
    add_view_flags(parser)
    add_sample_flags(parser)
    add_flags(parser.add_argument_group("statistics"), FLAGS)
    add_tolerance_flags(parser)
    shared = [flag for flag in SEARCH_FLAGS if flag.field in (*_SHARED, *WITHOUT_EFFECT)]
    add_flags(parser.add_argument_group("running (as for halve auto)"), shared)
    add_convert_flags(parser)
    add_simplify_flags(parser)
    return parser


def run(args: Sequence[str]) -> int:
    """Measures or finalises; returns 0.

    Raises:
        HalveError: wrong usage, or what `halve.measure` or `halve.convert` raises.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    source = _source(parser, parsed)
    if parsed.finalize:
        return _finalize(parser, parsed, source)
    if hasattr(parsed, "output"):
        parser.error("--output is where --finalize writes; give that, too")
    view = manual_view(parsed, source)
    options = manual_options(parsed, source)
    if view.wants_distribution:
        options = replace(options, distribution=True)
    _warn_without_effect(parsed, _FOR_SEARCH, "in manual mode")
    # Here, because it brings onnx and ONNX Runtime, which --help does not need.
    from halve.measure import measure

    seed = values.whole("--seed")(parsed.seed) if hasattr(parsed, "seed") else 0
    request = sample_request(parsed, seed=seed)
    with _progress(quiet=parsed.quiet) as progress:
        options = replace(options, progress=progress)
        report = measure(source, request.load(source), options=options)
    if request.note:
        report = replace(report, notes=(*report.notes, request.note))
    view.deliver(report, lambda: manual_json(report), source)
    return 0


def manual_options(parsed: argparse.Namespace, source: Path | None = None) -> ManualOptions:
    """The options that the given flags describe; `source` as for `search_options`.

    Raises:
        OptionError: a value is not understood or not allowed.
        ModelError: the model's names are needed, and it cannot be read.
    """
    search = search_options(parsed, source)
    return ManualOptions(
        convert=search.convert,
        tolerances=search.tolerances,
        threads=search.threads_per_trial,
        provider=search.provider,
        provider_options=_on_device(search) | dict(search.provider_options),
        session_options=search.session_options,
        feedback=search.feedback,
        workspace=search.workspace,
        clean=search.clean,
        **given_fields(FLAGS, parsed),
    )


def _on_device(search: SearchOptions) -> dict[str, str]:
    """The provider's option for the device.

    Raises:
        OptionError: several devices were named.
    """
    if search.devices == (0,):
        return {}
    if len(search.devices) > 1:
        raise OptionError(
            f"--device names {len(search.devices)} devices; allowed in manual mode: one"
        )
    return {"device_id": str(search.devices[0])}


def _source(parser: Parser, parsed: argparse.Namespace) -> Path:
    given = [parsed.input_onnx] if hasattr(parsed, "input_onnx") else []
    paths = given + parsed.paths
    if len(paths) != 1:
        received = " ".join(map(repr, paths)) or "nothing"
        parser.error(f"expected the model IN, received {received}")
    return given_path(paths[0], what="the model IN")


def _warn_without_effect(parsed: argparse.Namespace, flags: Mapping[str, str], why: str) -> None:
    given = [flag for name, flag in flags.items() if hasattr(parsed, name)]
    if given and not parsed.quiet:
        show_warnings([f"{', '.join(given)}: without effect {why}"])


def _finalize(parser: Parser, parsed: argparse.Namespace, source: Path) -> int:
    from halve.manual_workspace import DEPLOY
    from halve.measure import finalize

    options = manual_options(parsed, source)
    _warn_without_effect(parsed, _FOR_STATISTICS, "with --finalize, which measures nothing")
    if hasattr(parsed, "output"):
        target = given_path(parsed.output, what="--output")
    elif options.workspace is not None:
        target = options.workspace / DEPLOY
    else:
        parser.error("--finalize needs --workspace W, whose deploy.onnx it writes, or --output OUT")
    if options.convert.simplify is not None:  # what simplifies compares on samples
        simplify = replace(options.convert.simplify, samples=sample_request(parsed).load(source))
        options = replace(options, convert=replace(options.convert, simplify=simplify))
    result = finalize(source, target, options=options)
    report = ConversionReport.of(result, halve_version=__version__, source=source)
    show(report, quiet=parsed.quiet, as_json=parsed.json)
    return 0


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[ManualEvent], None] | None]:
    """A line that counts nodes, on a terminal; None elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return

    def show_event(event: ManualEvent) -> None:
        text = "preparing"
        if event.stage == "measure":
            text = f"sample {event.sample + 1}/{event.samples}: {event.done} of {event.total}"
        print(f"\r\033[Khalve: {text}", end="", file=sys.stderr, flush=True)

    try:
        yield show_event
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)

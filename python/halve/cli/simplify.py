"""`halve simplify IN OUT`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from halve import __version__
from halve.cli.convert import show_warnings
from halve.cli.parser import Parser
from halve.cli.paths import add_paths, model_paths
from halve.cli.sample_flags import RANDOM_SAMPLES, add_sample_flags, sample_request, spread
from halve.cli.simplify_flags import add_pass_flags, skipped_passes
from halve.cli.values import number, path

if TYPE_CHECKING:
    from halve.simplify import SimplifyResult

__all__ = ["make_parser", "run"]


def make_parser() -> Parser:
    """The parser of `halve simplify`."""
    parser = Parser(
        "simplify",
        description="Infer shapes, fold constants and fuse nodes of a float32 model, and compare "
        "the result with the model given. Exit status 2 where an output differs.",
        usage="IN OUT",
        example="halve simplify model.onnx simple.onnx --sample-dir samples --skip-fuse-bn",
    )
    add_paths(parser)
    add_pass_flags(parser.add_argument_group("simplification"))
    add_sample_flags(parser)
    group = parser.add_argument_group("comparison")
    for name, text in (
        ("--rtol", "relative tolerance of the comparison (default 1e-3)"),
        ("--atol", "absolute tolerance of the comparison (default 1e-4)"),
    ):
        group.add_argument(name, metavar="X", help=text, action="append")
    group.add_argument(
        "--custom-op-library",
        metavar="FILE",
        help="a shared library with custom ops",
        action="append",
    )
    group.add_argument(
        "--allow-links",
        action="store_true",
        help="accept external data behind a link that leaves the model's folder",
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Simplifies; returns 0.

    Raises:
        HalveError: wrong usage, or what `halve.simplify` raises.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    source, target = model_paths(parser, parsed)
    skip_fuse_bn, skipped = skipped_passes(parsed)
    given: dict[str, object] = {"allow_links": hasattr(parsed, "allow_links")}
    for name in ("rtol", "atol"):
        if hasattr(parsed, name):
            given[name] = number(f"--{name}")(getattr(parsed, name))
    if hasattr(parsed, "custom_op_library"):
        given["custom_op_library"] = path(parsed.custom_op_library)
    # Here, because it brings onnx and ONNX Runtime, which --help does not need.
    from halve.simplify import simplify

    request = sample_request(parsed)
    result = simplify(
        source,
        target,
        skip_fuse_bn=skip_fuse_bn,
        skipped_optimizers=skipped,
        samples=request.load(source),
        **given,  # type: ignore[arg-type]  # each has its parameter's type
    )
    warnings = [RANDOM_SAMPLES] if request.folder is None else []
    if not parsed.quiet:
        show_warnings(warnings)
    if parsed.json:
        print(json.dumps(_record(result, source, warnings), indent=2))
    elif not parsed.quiet:
        print("\n".join(_lines(result, source)), file=sys.stdout)
    return 0


def _lines(result: SimplifyResult, source: Path) -> list[str]:
    worst = max(result.outputs, key=lambda row: row.error, default=None)
    changed = ", ".join(f"{kind} {old} -> {new}" for kind, (old, new) in result.op_types.items())
    compared = "no outputs"
    if worst is not None:
        samples = len({row.sample for row in result.outputs})
        compared = (
            f"{len(result.outputs)} outputs of {samples} samples equal within the tolerance "
            f"(at most {worst.error:.2g} of it, in {worst.name!r})"
        )
    return [
        f"model     {source} -> {result.target}",
        f"nodes     {result.nodes_before} -> {result.nodes_after}",
        f"types     {changed or 'as before'}",
        f"compared  {compared}",
    ]


def _record(result: SimplifyResult, source: Path, warnings: Sequence[str]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "kind": "simplify",
        "halve_version": __version__,
        "source": str(source),
        "target": str(result.target),
        "nodes_before": result.nodes_before,
        "nodes_after": result.nodes_after,
        "op_types": {kind: list(pair) for kind, pair in result.op_types.items()},
        "origins": [list(ids) for ids in result.origins],
        "removed": list(result.removed),
        "outputs": [
            {
                "sample": row.sample,
                "name": row.name,
                "max_abs_error": row.max_abs_error,
                "error": row.error,
            }
            for row in result.outputs
        ],
        "warnings": list(warnings),
        "elapsed_s": result.elapsed_s,
    }

"""`halve mix-precision`: TopsIDEAS's command line as it is, carried out by `auto` and `manual`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from halve.cli import auto, manual
from halve.cli.convert import show_warnings
from halve.cli.parser import Parser, split_list
from halve.cli.sample_flags import spread
from halve.errors import OptionError, OutputError
from halve.files import given_path

__all__ = ["make_parser", "run", "translated"]

_DEPLOY = "deploy.onnx"
# What both modes take under the same name, and what only manual mode does.
_COMMON = ("input_onnx", "sample_dir", "workspace", "output_json", "fp32_nodes", "min_shapes",
           "max_shapes", "device", "rtol", "atol", "ntol", "cos_sim")  # fmt: skip
_MANUAL = ("mode", "le_value_thres", "ge_value_thres", "op_id_filter", "op_id_bypass",
           "op_type_filter", "op_type_bypass")  # fmt: skip
_HELP = {
    "input_onnx": ("F", "the model"),
    "sample_dir": ("D", "sample{id}_inputs.npz and sample{id}_outputs.npz"),
    "workspace": ("W", "journal, plan and models; deploy.onnx is written there"),
    "output_json": ("F", "write the JSON record"),
    "fp32_nodes": ("ID ...", "nodes that stay float32"),
    "min_shapes": ("NAME:SHAPE ...", "smallest shapes of random inputs"),
    "max_shapes": ("NAME:SHAPE ...", "largest shapes of random inputs"),
    "device": ("ID", "the device"),
    "rtol": ("X", "relative tolerance"),
    "atol": ("X", "absolute tolerance"),
    "ntol": ("X", "share of elements that may lie outside the tolerance"),
    "cos_sim": ("X", "least cosine similarity in place of tolerances (0.99 without a value)"),
    "mode": ("RAW|CALC", "what manual mode reports"),
    "le_value_thres": ("X", "manual mode: count magnitudes of at most X"),
    "ge_value_thres": ("X", "manual mode: count magnitudes of at least X"),
    "op_id_filter": ("ID ...", "manual mode: report these nodes only"),
    "op_id_bypass": ("ID ...", "manual mode: report all but these nodes"),
    "op_type_filter": ("T ...", "manual mode: report these operators only"),
    "op_type_bypass": ("T ...", "manual mode: report all but these operators"),
}
_FLAGS = ("quiet", "json", "debug")
# ONNX Runtime's session entries have a dot in their names, provider options none.
_SESSION_ENTRY = re.compile(r"\w+\.")


def make_parser() -> Parser:
    """The parser of `halve mix-precision`."""
    parser = Parser(
        "mix-precision",
        description="Automatic mixed precision, or with --manual statistics node by node, with the "
        "flags of TopsIDEAS. What is found is written to deploy.onnx in the workspace.",
        usage="--input_onnx F --sample_dir D --workspace W",
        example="halve mix-precision --manual --input_onnx model.onnx --sample_dir samples "
        "--workspace work --mode CALC",
    )
    for flag, text in (
        ("--manual", "statistics instead of a search"),
        ("--clean", "empty the workspace first"),
        ("--finalize", "write the deployable model for --fp32_nodes, without a search"),
    ):
        parser.add_argument(flag, action="store_true", default=False, help=text)
    for name, (metavar, text) in _HELP.items():
        bare = {"nargs": "?", "const": ""} if name == "cos_sim" else {}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=metavar,
            help=text,
            action="append",
            **bare,  # type: ignore[arg-type]  # argparse's own keywords
        )
    for flag, metavar, text in (
        ("--compile-options", "JSON", "an object of session and provider options"),
        ("--resource-mode", "M", "workers and threads of each, as in 4c2t or 1c4s"),
    ):
        parser.add_argument(flag, metavar=metavar, help=text)
    parser.add_argument("--cluster", metavar="ID ...", help="worker slots", action="append")
    return parser


def run(args: Sequence[str]) -> int:
    """Runs `halve auto` or `halve manual`, and returns its exit status.

    Raises:
        HalveError: wrong usage, or what those raise.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    command = translated(parser, parsed)
    return manual.run(command) if parsed.manual or parsed.finalize else auto.run(command)


def translated(parser: Parser, parsed: argparse.Namespace) -> list[str]:
    """The arguments of `halve manual` or `halve auto` that mean the same.

    Raises:
        OptionError: a flag is missing, is not understood, or belongs to manual mode.
    """
    by_hand = parsed.manual or parsed.finalize
    for name in ("input_onnx", "workspace"):
        if not hasattr(parsed, name):
            parser.error(f"--{name} is missing")
    alone = [name for name in _MANUAL if hasattr(parsed, name)]
    if alone and not by_hand:
        parser.error(f"--{alone[0]} is for manual mode; give --manual, too")
    made = [f"--{name}" for name in (*_FLAGS, "clean") if getattr(parsed, name)]
    for name in (*_COMMON, *_MANUAL):
        for value in getattr(parsed, name, []):
            flag = f"--{name.replace('_', '-')}"
            made += [flag] if value == "" else [f"{flag}={value}"]
    if _drops_device(parsed):
        made = [item for item in made if not item.startswith("--device=")]
    made += _compile_options(parsed) + _resources(parsed, by_hand=by_hand)
    if parsed.finalize:
        return [*made, "--finalize"]
    return made if by_hand else [*made, "--", str(_deploy(parsed))]


def _drops_device(parsed: argparse.Namespace) -> bool:
    """Whether `--device` names what the CPU provider, which this command runs on, does not have."""
    given = split_list(getattr(parsed, "device", []))
    if all(item.strip() == "0" for item in given):
        return False
    if not parsed.quiet:
        warning = f"--device {','.join(given)}: without effect on the CPU provider"
        show_warnings([f"{warning}; halve auto and halve manual take --provider"])
    return True


def _deploy(parsed: argparse.Namespace) -> Path:
    folder = given_path(parsed.workspace[-1], what="--workspace")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"workspace {folder}: {error.strerror}; name another folder") from error
    return folder / _DEPLOY


def _compile_options(parsed: argparse.Namespace) -> list[str]:
    if not hasattr(parsed, "compile_options"):
        return []
    try:
        found = json.loads(parsed.compile_options)
    except ValueError as error:
        raise OptionError(f"--compile_options is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise OptionError(
            f"--compile_options is {parsed.compile_options!r}; allowed: a JSON object, as in"
            ' {"session.disable_prepacking": "1"}'
        )
    return [
        f"--{'session' if _SESSION_ENTRY.match(key) else 'provider'}-option={key}={value}"
        for key, value in found.items()
    ]


def _resources(parsed: argparse.Namespace, *, by_hand: bool) -> list[str]:
    """Workers and their threads; a named cluster is one worker slot."""
    # Here, because it brings ONNX Runtime, which --help does not need.
    from halve.mix_precision import parse_resource_mode

    workers, threads = 0, 1
    if hasattr(parsed, "resource_mode"):
        workers, threads = parse_resource_mode(parsed.resource_mode)
    slots = [slot for slot in split_list(getattr(parsed, "cluster", [])) if slot != "-1"]
    workers = len(set(slots)) or workers
    made = [f"--threads-per-trial={threads}"] if threads > 1 else []
    return made + ([f"--workers={workers}"] if workers and not by_hand else [])

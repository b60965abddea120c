"""The flags of a conversion, one for a field of ConvertOptions, and back to the record."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from halve.cli import values
from halve.cli.parser import split_list
from halve.errors import OptionError
from halve.files import given_path
from halve.options import ConvertOptions, parse_size

__all__ = [
    "FLAGS",
    "WITHOUT_FLAG",
    "Flag",
    "add_convert_flags",
    "add_flags",
    "convert_options",
    "given_fields",
]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag for a field; `convert` makes the field's value from all values given, in order."""

    name: str
    field: str
    metavar: str
    help: str
    convert: Callable[[Sequence[str]], object]


def _size(values: Sequence[str]) -> int:
    return parse_size(values[-1])


def _keep(values: Sequence[str]) -> bool | tuple[str, ...]:
    """All where one was given bare, else the names."""
    return True if "" in values else split_list(values)


def _ids(texts: Sequence[str]) -> tuple[int, ...]:
    return tuple(values.whole_number("--fp32-nodes", item) for item in split_list(texts))


FLAGS = (
    Flag("--dtype", "dtype", "float16|bfloat16", "the 16-bit type (default float16)", values.last),
    Flag(
        "--keep-io-types",
        "keep_io_types",
        "[=NAME,...]",
        "keep all graph inputs and outputs float32, or only those named after '='",
        _keep,
    ),
    Flag(
        "--op-block",
        "op_block",
        "TYPE,...",
        "op types to keep float32: names or regular expressions; may be repeated",
        split_list,
    ),
    Flag(
        "--node-block",
        "node_block",
        "NAME,...",
        "nodes to keep float32: names or regular expressions; may be repeated",
        split_list,
    ),
    Flag(
        "--op-half",
        "op_half",
        "TYPE,...",
        "op types that have 16-bit kernels whatever the target's table says, custom ones too: "
        "names or regular expressions; may be repeated",
        split_list,
    ),
    Flag(
        "--node-half",
        "node_half",
        "NAME,...",
        "nodes of which the same holds: names or regular expressions; may be repeated",
        split_list,
    ),
    Flag(
        "--operand-block",
        "operand_block",
        "TYPE:in2,...",
        "operands to keep float32, with those that share their type variable; may be repeated",
        split_list,
    ),
    Flag(
        "--fp32-nodes",
        "fp32_nodes",
        "IDS|@PLAN.json",
        "nodes to keep float32: ids (positions in the file) separated by commas, "
        "or the float32 nodes of a plan file; may be repeated",
        _ids,
    ),
    Flag(
        "--min-positive-val",
        "min_positive",
        "X",
        "raise nonzero magnitudes below X to X (default 0: off)",
        values.number("--min-positive-val"),
    ),
    Flag(
        "--max-finite-val",
        "max_finite",
        "X",
        "lower finite magnitudes above X to X (default 65504 for float16, off for bfloat16; "
        "inf: off)",
        values.number("--max-finite-val"),
    ),
    Flag(
        "--target",
        "target",
        "cuda|cpu|tensorrt|any",
        "whose kernels decide what must stay float32 (default cuda)",
        values.last,
    ),
    Flag(
        "--opset",
        "opset",
        "N",
        "raise the opset of the default domain to N where it is lower (default: to 13 where "
        "bfloat16 needs it, to 19 where that saves casts around quantised values)",
        values.whole("--opset"),
    ),
    Flag(
        "--external-data",
        "external_data",
        "auto|always|never",
        "where weights go: beside the model, inside it, or (auto, the default) beside it from "
        "1 GiB",
        values.last,
    ),
    Flag(
        "--shard-size",
        "shard_size_bytes",
        "SIZE",
        "start another data file at this size, as in 2G (default: one file)",
        _size,
    ),
    Flag(
        "--threads",
        "threads",
        "N",
        "worker threads (default 0: one a core)",
        values.whole("--threads"),
    ),
    Flag(
        "--custom-op-library",
        "custom_op_library",
        "FILE",
        "a shared library with custom ops, which ONNX Runtime is asked about and runs",
        values.path,
    ),
    Flag(
        "--half-weights",
        "half_weights",
        "",
        "store weights that float32 nodes read in 16 bits too, behind a cast",
        bool,
    ),
    Flag(
        "--allow-links",
        "allow_links",
        "",
        "accept external data behind a link that leaves the model's folder",
        bool,
    ),
)
# `plan` comes from `--fp32-nodes @FILE`, `simplify` from flags of its own, `device` from a flag of
# `halve convert` alone, because a search's names the devices of its sessions; the others make sense
# only in a program.
WITHOUT_FLAG = {"plan", "simplify", "device", "budget_bytes", "progress", "type_oracle"}


def add_flags(group: argparse._ArgumentGroup, flags: Sequence[Flag]) -> None:
    """Adds flags that may be repeated, and those without a value."""
    for flag in flags:
        if flag.metavar:
            group.add_argument(
                flag.name, dest=flag.field, metavar=flag.metavar, help=flag.help, action="append"
            )
        else:
            group.add_argument(flag.name, dest=flag.field, help=flag.help, action="store_true")


def given_fields(flags: Sequence[Flag], parsed: argparse.Namespace) -> dict[str, Any]:
    """The values of the flags that were given, by field.

    Raises:
        OptionError: a value is not understood.
    """
    given = [flag for flag in flags if hasattr(parsed, flag.field)]
    return {flag.field: flag.convert(getattr(parsed, flag.field)) for flag in given}


def add_convert_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every field of ConvertOptions but WITHOUT_FLAG."""
    add_flags(parser.add_argument_group("conversion"), FLAGS)


def convert_options(parsed: argparse.Namespace, **more: object) -> ConvertOptions:
    """The options that the given flags describe, with `more` fields.

    Raises:
        OptionError: a value is not understood or not allowed.
    """
    given = {flag: getattr(parsed, flag.field) for flag in FLAGS if hasattr(parsed, flag.field)}
    fields: dict[str, object] = dict(more)
    for flag, raw in given.items():
        fields.update(_field_values(flag, raw))
    return ConvertOptions(**fields)  # type: ignore[arg-type]  # FLAGS has one type for each field


def _field_values(flag: Flag, raw: Sequence[str]) -> dict[str, object]:
    if flag.field != "fp32_nodes":
        return {flag.field: flag.convert(raw)}
    plans = [value[1:] for value in raw if value.startswith("@")]
    if len(plans) > 1:
        raise OptionError(f"--fp32-nodes names {len(plans)} plan files; allowed: one")
    ids = flag.convert([value for value in raw if not value.startswith("@")])
    return {"fp32_nodes": ids} | (
        {"plan": given_path(plans[0], what="--fp32-nodes @")} if plans else {}
    )

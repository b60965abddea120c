"""The flags of `--simplify`, which several commands have, and of `halve simplify`."""

from __future__ import annotations

import argparse

from halve.cli.parser import split_list
from halve.errors import OptionError
from halve.options import SimplifyOptions

__all__ = ["add_pass_flags", "add_simplify_flags", "simplify_options", "skipped_passes"]


def add_simplify_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--simplify` and the flags of the passes."""
    group = parser.add_argument_group("simplification")
    group.add_argument(
        "--simplify",
        action="store_true",
        help="fold constants and fuse nodes first, and compare with the model given; ids in flags "
        "and reports stay those of the model given",
    )
    add_pass_flags(group)


def add_pass_flags(group: argparse._ActionsContainer) -> None:
    """Adds `--skip-fuse-bn` and `--skip`."""
    group.add_argument(
        "--skip-fuse-bn", action="store_true", help="keep BatchNormalization beside Conv"
    )
    group.add_argument(
        "--skip",
        metavar="PASS,...",
        action="append",
        help="passes to leave out, by the names of onnx's optimizer; may be repeated",
    )


def simplify_options(
    parsed: argparse.Namespace, *, samples: object = None
) -> SimplifyOptions | None:
    """How to simplify, on these samples; None where `--simplify` was not given.

    Raises:
        OptionError: passes are to be skipped, but nothing is simplified.
    """
    skip_fuse_bn, skipped = skipped_passes(parsed)
    if not hasattr(parsed, "simplify"):
        if skip_fuse_bn or skipped:
            flag = "--skip-fuse-bn" if skip_fuse_bn else "--skip"
            raise OptionError(f"{flag} is for simplification; give --simplify, or leave it out")
        return None
    return SimplifyOptions(skip_fuse_bn=skip_fuse_bn, skipped_optimizers=skipped, samples=samples)


def skipped_passes(parsed: argparse.Namespace) -> tuple[bool, tuple[str, ...]]:
    """Whether to keep BatchNormalization, and the passes to leave out."""
    return hasattr(parsed, "skip_fuse_bn"), split_list(getattr(parsed, "skip", ()))

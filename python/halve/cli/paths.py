"""The files that a command is given: the model, where to write, and where a report goes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from halve.cli.parser import Parser
from halve.errors import OptionError, OutputError
from halve.files import given_path

__all__ = ["REPORT_KINDS", "add_paths", "check_report_path", "model_paths", "report_paths"]

REPORT_KINDS = (".html", ".json")
"""What `--report` of a search can be."""

_HEAD_BYTES = 16
_HEADS = {
    # The start of an object in JSON as text: a brace, and before any member its quoted name. A
    # brace alone is nothing: one file of weights in 256 begins with that byte.
    ".json": ("JSON", re.compile(rb"(\s*\{\s*(\"[^\x00-\x1f]*|\}\s*)?)?", re.DOTALL)),
    ".html": ("HTML", re.compile(rb"(\s*<(!doctype\s+html|html).*)?", re.DOTALL | re.IGNORECASE)),
    ".png": ("PNG", re.compile(rb"(\x89PNG\r\n\x1a\n.*)?", re.DOTALL)),
}


def add_paths(parser: Parser) -> None:
    """Adds IN and OUT, and `--input-onnx` in place of the first."""
    parser.add_argument(
        "paths", nargs="*", default=[], metavar="IN OUT", help="the model, and where to write"
    )
    parser.add_argument("--input-onnx", metavar="IN", help="the model, in place of the first path")


def model_paths(parser: Parser, parsed: argparse.Namespace) -> tuple[Path, Path]:
    """The model and the file to write.

    Raises:
        OptionError: there are not two.
    """
    given = [parsed.input_onnx] if hasattr(parsed, "input_onnx") else []
    paths = given + parsed.paths
    if len(paths) != 2:
        received = " ".join(map(repr, paths)) or "nothing"
        parser.error(f"expected the model IN and the file to write OUT, received {received}")
    return given_path(paths[0], what="the model IN"), given_path(paths[1], what="OUT")


def check_report_path(
    report: Path | None, source: Path, target: Path, *, flag: str = "--report", kind: str = ".json"
) -> None:
    """Finds out before the work is done what would spoil the report, or the report would spoil.

    `kind` is what the file will be, ".json", ".html" or ".png": one of another kind is not
    replaced.

    Raises:
        OptionError: the report is the model or the target.
        OutputError: it cannot be written, or would replace what is no report.
    """
    if report is None:
        return
    if report.resolve() in (source.resolve(), target.resolve()):
        raise OptionError(f"{flag} {report} is the model itself; give it a file of its own")
    if not report.parent.is_dir():
        raise OutputError(f"{flag} {report}: there is no folder {report.parent}; make it first")
    if report.is_dir():
        raise OutputError(f"{flag} {report} is a folder; name a file in it")
    if report.exists() and not report.is_file():
        raise OutputError(f"{flag} {report} is no regular file; --json prints the report")
    # Whatever else lies there may be anybody's, the model's own weights for one.
    name, head = _HEADS[kind]
    if report.exists() and head.fullmatch(_head_of(report, flag)) is None:
        raise OutputError(f"{flag} {report} exists and is no {name} file; name another file")


def report_paths(
    parsed: argparse.Namespace,
    source: Path,
    *written: Path,
    kinds: Sequence[str] = REPORT_KINDS,
    why: str = "",
) -> list[Path]:
    """Where `--report` and `--output-json` go, each checked before the work.

    `written` are files of the model that the command writes, or others that it reads. `kinds` are
    the names' endings that `--report` may have; `why` follows them in the error.

    Raises:
        OptionError, OutputError: as check_report_path, or `--report` is of another kind, or both
            are one file.
    """
    found: list[Path] = []
    for flag in ("report", "output_json"):
        if not hasattr(parsed, flag):
            continue
        name = f"--{flag.replace('_', '-')}"
        path = given_path(getattr(parsed, flag), what=name)
        kind = path.suffix.lower() if flag == "report" else ".json"
        if kind not in kinds:
            allowed = f"a name that ends in {', '.join(kinds)}"
            raise OptionError(f"{name} is {str(path)!r}; allowed: {allowed}{why}")
        for target in written or (source,):
            check_report_path(path, source, target, flag=name, kind=kind)
        if any(path.resolve() == other.resolve() for other in found):
            raise OptionError(f"--report and {name} are both {path}; give each a file of its own")
        found.append(path)
    return found


def _head_of(path: Path, flag: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise OutputError(f"{flag} {path} cannot be read: {error.strerror}") from error

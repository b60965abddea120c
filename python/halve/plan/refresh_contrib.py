"""Rewrites the packaged schemas of ONNX Runtime's own operators from the runtime installed here.

Usage: `python -m halve.plan.refresh_contrib [--out FILE]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halve.errors import SessionError
from halve.plan.kernels import CONTRIB_SCHEMAS, table_path

__all__ = ["main", "read_installed", "render"]

_SOURCE = "get_all_operator_schema() of the runtime itself"


def read_installed(python: str = sys.executable) -> dict[str, Any]:
    """The schemas of the runtime that `python` imports, read in a child process.

    Raises:
        SessionError: the child failed (its last words are in the message).
    """
    command = [python, "-m", "halve.session.contrib_schemas"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        words = child.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise SessionError(
            f"reading ONNX Runtime's schemas: {' '.join(command)} ended with status"
            f" {child.returncode} ({words[0]}); install onnxruntime and repeat"
        )
    result: dict[str, Any] = json.loads(child.stdout)
    return result


def render(table: Mapping[str, Any]) -> str:
    """The table as JSON with one operator a line, so that two versions compare line by line."""
    head = {"runtime": "ONNX Runtime", "version": table["version"], "source": _SOURCE}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    rows = [f"  {json.dumps(op)}: {json.dumps(r)}" for op, r in sorted(table["schemas"].items())]
    return "\n".join(["{", *lines, ' "schemas": {', ",\n".join(rows), " }", "}", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; prints what was written."""
    parser = argparse.ArgumentParser(prog="python -m halve.plan.refresh_contrib")
    parser.add_argument("--out", type=Path, default=None, help="default: the packaged table")
    out = parser.parse_args(argv).out or Path(str(table_path(CONTRIB_SCHEMAS)))
    table = read_installed()
    out.write_text(render(table), encoding="utf-8")
    print(f"{out}: ONNX Runtime {table['version']}, {len(table['schemas'])} operators")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

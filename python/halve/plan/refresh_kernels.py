"""Rewrites the packaged table of ONNX Runtime's kernels from the runtime installed here.

Usage: `python -m halve.plan.refresh_kernels [--out FILE]`. A table must hold both the CPU and the
CUDA provider of one version: what the installed build lacks is kept from the packaged table where
that is of the same version, and is an error otherwise.
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
from halve.plan.kernels import CPU, CUDA, ORT_TABLE, table_path

__all__ = ["main", "merge", "read_installed", "render"]

_PROVIDERS = (CPU, CUDA)
_SOURCE = "get_all_opkernel_def() and get_all_operator_schema() of the runtime itself"


def read_installed(python: str = sys.executable) -> dict[str, Any]:
    """The kernel registry of the runtime that `python` imports, read in a child process.

    Raises:
        SessionError: the child failed or died (its last words are in the message).
    """
    command = [python, "-m", "halve.session.kernel_registry"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        words = child.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise SessionError(
            f"reading ONNX Runtime's kernels: {' '.join(command)} ended with status "
            f"{child.returncode} ({words[0]}); a build with TensorRT needs TensorRT's libraries "
            "on the library path for this"
        )
    result: dict[str, Any] = json.loads(child.stdout)
    return result


def merge(installed: Mapping[str, Any], packaged: Mapping[str, Any]) -> dict[str, Any]:
    """The new table: what is installed, completed from `packaged` where versions agree.

    Raises:
        SessionError: a needed provider is in neither.
    """
    version = installed["version"]
    kept = packaged["providers"] if packaged["version"] == version else {}
    providers = {name: installed["providers"].get(name, kept.get(name)) for name in _PROVIDERS}
    missing = [name for name, table in providers.items() if table is None]
    if missing:
        raise SessionError(
            f"ONNX Runtime {version} is installed without {', '.join(missing)}, and the packaged "
            f"table is of {packaged['version']}; install onnxruntime-gpu {version} and repeat"
        )
    ops = set().union(*providers.values())
    schemas = {op: since for op, since in installed["schemas"].items() if op in ops}
    head = {"runtime": "ONNX Runtime", "version": version, "source": _SOURCE}
    return {**head, "providers": providers, "schemas": schemas}


def render(table: Mapping[str, Any]) -> str:
    """The table as JSON with one operator a line, so that two versions compare line by line."""
    lines = [f' "{name}": {json.dumps(table[name])},' for name in ("runtime", "version", "source")]
    lines.append(' "providers": {')
    blocks = [_block(f'  "{name}"', ops) for name, ops in sorted(table["providers"].items())]
    lines += [",\n".join(blocks), " },", _block(' "schemas"', table["schemas"])]
    return "\n".join(["{", *lines, "}", ""])


def _block(label: str, ops: Mapping[str, Any]) -> str:
    rows = [f'   "{op}": {json.dumps(rows)}' for op, rows in sorted(ops.items())]
    return f"{label}: {{\n" + ",\n".join(rows) + "\n  }"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; prints what was written."""
    parser = argparse.ArgumentParser(prog="python -m halve.plan.refresh_kernels")
    parser.add_argument("--out", type=Path, default=None, help="default: the packaged table")
    out = parser.parse_args(argv).out or Path(str(table_path(ORT_TABLE)))
    packaged = json.loads(table_path(ORT_TABLE).read_text(encoding="utf-8"))
    table = merge(read_installed(), packaged)
    out.write_text(render(table), encoding="utf-8")
    counts = {name: len(ops) for name, ops in table["providers"].items()}
    print(f"{out}: ONNX Runtime {table['version']}, operators with float kernels: {counts}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""onnxsim behind one door: a model's file in, a simplified file out, errors that say where."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from halve.errors import BackendUnavailableError, ModelError, OptionError
from halve.simplify import child

__all__ = ["FUSE_BN", "run_optimizer"]

FUSE_BN = "fuse_bn_into_conv"
"""The pass that `skip_fuse_bn` skips."""


def run_optimizer(
    source: Path, target: Path, *, skipped: Sequence[str] = (), library: Path | None = None
) -> None:
    """Write the simplified form of `source` to `target`, with external data beside it from 1 GB.

    Raises:
        BackendUnavailableError: onnxsim is not installed.
        OptionError: `skipped` names a pass that there is not.
        ModelError: onnxsim cannot simplify the model.
    """
    if not _is_installed():
        raise BackendUnavailableError(
            "a model is simplified by onnxsim, which is not installed; install the extra "
            "halve[simplify]"
        )
    request = {
        "source": str(source.resolve()),
        "target": str(target.resolve()),
        "skipped": list(skipped),
        "library": None if library is None else str(library.resolve()),
    }
    done = subprocess.run(
        # By its path, without halve: it needs nothing of it, and starts the sooner.
        [sys.executable, "-P", child.__file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    answer = done.stdout.partition(child.MARK)[2]
    if done.returncode or not answer:
        raise ModelError(
            f"{source}: onnxsim cannot simplify it ({_reason(done)}); convert it as it is, or skip "
            "the pass that fails"
        )
    found = json.loads(answer)
    if found["unknown"]:
        raise OptionError(
            f"there is no pass {', '.join(map(repr, found['unknown']))}; allowed: "
            f"{', '.join(sorted(found['passes']))}"
        )


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("onnxsim") is not None
    except ValueError:  # it was imported, and taken away again
        return False


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1][:500]

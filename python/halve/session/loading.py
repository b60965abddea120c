"""Whether users can load a written file as they are used to, seen while other work goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["LoadingCheck"]

# It imports ONNX Runtime alone, and before it is told the file: what takes long is done by then.
# Options are ONNX Runtime's own defaults, but for the threads, which a load has no use for.
_CHILD = """
import json, sys
import onnxruntime as ort
library = sys.argv[1]
options = ort.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = 1
if library:
    options.register_custom_ops_library(library)
line = sys.stdin.readline()
if line:
    try:
        ort.InferenceSession(json.loads(line), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        sys.exit(" ".join(str(error).split()))
"""


class LoadingCheck:
    """A child process that loads one written file on the CPU provider, fully optimised.

    A child, because ONNX Runtime's optimiser takes some 16-bit graphs for ones that it can fuse,
    and then refuses them, or ends the process. Providers with 16-bit kernels are not concerned.
    """

    def __init__(self, custom_op_library: Path | None = None) -> None:
        """Start the child, which makes itself ready."""
        # Absolute: ONNX Runtime looks for others beside itself.
        library = "" if custom_op_library is None else str(custom_op_library.resolve())
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, library],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self, path: Path) -> None:
        """Start loading `path`, which must stay until it is told of or closed. Once only."""
        if self._child.stdin is not None:
            try:
                print(json.dumps(str(path.absolute())), file=self._child.stdin, flush=True)
            except BrokenPipeError:
                return  # it has ended; its notes say how

    def notes(self) -> tuple[str, ...]:
        """What there is to say of the file, when that is known: nothing where it loads."""
        _, said = self._child.communicate()
        status = self._child.returncode
        if status == 0:
            return ()
        lines = said.strip().splitlines()
        reason = lines[-1] if status == 1 and lines else f"status {status}"
        return (
            "ONNX Runtime's CPU provider loads the written model only with graph optimisations off"
            f" ({reason})",
        )

    def close(self) -> None:
        """End it where it still goes on."""
        if self._child.returncode is None:
            self._child.kill()
            self._child.communicate()

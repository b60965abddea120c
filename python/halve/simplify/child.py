"""The process that runs onnxsim: a request in JSON on stdin, an answer in JSON behind a mark.

A process of its own, because onnxsim prints, sets environment variables and may end in a crash on
a model that it does not expect. `halve.simplify.optimizer` is its caller.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any

__all__ = ["MARK", "main"]

MARK = "halve-simplify:"
"""What stands before the answer on stdout."""


def main() -> None:
    """Answer one request."""
    # onnxsim has uses for PyTorch, none of them here, and would spend seconds on its import.
    sys.modules["torch"] = None  # type: ignore[assignment]  # which makes its import fail
    request: dict[str, Any] = json.load(sys.stdin)
    passes = _passes() if request["skipped"] else []
    unknown = [name for name in request["skipped"] if name not in passes]
    if not unknown:
        _simplify(request)
    print(MARK + json.dumps({"unknown": unknown, "passes": passes}))


def _passes() -> list[str]:
    """As onnxsim's own program lists them."""
    from onnxsim.onnx_simplifier import main as program

    listed = io.StringIO()
    sys.argv = ["onnxsim", "--list-default-optimizers"]
    with contextlib.redirect_stdout(listed), contextlib.suppress(SystemExit):
        program()
    return listed.getvalue().split()


def _simplify(request: dict[str, Any]) -> None:
    import onnxsim

    onnxsim.simplify(
        request["source"],
        output_path=request["target"],
        skipped_optimizers=request["skipped"],
        custom_lib=request["library"],
        external_data_threshold="1GB",
        certify=False,
    )


if __name__ == "__main__":
    main()

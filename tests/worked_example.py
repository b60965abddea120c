"""Two adjacent nodes overflow: the example of docs/tutorial.md, made by its own code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


def make_worked_example(folder: Path) -> None:
    """Run the tutorial's Python code in a folder: worked.onnx and samples/."""
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text("utf-8"), re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)

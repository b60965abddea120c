"""Two adjacent nodes overflow: the example of docs/tutorial.md, made by its own code, and a smaller
one in memory.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx import ModelProto, numpy_helper

from onnx_text import parse

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
WORKED = """g (float[1, 16] x) => (float[1, 16] y)
<float up = {300.0}, float down = {0.00001}> {
    [first] a = MatMul(x, w)
    [scaled] b = Mul(a, up)
    [square] c = Mul(b, b)
    [back] d = Mul(c, down)
    [last] y = Tanh(d)
}"""


def make_worked_example(folder: Path) -> None:
    """Run the tutorial's Python code in a folder: worked.onnx and samples/."""
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text("utf-8"), re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def worked_example() -> ModelProto:
    model = parse(WORKED)
    weight = np.random.default_rng(5).standard_normal((16, 16)).astype(np.float32) / 4
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model

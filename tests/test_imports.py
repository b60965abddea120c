"""Layers import one way, and what only one layer may import is imported nowhere else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import halve

PACKAGE = Path(halve.__file__).parent

# What each layer may import of the others. A layer is a module or a package below `halve`.
LEAVES = {
    "bench_types",
    "comparisons",
    "errors",
    "field_types",
    "files",
    "manual_options",
    "manual_types",
    "options",
    "packing",
    "plans",
    "search_options",
    "search_types",
    "types",
}
ALLOWED = {
    "errors": set(),
    "field_types": {"errors"},
    "files": {"errors"},
    "packing": set(),
    "plans": {"errors", "files"},
    "types": {"plans"},
    "options": {"errors", "field_types", "types"},
    "bench_types": {"errors", "field_types"},
    "search_options": {"errors", "field_types", "options", "search_types"},
    "search_types": {"errors", "field_types", "plans", "types"},
    "comparisons": {"errors", "field_types", "search_types", "types"},
    "manual_types": {"plans", "types"},
    "manual_options": {"errors", "field_types", "options", "search_types", "manual_types"},
    "_native": LEAVES,
    "ahead": LEAVES | {"_native"},
    "source": LEAVES | {"_native"},
    "plan": LEAVES | {"_native", "source"},
    "rewrite": LEAVES | {"_native", "source", "plan"},
    "cast": LEAVES | {"_native", "source", "plan", "rewrite"},
    "compare": LEAVES | {"_native"},
    "write": LEAVES | {"_native", "ahead", "source", "plan", "rewrite", "cast"},
    "convert": LEAVES | {"_native", "ahead", "source", "plan", "rewrite", "cast", "write"},
    "conversion": LEAVES | {"ahead", "convert", "session", "simplify"},
    "simplify": LEAVES | {"compare", "convert", "plan", "session", "source", "write"},
    "session": LEAVES | {"_native", "source", "compare"},
    "stats": LEAVES | {"_native", "session", "compare", "source"},
    "manual_workspace": LEAVES | {"auto", "session"},
    "measure": LEAVES
    | {"auto", "manual_workspace", "manual_simplified", "simplify"}
    | {"source", "plan", "write", "convert", "session", "stats"},
    "manual_simplified": LEAVES | {"simplify"},
    "search": LEAVES | {"session", "compare", "plan", "source"},
    "bench": LEAVES | {"source", "plan", "session"},
    "from_torch": LEAVES | {"conversion"},
    "candidates": LEAVES | {"source", "plan", "write", "convert"},
    "mix_precision": LEAVES | {"session", "auto", "conversion", "source", "report"},
    "auto_mixed_precision": LEAVES | {"session", "auto", "float16", "report"},
    "auto": LEAVES
    | {"simplify", "candidates", "source", "plan", "write", "convert", "session", "search"}
    | {"compare"},
    "report": {
        "bench_types",
        "comparisons",
        "errors",
        "files",
        "manual_types",
        "search_types",
        "types",
    },
    "float16": LEAVES | {"_native", "source", "plan", "cast", "write", "convert", "conversion"},
    "cli": LEAVES
    | {
        "_native",
        "ahead",
        "source",
        "plan",
        "convert",
        "conversion",
        "session",
        "report",
        "auto",
        "measure",
        "manual_workspace",
        "mix_precision",
        "bench",
        "simplify",
        "__init__",
    },
    "__main__": {"cli"},
    "__init__": LEAVES
    | {"conversion", "cast", "compare", "auto", "session", "from_torch", "bench", "simplify"}
    | {"measure"},
}
# The only layer that may import an outside package, or a compiled module.
OWNERS = {
    "onnxruntime": "session",
    "halve._core": "_native",
    "halve._cuda": "_native",
    "torch": "from_torch",
    "onnxscript": "from_torch",
    "matplotlib": "report",
    "onnxsim": "simplify",
}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(path: Path) -> list[str]:
    """Full names of what a file imports, anywhere in it; `from halve import x` is `halve.x`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names += [f"{module}.{a.name}" for a in node.names] if module == "halve" else [module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names += [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    return names


def target_layer(name: str) -> str | None:
    """The layer that an imported name belongs to; None outside halve."""
    parts = name.split(".")
    if parts[0] != "halve":
        return None
    return parts[1] if len(parts) > 1 and is_layer(parts[1]) else "__init__"


def is_layer(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_layer_has_a_rule() -> None:
    assert {layer_of(path) for path in FILES} <= ALLOWED.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    layer = layer_of(path)
    allowed = ALLOWED[layer] | {layer}
    targets = {name: target_layer(name) for name in imported_modules(path)}
    compiled = OWNERS.keys()
    wrong = [n for n, t in targets.items() if t and n not in compiled and t not in allowed]
    assert not wrong, f"{layer} may import {sorted(allowed)} of halve"


@pytest.mark.parametrize("owned", OWNERS)
def test_one_owner(owned: str) -> None:
    importers = {
        layer_of(path)
        for path in FILES
        for name in imported_modules(path)
        if name == owned or name.startswith(f"{owned}.")
    }
    assert importers <= {OWNERS[owned]}


def test_pybind11_only_in_bindings() -> None:
    sources = PACKAGE.parents[1] / "csrc"
    if not sources.is_dir():  # an installed package, tested from the source tree
        sources = Path(__file__).parents[1] / "csrc"
    files = [p for p in sources.rglob("*") if p.suffix in (".cc", ".h", ".cu")]
    assert files
    users = {p.parent.name for p in files if "pybind11" in p.read_text("utf-8")}
    assert users == {"bindings"}


def test_the_reader_sees_every_form(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "import a.b\nfrom halve import plan\nfrom halve.source.open import y\n"
        "def f():\n    import onnxruntime as ort\n    importlib.import_module('halve._cuda')\n",
        "utf-8",
    )
    assert sorted(imported_modules(file)) == [
        "a.b",
        "halve._cuda",
        "halve.plan",
        "halve.source.open",
        "onnxruntime",
    ]
    assert target_layer("halve.plan") == "plan"
    assert target_layer("halve.__version__") == "__init__"
    assert target_layer("onnx") is None


def test_weights_are_cast_ahead_before_numpy_is_imported() -> None:
    """Importing numpy takes longer than many a model's weights."""
    code = "import halve.ahead, sys; sys.exit(bool({'numpy', 'onnx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

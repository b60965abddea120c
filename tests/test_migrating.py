"""docs/migrating.md names every option of the tools that are installed here, and only real ones."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from halve import ConvertOptions, auto_mixed_precision, float16

PAGE = Path(__file__).parents[1] / "docs" / "migrating.md"
FUNCTIONS = (
    ("onnxconverter_common.float16", "convert_float_to_float16"),
    ("onnxconverter_common.auto_mixed_precision", "auto_convert_mixed_precision"),
    (
        "onnxconverter_common.auto_mixed_precision_model_path",
        "auto_convert_mixed_precision_model_path",
    ),
    ("onnxruntime.transformers.float16", "convert_float_to_float16"),
    ("modelopt.onnx.autocast", "convert_to_mixed_precision"),
    ("modelopt.onnx.autocast", "convert_to_f16"),
    ("onnxmltools.utils", "load_model"),
    ("onnxmltools.utils", "save_model"),
    ("onnxmltools.utils", "set_model_doc_string"),
)
# Heading of each tool, up to the next one.
SECTIONS = {
    "onnxconverter_common": "## onnxconverter-common",
    "onnxruntime": "## ONNX Runtime's",
    "modelopt": "## ModelOpt AutoCast",
    "onnxmltools": "## onnxmltools",
}
# What each calls a model and a path differs from what the page calls them.
PLAIN = {"file_path", "model"}


def section(module: str) -> str:
    start = PAGE.read_text("utf-8").split(SECTIONS[module.partition(".")[0]])[1]
    return start.partition("\n## ")[0]


def imported(module: str) -> ModuleType:
    """The module, where its package is installed and works; its warnings are its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{module} cannot be imported here: {str(error).splitlines()[0]}")


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_every_option_is_named(module: str, function: str) -> None:
    text = section(module)
    signature = inspect.signature(getattr(imported(module), function))
    names = signature.parameters.keys() - PLAIN
    missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
    assert not missing
    assert f"{function}(" in text


def test_options_that_it_offers_exist() -> None:
    fields = {field.name for field in dataclasses.fields(ConvertOptions)}
    offered = re.findall(r"ConvertOptions\((\w+)=", PAGE.read_text("utf-8"))
    offered += ["min_positive", "max_finite", "op_block", "node_block", "fp32_nodes", "plan"]
    assert set(offered) <= fields
    named = set(re.findall(r"`halve\.float16\.(\w+)\(", PAGE.read_text("utf-8")))
    assert named == {name for name in float16.__all__ if name.startswith("convert_")} - {
        "convert_float_to_float16_model_path", "convert_np_to_float16",
    }  # fmt: skip


def test_the_search_is_offered_under_its_own_names() -> None:
    named = set(re.findall(r"`halve\.auto_mixed_precision\.(\w+)\(", PAGE.read_text("utf-8")))
    assert named == set(auto_mixed_precision.__all__)

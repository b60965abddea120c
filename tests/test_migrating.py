"""docs/migrating.md names every option of the tools that are installed here, and only real ones."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

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
)
# Heading of each tool, up to the next one.
SECTIONS = {
    "onnxconverter_common": "## onnxconverter-common",
    "onnxruntime": "## ONNX Runtime's",
}


def section(module: str) -> str:
    start = PAGE.read_text("utf-8").split(SECTIONS[module.partition(".")[0]])[1]
    return start.partition("\n## ")[0]


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_every_option_is_named(module: str, function: str) -> None:
    text = section(module)
    signature = inspect.signature(getattr(importlib.import_module(module), function))
    missing = [name for name in signature.parameters if not re.search(rf"\b{name}\b", text)]
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

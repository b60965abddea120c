"""Records of options take values of their fields' types, and say so of others."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halve
from halve import HalveError, OptionError
from halve.comparisons import CompareOptions

RECORDS = (
    halve.BenchOptions,
    CompareOptions,
    halve.ConvertOptions,
    halve.ManualOptions,
    halve.OutputTolerance,
    halve.SearchOptions,
    halve.SimplifyOptions,
    halve.Tolerances,
)
VALUES = (
    None, True, 5, -1, 10**30, 1.5, math.nan, "x", b"x", (), (1,), ("a",), [], {}, {"a": 1},
    object(), np.array([1, 2]), np.float32(0.5), np.int64(3), Path("x"), len,
)  # fmt: skip


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_raises_anything_else(record: Any) -> None:
    refused = []
    for field in fields(record):
        for value in VALUES:
            try:
                record(**{field.name: value})
            except HalveError as error:
                refused.append((field.name, str(error)))
    assert len(refused) > 5 * len(fields(record))
    assert all(name in words or "allowed" in words for name, words in refused)


@pytest.mark.parametrize(
    ("record", "given", "kept"),
    [
        (halve.ConvertOptions, {"op_block": ["Softmax"]}, ("Softmax",)),
        (halve.ConvertOptions, {"keep_io_types": ["logits"]}, ("logits",)),
        (halve.ConvertOptions, {"fp32_nodes": np.arange(2)}, (0, 1)),
        (halve.ConvertOptions, {"plan": "plan.json"}, Path("plan.json")),
        (halve.ConvertOptions, {"threads": np.int32(2)}, 2),
        (halve.ConvertOptions, {"min_positive": 0}, 0.0),
        (halve.SearchOptions, {"margin": np.float32(0.5)}, 0.5),
        (halve.SearchOptions, {"workspace": "w"}, Path("w")),
        (halve.SearchOptions, {"feedback": [["out", "in"]]}, (("out", "in"),)),
        (halve.ManualOptions, {"op_id_filter": {3}}, (3,)),
    ],
)
def test_what_stands_for_a_type(record: Any, given: dict[str, Any], kept: Any) -> None:
    (name,) = given
    found = getattr(record(**given), name)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("record", "given", "words"),
    [
        (halve.ConvertOptions, {"half_weights": 1}, "half_weights is 1; allowed: True or False"),
        (halve.ConvertOptions, {"plan": 5}, "plan is 5; allowed: a pathlib.Path or None"),
        (halve.SearchOptions, {"feedback": ("a",)}, "allowed: a tuple of pairs of strings"),
        (halve.SearchOptions, {"feedback": (("a", "b", "c"),)}, "allowed: a tuple of pairs of"),
        (halve.ConvertOptions, {"threads": True}, "threads is True; allowed: a whole number"),
        (halve.SearchOptions, {"validate": "m:f"}, "validate is 'm:f'; allowed: a function or"),
        (halve.SearchOptions, {"provider_options": ["a"]}, "allowed: a mapping"),
        (halve.Tolerances, {"outputs": {"y": 1e-3}}, "tolerance of output 'y' is 0.001; allowed"),
    ],
)
def test_what_is_said_of_another_type(record: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        record(**given)

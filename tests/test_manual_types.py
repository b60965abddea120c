"""Records of manual mode: shares, merging, local against inherited error; and its options."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from halve.errors import OptionError
from halve.manual_options import ManualOptions
from halve.manual_types import (
    ModelOutput,
    NodeStatistics,
    OutputBlock,
    OutputStatistics,
    RunStatistics,
    SampleStatistics,
    merge_comparisons,
)
from halve.types import Comparison

RUN = RunStatistics(8, nan=1, inf=1, ge=2, le=4, clip=1, minimum=-3.0, maximum=2.0, runs=1)


def test_shares_are_of_all_elements() -> None:
    assert (RUN.ge_ratio, RUN.le_ratio, RUN.clip_ratio) == (0.25, 0.5, 0.125)
    assert RUN.check_nan
    assert RUN.max_abs == 3.0


def test_nothing_has_no_shares() -> None:
    empty = RunStatistics()
    assert (empty.ge_ratio, empty.le_ratio, empty.clip_ratio, empty.max_abs) == (0, 0, 0, 0)
    assert not empty.check_nan


def test_merged_runs_add_up() -> None:
    other = RunStatistics(2, clip=2, inherited=1, minimum=-1.0, maximum=9.0, runs=3)
    both = RUN.merged(other)
    assert (both.elements, both.clip, both.inherited, both.runs) == (10, 3, 1, 4)
    assert (both.minimum, both.maximum) == (-3.0, 9.0)


def compared(error: float, *, norm: float = 10.0, worst: int = 0) -> Comparison:
    return Comparison(
        4, max_abs_error=error, max_abs_index=worst, sum_aa=norm, sum_bb=norm**2, sum_ee=error**2
    )


def test_merged_comparisons_keep_the_worst_element() -> None:
    both = merge_comparisons(compared(1.0, worst=7), compared(2.0, worst=3))
    assert both is not None
    assert (both.elements, both.max_abs_error, both.max_abs_index) == (8, 2.0, 3)
    assert both.sum_ee == 5.0
    assert merge_comparisons(None, compared(1.0)) == compared(1.0)
    assert merge_comparisons(None, None) is None


def test_inherited_error_is_what_the_node_did_not_make() -> None:
    output = OutputStatistics(0, "y", "float16", total=compared(5.0), local=compared(3.0))
    assert (output.total_error, output.local_error) == (0.5, 0.3)
    assert output.inherited_error == pytest.approx(0.4)
    assert replace(output, local=compared(7.0)).inherited_error == 0.0
    assert replace(output, local=None).inherited_error == 0.5


def test_an_overflow_is_inherited_unless_the_node_makes_it() -> None:
    broken = Comparison(4, sum_ee=math.inf)
    output = OutputStatistics(0, "y", "float16", total=broken, local=compared(0.1))
    assert output.inherited_error == math.inf
    assert replace(output, local=broken).inherited_error == 0.0


def test_head_room() -> None:
    output = OutputStatistics(0, "y", "float16", fp32=RunStatistics(1, minimum=-2.0, maximum=1.0))
    assert output.head_room(65504.0) == 32752.0
    assert replace(output, fp32=RunStatistics(1, minimum=0.0, maximum=0.0)).head_room(1.0) is None
    assert replace(output, fp32=None).head_room(1.0) is None


def test_a_node_is_over_the_limit_where_any_output_clips() -> None:
    fine = OutputStatistics(0, "a", "float16", fp16=RunStatistics(4))
    over = OutputStatistics(1, "b", "float16", fp16=RunStatistics(4, clip=1), local=compared(1.0))
    node = NodeStatistics(3, "n", "Split", "", "float16", (fine, over))
    assert node.over_limit
    assert node.local_error == 0.1
    assert not replace(node, outputs=(fine,)).over_limit


def test_golden_outputs_decide_where_there_are_any() -> None:
    good, bad = OutputBlock(True, True, 0.5, 1, 1, 0), OutputBlock(False, False, 2.0, 1, 1, 1)
    assert SampleStatistics(0, (), (ModelOutput("y", None, None, good),)).passed
    assert not SampleStatistics(0, (), (ModelOutput("y", bad, good, good),)).passed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "fast"}, "allowed: calc, raw"),
        ({"le_value_thres": math.nan}, "le_value_thres"),
        ({"ge_value_thres": -1.0}, "0 or more"),
        ({"threads": 0}, "threads"),
        ({"op_id_filter": (1,), "op_type_bypass": ("Add",)}, "exclude each other"),
        ({"op_id_filter": ("Add",)}, "allowed: a tuple of whole numbers"),
        ({"op_id_bypass": (True,)}, "allowed: a tuple of whole numbers"),
        ({"op_type_filter": "Add"}, "allowed: a tuple of strings"),
        ({"op_type_filter": ()}, "is empty"),
    ],
)
def test_options_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ManualOptions(**fields)


def test_mode_ignores_case() -> None:
    assert ManualOptions(mode="RAW").mode == "raw"


def test_the_filter_in_force() -> None:
    assert ManualOptions().filters == {}
    assert ManualOptions(op_id_bypass=(3, 1)).filters == {"op_id_bypass": (3, 1)}

"""Manual mode's lines and table: what matters first, as many rows as asked for, by any key."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from halve.errors import OptionError
from halve.report.manual_rows import (
    DEFAULT_SORT,
    SORT_KEYS,
    ManualRow,
    local_error,
    manual_rows,
)
from halve.report.manual_text import DEFAULT_TOP, manual_lines, print_manual_report, share_text
from manual_report_cases import OVERFLOWS, make_manual_report


def rows(sort: str = DEFAULT_SORT, nodes: int = 40) -> tuple[ManualRow, ...]:
    report = make_manual_report(nodes)
    return manual_rows(report.merged, limit=report.limit, sort=sort)


def test_overflow_comes_first_then_local_error() -> None:
    found = rows()
    assert found[0].node.id == OVERFLOWS
    assert [row.over_limit for row in found] == [True] + [False] * (len(found) - 1)
    errors = [row.local_error for row in found[1:]]
    assert errors == sorted((e for e in errors if e is not None), reverse=True)


@pytest.mark.parametrize(
    ("sort", "value", "falling"),
    [
        ("local", lambda row: row.local_error, True),
        ("inherited", lambda row: row.inherited_error, True),
        ("total", lambda row: row.total_error, True),
        ("clip", lambda row: row.clip_ratio, True),
        ("nonfinite", lambda row: row.nonfinite, True),
        ("max", lambda row: row.max_abs, True),
        ("head-room", lambda row: row.head_room, False),
        ("id", lambda row: row.node.id, False),
    ],
)
def test_every_key(sort: str, value: object, falling: bool) -> None:
    assert callable(value)
    found = [value(row) for row in rows(sort)]
    assert found == sorted(found, reverse=falling)


def test_the_keys_are_named() -> None:
    assert set(SORT_KEYS) == {
        "overflow", "local", "inherited", "total", "clip", "nonfinite", "max", "head-room", "id",
    }  # fmt: skip
    with pytest.raises(OptionError, match="sort is 'x'; allowed: overflow, local, inherited"):
        rows("x")


def test_what_is_not_known_comes_last() -> None:
    report = make_manual_report(5)
    first, *others = report.merged.nodes
    bare = replace(first, outputs=(replace(first.outputs[0], fp32=None, local=None, total=None),))
    merged = replace(report.merged, nodes=(bare, *others))
    for sort in ("local", "total", "inherited", "max", "head-room"):
        last = manual_rows(merged, limit=65504.0, sort=sort)[-1]
        assert (last.node.id, last.local_error, last.head_room) == (0, None, None)


def test_lines_of_a_pipe() -> None:
    lines = manual_lines(make_manual_report(8), source="m.onnx", top=2)
    assert lines[0] == "model      m.onnx, emulated"
    assert lines[1] == "verdict    FAILED: 0 of 2 samples within tolerance"
    assert lines[3] == "over limit 1: 4 MatMul '/layer4/MatMul'"
    assert "'scores' FAILED against float32: not finite of the tolerance, 8 of 8" in lines[4]
    assert lines[5] == "note       the samples were random (seed 0)"
    tensors = [line for line in lines if line.startswith("tensor")]
    assert len(tensors) == 2
    assert (
        "4 MatMul '/layer4/MatMul' -> 't4' (float16): OVER LIMIT 3.12%, local error" in tensors[0]
    )
    assert "2 NaN or infinite" in tensors[0]


@pytest.mark.parametrize(("top", "shown"), [(0, 0), (3, 3), (DEFAULT_TOP, DEFAULT_TOP)])
def test_as_many_rows_as_asked_for(top: int, shown: int) -> None:
    lines = manual_lines(make_manual_report(60), top=top)
    assert sum(line.startswith("tensor") for line in lines) == shown


def test_a_negative_top_is_refused() -> None:
    with pytest.raises(OptionError, match="top is -1; allowed: 0 or more"):
        manual_lines(make_manual_report(), top=-1)


def test_nodes_that_were_not_measured_are_named() -> None:
    report = make_manual_report(8)
    first = replace(report.merged.nodes[0], outputs=(), unmeasured="its branch did not run")
    merged = replace(report.merged, nodes=(first, *report.merged.nodes[1:]))
    lines = manual_lines(replace(report, merged=merged))
    assert "unmeasured 1 nodes, the first 0 Conv '/layer0/Conv': its branch did not run" in lines


def test_the_table_of_a_terminal() -> None:
    shown = io.StringIO()
    print_manual_report(
        make_manual_report(40), Console(file=shown, width=160), source="m.onnx", top=5, sort="local"
    )
    text = shown.getvalue()
    assert "tensors: 5 of 34, sorted by local" in text
    assert "/layer4/MatMul" in text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (1.0, "100%"), (1e-9, "<0.01%"), (0.03125, "3.12%"), (0.999999, ">99.99%")],
)
def test_shares(share: float, text: str) -> None:
    assert share_text(share) == text


def test_an_infinite_error_is_above_any_number() -> None:
    found = [row.total_error for row in rows("total", nodes=14)]
    assert found[0] == math.inf


def test_a_local_error_behind_an_overflow_cannot_be_told() -> None:
    report = make_manual_report(14)
    hidden = next(node for node in report.merged.nodes if node.id == 9)
    output = replace(hidden.outputs[0], local=hidden.outputs[0].total)
    assert math.isinf(output.local_error)
    assert local_error(output, local="output") is None
    assert local_error(output, local="exact") == math.inf
    over = next(node for node in report.merged.nodes if node.id == OVERFLOWS)
    assert local_error(over.outputs[0], local="output") == math.inf


def test_of_many_outputs_the_worst_are_named() -> None:
    report = make_manual_report(passed=True)
    (row,) = report.merged.model_outputs
    rows = tuple(
        replace(row, name=f"o{n}", fp16_fp32=replace(row.fp16_fp32, error=n / 40, passed=n < 38))
        for n in range(40)
    )
    report = replace(report, merged=replace(report.merged, model_outputs=rows))
    lines = [line for line in manual_lines(report) if line.startswith("output")]
    assert len(lines) == 13
    assert lines[0].startswith("output     'o39' FAILED")
    assert lines[2].startswith("output     'o37' passed")
    assert lines[-1] == "output     28 more: 0 failed, 28 passed"


def test_hidden_nodes_may_overflow() -> None:
    report = make_manual_report()
    shown = tuple(node for node in report.merged.nodes if node.id != OVERFLOWS)
    report = replace(report, merged=replace(report.merged, nodes=shown))
    assert "over limit no node that is shown originates an overflow" in manual_lines(report)

"""The record of a conversion: its JSON, its schema, its lines and its file."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from halve.errors import OutputError
from halve.report import ConversionReport, summary_lines, write_json
from halve.report.record import dtype_name, merge_counts
from halve.report.terminal import print_report
from halve.types import (
    CastCounts,
    CastRow,
    ConvertResult,
    Plan,
    PlanNode,
    TensorRow,
    WriteSummary,
)

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"

COUNTS = CastCounts(
    elements=6, raised=1, lowered=2, flushed=1, max_abs=7e4, max_abs_error=4496.0, max_rel_error=0.5
)
NODES = (
    PlanNode(0, "a", "Conv", "", "k0", "float16"),
    PlanNode(1, "b", "Softmax", "", "k1", "float32", reason="blocked by type"),
    PlanNode(2, "c", "Shape", "", "k2", ""),
)
ROWS = (
    TensorRow("w", 1, 10, (2, 3), 24, 12, "out.onnx.data", 0, COUNTS),
    TensorRow("n", 7, 7, (1,), 8, 8, "out.onnx.data", 12, CastCounts()),
)


def make_result() -> ConvertResult:
    return ConvertResult(
        target=Path("folder/out.onnx"),
        model=None,
        plan=Plan("d1", {"dtype": "float16", "max_finite": float("inf")}, NODES),
        summary=WriteSummary(
            (Path("folder/out.onnx"), Path("folder/out.onnx.data")), ROWS, 40, 60, ("second",)
        ),
        casts=(CastRow("cast_1", "x", "x_fp16", 10, "", "read by a float16 node"),),
        cast_lower_bound=1,
        source_nbytes=100,
        identity=False,
        warnings=("first", "second"),
        elapsed_s=0.25,
    )


@pytest.fixture
def report() -> ConversionReport:
    return ConversionReport.of(make_result(), halve_version="1.2.3", source=Path("in.onnx"))


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_json_follows_the_schema(report: ConversionReport) -> None:
    text = json.dumps(report.as_json(), allow_nan=False)
    validator().validate(json.loads(text))


@pytest.mark.parametrize("path", [("schema_version",), ("tensors", 0, "counts", "raised")])
def test_schema_notices_a_wrong_value(
    report: ConversionReport, path: tuple[str | int, ...]
) -> None:
    record = json.loads(json.dumps(report.as_json()))
    place = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = -1
    assert not validator().is_valid(record)


def test_schema_names_every_field(report: ConversionReport) -> None:
    record = json.loads(json.dumps(report.as_json()))
    assert not validator().is_valid({**record, "more": 1})
    for name in record:
        assert not validator().is_valid({key: record[key] for key in record if key != name})


def test_json_has_a_row_a_tensor_and_a_row_a_cast(report: ConversionReport) -> None:
    record = json.loads(json.dumps(report.as_json()))
    tensors = record["tensors"]
    assert [(row["name"], row["source_dtype"], row["dtype"]) for row in tensors] == [
        ("w", "float", "float16"),
        ("n", "int64", "int64"),
    ]
    assert tensors[0]["counts"]["max_abs_error"] == 4496.0
    assert record["casts"]["rows"][0]["to"] == "float16"
    assert (record["casts"]["count"], record["casts"]["lower_bound"]) == (1, 1)
    assert record["nodes"]["kept_float32"] == [
        {"id": 1, "name": "b", "type": "Softmax", "scope": "", "reason": "blocked by type"}
    ]
    assert record["options"] == {"dtype": "float16", "max_finite": "inf"}
    assert record["source"] == {"path": "in.onnx", "digest": "d1", "nbytes": 100}


def test_each_warning_once_in_order(report: ConversionReport) -> None:
    assert report.warnings == ("first", "second")


def test_summary_lines(report: ConversionReport) -> None:
    assert summary_lines(report) == [
        "model     in.onnx -> folder/out.onnx",
        "size      100 -> 60 bytes (60.0%)",
        "nodes     1 float16, 1 float32, 1 without float operands",
        "tensors   1 cast to float16, 1 copied",
        "casts     1 inserted (lower bound 1)",
        "values    6 cast: 1 raised to the minimum, 2 lowered to the maximum, "
        "1 flushed to zero, 0 subnormal, 0 overflowed, 0 NaN, 0 infinite",
        "max error 4.5e+03 in 'w' (largest magnitude 7e+04)",
    ]


def test_a_name_of_any_length_leaves_a_line(report: ConversionReport) -> None:
    rows = tuple(replace(row, name=row.name + "q" * 70_000) for row in report.tensors)
    long = replace(report, tensors=rows)
    assert max(map(len, summary_lines(long))) < 300
    console = Console(file=io.StringIO(), width=120)
    print_report(long, console)
    assert len(console.file.getvalue()) < 10_000  # type: ignore[attr-defined]


def test_summary_of_an_identity(report: ConversionReport) -> None:
    lines = summary_lines(replace(report, identity=True, tensors=(), casts=()))
    assert lines[1] == "size      60 bytes, nothing to convert: the output equals the input"
    assert lines[-1] == "max error 0"


def test_terminal_table_shows_cast_tensors_only(report: ConversionReport) -> None:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=120))
    table = stream.getvalue().split("largest errors")[1]
    assert "1 of 1 cast tensors" in table
    assert "4.5e+03" in table
    assert " n " not in table


def test_terminal_table_takes_names_with_markup(report: ConversionReport) -> None:
    row = replace(ROWS[0], name="[/red]w[bold]")
    stream = io.StringIO()
    print_report(replace(report, tensors=(row,)), Console(file=stream, width=120))
    assert "[/red]w[bold]" in stream.getvalue().split("largest errors")[1]


def test_merge_adds_counts_and_keeps_maxima() -> None:
    merged = merge_counts([COUNTS, replace(COUNTS, max_abs=1.0, max_rel_error=0.75)])
    assert merged == CastCounts(
        elements=12,
        raised=2,
        lowered=4,
        flushed=2,
        max_abs=7e4,
        max_abs_error=4496.0,
        max_rel_error=0.75,
    )
    assert merge_counts([]) == CastCounts()


def test_dtype_names() -> None:
    assert [dtype_name(code) for code in (1, 10, 16, 99)] == [
        "float",
        "float16",
        "bfloat16",
        "dtype 99",
    ]


def test_write_json_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old", "utf-8")
    write_json(path, {"a": 1})
    assert json.loads(path.read_text("utf-8")) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["r.json"]


def test_write_json_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written: No such file"):
        write_json(tmp_path / "none" / "r.json", {})


def test_write_json_onto_a_folder_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(tmp_path / "r.json", {})
    assert [item.name for item in tmp_path.iterdir()] == ["r.json"]

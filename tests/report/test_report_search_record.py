"""The record of a search: its JSON against its schema, the order of reasons, lines and table."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from auto_report_cases import make_borders, make_report
from halve.report.ranges import ranges
from halve.report.search_record import AutoReport
from halve.report.search_text import (
    auto_summary_lines,
    number_text,
    print_auto_report,
    unit_error_text,
)
from halve.search_types import FinalVerdict, OutputTrial, SampleVerdict

SCHEMA = Path(__file__).parents[2] / "docs" / "auto.schema.json"


@pytest.fixture
def report() -> AutoReport:
    return make_report()


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def as_read(report: AutoReport) -> dict[str, object]:
    record: dict[str, object] = json.loads(json.dumps(report.as_json(), allow_nan=False))
    return record


@pytest.mark.parametrize("nodes", [3, 40, 500])
@pytest.mark.parametrize("trials", [True, False])
def test_json_follows_the_schema(nodes: int, trials: bool) -> None:
    validator().validate(as_read(make_report(nodes, trials=trials)))


def test_schema_names_every_field(report: AutoReport) -> None:
    record = as_read(report)
    assert not validator().is_valid({**record, "more": 1})
    for name in record:
        assert not validator().is_valid({key: record[key] for key in record if key != name})


@pytest.mark.parametrize(
    "path",
    [
        ("schema_version",),
        ("verified", "level"),
        ("model_outputs", 0, "scores", "error"),
        ("trials", 0, "phase"),
        ("evidence", 0, "role"),
        ("units", 0, "cost"),
        ("casts", "borders", 0, "headroom"),
    ],
)
def test_schema_notices_a_wrong_value(report: AutoReport, path: tuple[str | int, ...]) -> None:
    record = as_read(report)
    place: object = record
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]  # JSON: a list or an object at every step
    place[path[-1]] = "other"  # type: ignore[index]
    assert not validator().is_valid(record)


def test_equal_records_give_equal_bytes() -> None:
    first, second = (json.dumps(make_report(200).as_json()) for _ in range(2))
    assert first == second


def test_ids_of_the_search_are_told_apart(report: AutoReport) -> None:
    record = as_read(report)
    assert record["fp32_nodes"] == sorted([*report.search.required, *report.search.carried])
    assert record["required"] == list(report.search.required)
    assert record["carried"] == list(report.search.carried)
    by_rule = [row["id"] for row in record["kept_float32"] if row["role"] == "rule"]  # type: ignore[attr-defined]
    assert by_rule == [38]
    assert not {38} & set(record["fp32_nodes"])  # type: ignore[call-overload]


def test_ids_that_the_user_gave_are_among_them(report: AutoReport) -> None:
    given = replace(report, search=replace(report.search, given=(38,)))
    assert given.as_json()["fp32_nodes"] == sorted([*report.fp32_nodes, 38])
    assert [row.role for row in given.kept if row.node.id == 38] == ["given"]


def test_kept_nodes_by_role_and_then_by_error(report: AutoReport) -> None:
    kept = report.kept
    assert [row.role for row in kept] == ["required"] * 4 + ["carried", "rule"]
    energies = [row.energy for row in kept if row.role == "required"]
    assert energies == sorted(energies, key=lambda energy: -(energy or 0))
    assert math.isinf(energies[0] or 0)


def test_a_kept_node_without_evidence_is_listed(report: AutoReport) -> None:
    search = replace(report.search, evidence=())
    roles = [row.role for row in replace(report, search=search).kept]
    assert roles == ["required"] * 4 + ["carried", "rule"]


def test_each_kept_node_once(report: AutoReport) -> None:
    search = replace(report.search, evidence=report.search.evidence * 2)
    assert replace(report, search=search).kept == report.kept


def test_warnings_once(report: AutoReport) -> None:
    assert report.warnings == ("a constant mask was clamped",)


def test_an_infinite_error_is_a_word(report: AutoReport) -> None:
    outputs = (OutputTrial("scores", False, math.inf, math.nan),)
    verdict = FinalVerdict("emulated", False, (SampleVerdict(0, False, False, outputs),))
    failed = replace(report, search=replace(report.search, verdict=verdict))
    record = as_read(failed)
    validator().validate(record)
    assert record["model_outputs"] == [
        {"scores": {"passed": False, "error": "inf", "energy": "nan", "comparison": None}}
    ]
    assert "FAILED, emulated" in "\n".join(auto_summary_lines(failed))


def test_without_tolerances_no_error_is_told(report: AutoReport) -> None:
    verdict = replace(report.search.verdict, by_tolerance=False)
    told = replace(report, search=replace(report.search, verdict=verdict))
    record = as_read(told)
    validator().validate(record)
    assert {output["error"] for row in record["model_outputs"] for output in row.values()} == {None}
    (line,) = [line for line in auto_summary_lines(told) if line.startswith("samples")]
    assert line.endswith(
        "4 of 4 passed, 1 held out from the search; by the validate function alone"
    )


def test_ranges() -> None:
    assert ranges((5, 1, 2, 3, 9)) == [[1, 3], [5, 5], [9, 9]]
    assert ranges(()) == []


def test_summary_lines(report: AutoReport) -> None:
    runs = report.search.runs
    assert auto_summary_lines(report) == [
        "model      in.onnx -> folder/out.onnx",
        "verdict    passed, emulated",
        "samples    4 of 4 passed, 1 held out from the search; worst error 0.62 of the tolerance",
        "float32    6 of 32 nodes: 4 required, 1 carried, 1 by the plan's rules; "
        "3.10% of the floating-point operations",
        "causes     2 overflow, 1 underflow, 1 error budget, 1 cast cost",
        "size       4,000,000 -> 2,100,000 bytes (52.5%)",
        "casts      3 inserted (lower bound 3)",
        "head-room  1.26x at the tightest border, 'squares'",
        f"trials     {len(report.search.trials)} ({runs} runs) with the evaluator 'probe'",
    ]


def test_bytes_of_casts_only_where_all_are_known(report: AutoReport) -> None:
    measured = tuple(replace(row, nbytes=100) for row in make_borders())
    assert report.cast_bytes is None
    assert replace(report, borders=measured).cast_bytes == 300
    lines = auto_summary_lines(replace(report, borders=measured))
    assert "casts      3 inserted (lower bound 3), 300 bytes moved by them in a run" in lines


def test_a_search_ended_by_its_budget_says_so(report: AutoReport) -> None:
    early = replace(report, search=replace(report.search, complete=False))
    assert "ended early" in auto_summary_lines(early)[1]


def test_terminal_table_has_each_reason(report: AutoReport) -> None:
    console = Console(file=io.StringIO(), width=160)
    print_auto_report(report, console)
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for row in report.search.evidence:
        assert row.reason in shown
    assert "float32 nodes: 6 of 6" in shown


def test_terminal_takes_hostile_and_long_names() -> None:
    report = make_report(name="[/red]" + "q" * 70_000)
    console = Console(file=io.StringIO(), width=120)
    print_auto_report(report, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[/red]" in shown
    assert len(shown) < 20_000


def test_unit_error_text() -> None:
    assert [unit_error_text(v) for v in (None, 0.25, math.inf, math.nan)] == [
        "-",
        "0.25",
        "not finite",
        "not finite",
    ]


def test_number_text() -> None:
    values = (None, 0.0, 1e-12, 0.123456, 999.4, 8.1e4, -2048.0, 3.4e38, math.inf, math.nan)
    assert [number_text(value) for value in values] == [
        "-",
        "0",
        "1e-12",
        "0.123",
        "999",
        "81,000",
        "-2,048",
        "3.4e+38",
        "not finite",
        "not finite",
    ]

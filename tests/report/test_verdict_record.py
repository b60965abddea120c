"""What is said of a plan that was judged again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema

from halve.report.verdict_record import VerdictReport, verdict_lines
from halve.search_types import FinalVerdict, OutputTrial, SampleVerdict
from halve.types import Comparison

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "verdict.schema.json").read_text("utf-8"))
GOOD = OutputTrial("y", passed=True, error=0.5, energy=0.1)


def verdict(*outputs: OutputTrial, failure: str = "", samples: int = 1) -> FinalVerdict:
    rows = [SampleVerdict(n, False, False, outputs, failure) for n in range(samples)]
    return FinalVerdict("emulated", False, tuple(rows))


def failures(found: FinalVerdict) -> list[str]:
    lines = verdict_lines(found)
    assert lines[:2] == [
        "verdict    FAILED, emulated",
        f"samples    0 of {len(found.samples)} passed",
    ]
    return lines[2:]


def test_errors_are_told_against_the_tolerance() -> None:
    comparison = Comparison(elements=8, mismatches=2, max_abs_error=0.25, max_rel_error=0.5)
    bad = OutputTrial("z", passed=False, error=12.5, energy=9.0, comparison=comparison)
    assert failures(verdict(GOOD, bad)) == [
        "sample     0: output 'z': error 12.5 times the tolerance, 2 of 8 elements do not match,"
        " largest error 0.25 absolute, 0.5 relative"
    ]


def test_what_no_multiple_of_the_tolerance_allows() -> None:
    overflow = Comparison(elements=8, mismatches=3, a_nan=1, a_inf=2, max_abs_error=math.inf)
    rows = (
        OutputTrial("z", passed=False, error=math.inf, energy=math.inf, comparison=overflow),
        OutputTrial("i", passed=False, error=math.inf, energy=math.inf),
    )
    first, second = failures(verdict(*rows))
    assert "error beyond any multiple of the tolerance, 3 of 8" in first
    assert "1 NaN and 2 infinities" in first
    assert second.endswith("(another shape, or unequal values that are no floats)")


def test_a_sample_that_failed_otherwise() -> None:
    assert failures(verdict(failure="it ran out of memory")) == [
        "sample     0: it ran out of memory"
    ]
    assert failures(verdict(GOOD)) == [
        "sample     0: the validate function refuses it; its worst output, 'y', uses 0.5 of the"
        " tolerance"
    ]


def test_a_validate_function_alone_has_no_errors() -> None:
    bad = OutputTrial("z", passed=False, error=12.5, energy=9.0)
    alone = replace(verdict(bad), by_tolerance=False)
    assert failures(alone) == ["sample     0: the validate function refuses it"]
    record = VerdictReport("1", "m.onnx", "p.json", "CPUExecutionProvider", alone).as_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(record)))
    assert record["model_outputs"] == [
        {"z": {"passed": False, "error": None, "energy": None, "comparison": None}}
    ]


def test_many_failures_are_counted() -> None:
    bad = OutputTrial("z", passed=False, error=2.0, energy=4.0)
    lines = failures(verdict(bad, samples=30))
    assert len(lines) == 13
    assert lines[-1].strip() == "and 18 more, which the JSON record has (--json)"


def test_the_record_follows_its_schema() -> None:
    comparison = Comparison(elements=8, mismatches=8, max_abs_error=math.inf)
    bad = OutputTrial("z", passed=False, error=math.inf, energy=math.nan, comparison=comparison)
    report = VerdictReport("1", "m.onnx", "p.json", "CPUExecutionProvider", verdict(bad, GOOD))
    record = report.as_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(record)))
    assert set(SCHEMA["required"]) == set(record) == set(SCHEMA["properties"])

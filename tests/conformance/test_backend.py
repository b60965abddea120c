"""The ONNX standard's own test models, converted: each checks, runs and matches.

One case in eight runs by default, for target "any" with inputs and outputs kept and not, and for
"cuda" and "cpu"; the rest with `-m slow`. What a case may deviate by, and why, is in
expectations.toml; a bound or an exclusion that a case does not need is an error. To bfloat16, which
nobody runs on a CPU, each converts, checks, and converts again to itself.
"""

from __future__ import annotations

import functools
import tomllib
import zlib
from pathlib import Path
from typing import Any

import onnx
import pytest

from conformance.backend_cases import KINDS, Case, has_float32, load_cases
from conformance.harness import Finding, Outcome, baseline, convert_soundly, evaluate
from conformance.table import render

BUCKETS = 8
# Variants of the networks, whose weights are large.
LARGE = 2
# Draws may come out alike by chance.
RANDOM = ("test_bernoulli_seed", "test_bernoulli_double", "test_bernoulli_double_expanded")
TABLE = Path(__file__).parents[2] / "docs" / "conformance.md"
EXPECTED: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent / "expectations.toml").read_text(encoding="utf-8")
)
VARIANTS: tuple[dict[str, Any], ...] = (
    {"target": "any", "keep_io_types": False},
    {"target": "any", "keep_io_types": True},
    {"target": "cuda", "keep_io_types": False},
    {"target": "cpu", "keep_io_types": False},
)


@functools.cache
def eligible() -> tuple[Case, ...]:
    """The cases with a float32 input, output or initializer, but for those that nobody runs."""
    cases = load_cases(*KINDS)
    return tuple(
        case
        for case in cases
        if has_float32(case.model.graph) and case.name not in EXPECTED["excluded"]
    )


def bucket_of(case: Case) -> int:
    return zlib.crc32(case.name.encode()) % BUCKETS


def judge_case(case: Case) -> list[str]:
    """What does not hold of a case in any variant, as lines."""
    base = baseline(case)
    if isinstance(base, str):
        return [f"{case.name}: nobody runs it ({base[:200]}), and it is not excluded"]
    lines, worst = [], 0.0
    for options in VARIANTS[: LARGE if case.kind == "light" else None]:
        try:
            outcome = evaluate(case, *base, **options)
        except Finding as finding:
            lines.append(f"{case.name} {options}: {finding}")
            continue
        worst = max(worst, outcome.error)
        lines += judge(case, outcome, options)
    if worst <= 1 and case.name in EXPECTED["bounds"] and case.name not in RANDOM:
        lines.append(f"{case.name}: it needs no bound of its own; take its row out")
    return lines


def judge(case: Case, outcome: Outcome, options: dict[str, Any]) -> list[str]:
    """What does not hold of the numbers of one conversion, as lines."""
    where = f"{case.name} {options}"
    lines = []
    allowed = bound(case)
    if outcome.error > allowed:
        lines.append(f"{where}: error is {outcome.error:.4g} times the bound; allowed: {allowed}")
    limit = allowed if inexact_reason(case, outcome) else 0.0
    if not outcome.exact and (limit == 0 or outcome.drift > limit):
        lines.append(f"{where}: its own run and its lowering differ by {outcome.drift:.4g}")
    return lines


def bound(case: Case) -> float:
    """The multiple of the common bound that a case may reach."""
    row = EXPECTED["bounds"].get(case.name)
    return float(row["times"]) if row else 1.0


def inexact_reason(case: Case, outcome: Outcome) -> str:
    """Why a file's own run need not equal its lowering bit for bit, or ""."""
    if outcome.written == "reference":
        return "onnx's reference evaluator computes in float16"
    keys = sorted({case.name} | {node.op_type for node in case.model.graph.node})
    return next((EXPECTED["inexact"][key] for key in keys if key in EXPECTED["inexact"]), "")


EVERY_BUCKET = [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, BUCKETS))]


@pytest.mark.parametrize("bucket", EVERY_BUCKET)
def test_backend_cases(bucket: int) -> None:
    cases = [case for case in eligible() if bucket_of(case) == bucket]
    findings = [line for case in cases for line in judge_case(case)]
    assert findings == [], "\n".join(findings)


@pytest.mark.parametrize("bucket", EVERY_BUCKET)
def test_bfloat16(bucket: int) -> None:
    findings = []
    small = [case for case in eligible() if case.kind != "light"]
    for case in (case for case in small if bucket_of(case) == bucket):
        for keep in (False, True):
            try:
                convert_soundly(case, dtype="bfloat16", keep_io_types=keep)
            except Finding as finding:
                findings.append(f"{case.name} {keep}: {finding}")
    assert findings == [], "\n".join(findings)


def test_nobody_runs_what_is_excluded() -> None:
    excluded = [case for case in load_cases(*KINDS) if case.name in EXPECTED["excluded"]]
    assert [case.name for case in excluded if not isinstance(baseline(case), str)] == []


def test_few_cases_have_a_bound_of_their_own() -> None:
    names = {case.name for case in eligible()}
    own = names & set(EXPECTED["bounds"])
    assert len(own) <= 0.03 * len(names)
    assert all(row["reason"] for row in EXPECTED["bounds"].values())


@pytest.mark.slow
def test_the_table_in_the_documents() -> None:
    text = TABLE.read_text(encoding="utf-8")
    if f"onnx {onnx.__version__}" not in text:
        pytest.skip(f"the table was made with another onnx than {onnx.__version__}")
    assert render(eligible()) == text

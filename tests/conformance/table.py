"""The table of operators in docs/conformance.md; `python tests/conformance/table.py` writes it."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from halve.convert import convert
from halve.options import TARGETS, ConvertOptions
from halve.plan.schemas import rule_for

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.backend_cases import Case

__all__ = ["render"]

HEAD = """# Conformance

Every model of the ONNX standard's own tests with a float32 input, output or initializer is
converted by `pytest -m "slow or not slow" tests/conformance`: the result passes onnx's full check,
runs, equals its lowering to float32 arithmetic, matches the float32 results, and converts to
itself. To bfloat16, too, each converts, passes the check, and converts to itself, but for the large
networks, which are not tried. Which cases are left out, or have a bound of their own, and why,
stands in `tests/conformance/expectations.toml`.

The table says what becomes of each operator in these models (onnx {version}): the schema version
in force, the number of cases, and for each target whether its float operands become float16
("yes"), some of them ("part", the others being float32 by the schema or for want of a kernel), or
none ("no", with the reason for target `any`). Local functions and operators without float operands
are left out. Written by `python tests/conformance/table.py`.

| operator | since opset | cases | {targets} | reason |
|---|---|---|{rule}---|
"""


@dataclass
class Row:
    """One operator at one version: the cases it occurs in, its decisions by target, reasons."""

    cases: set[str] = field(default_factory=set)
    decisions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    reasons: set[str] = field(default_factory=set)


def render(cases: Iterable[Case]) -> str:
    """The whole document."""
    rows: dict[tuple[str, int], Row] = defaultdict(Row)
    for case in cases:
        for target in TARGETS:
            _add(rows, case, target)
    head = HEAD.format(
        version=onnx.__version__, targets=" | ".join(TARGETS), rule="---|" * len(TARGETS)
    )
    return head + "".join(_line(key, row) for key, row in sorted(rows.items()))


def _add(rows: dict[tuple[str, int], Row], case: Case, target: str) -> None:
    opsets = {entry.domain: entry.version for entry in case.model.opset_import}
    nodes = case.model.graph.node
    plan = convert(case.model, options=ConvertOptions(target=target)).plan
    for node, entry in zip(nodes, plan.nodes, strict=False):
        if not entry.dtype or entry.scope:
            continue
        rule = rule_for(node.domain, node.op_type, opsets.get(node.domain, 1))
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        row = rows[name, rule.since_version if rule else 0]
        row.cases.add(case.name)
        row.decisions[target].add(_decision(entry.dtype, bool(entry.operands)))
        if target == "any" and entry.dtype == "float32":
            row.reasons.add(entry.reason)


def _decision(dtype: str, has_float32_operands: bool) -> str:
    if dtype == "float32":
        return "no"
    return "part" if has_float32_operands else "yes"


def _line(key: tuple[str, int], row: Row) -> str:
    cells = (", ".join(sorted(row.decisions[target])) for target in TARGETS)
    reasons = "; ".join(sorted(row.reasons))
    return f"| {key[0]} | {key[1]} | {len(row.cases)} | {' | '.join(cells)} | {reasons} |\n"


if __name__ == "__main__":
    from conformance.test_backend import TABLE, eligible

    TABLE.write_text(render(eligible()), encoding="utf-8")

"""Manual mode's report for people: plain lines, and a table of the tensors that matter."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halve.errors import OptionError
from halve.manual_types import ManualReport, ModelOutput, NodeStatistics, OutputBlock
from halve.report.manual_rows import DEFAULT_SORT, ManualRow, manual_rows
from halve.report.search_text import number_text
from halve.report.text import NAME_CHARACTERS, shorten

__all__ = ["DEFAULT_TOP", "manual_lines", "print_manual_report", "share_text"]

DEFAULT_TOP = 20
"""Rows of the table unless another number is asked for; the JSON and the page have all."""
_CELL_CHARACTERS = 44
_NODES_NAMED = 5
_OUTPUTS_NAMED = 12


def manual_lines(
    report: ManualReport,
    *,
    source: str | None = None,
    top: int = DEFAULT_TOP,
    sort: str = DEFAULT_SORT,
) -> list[str]:
    """The summary, and a line for each of the first `top` tensors by `sort` (see SORT_KEYS).

    Raises:
        OptionError: `top` is below 0, or `sort` is unknown.
    """
    rows = _rows(report, top, sort)
    return _summary(report, source) + [_line("tensor", _row_text(row)) for row in rows]


def print_manual_report(
    report: ManualReport,
    console: Console,
    *,
    source: str | None = None,
    top: int = DEFAULT_TOP,
    sort: str = DEFAULT_SORT,
) -> None:
    """Prints the summary and a table of the first `top` tensors by `sort` (see SORT_KEYS).

    Raises:
        OptionError: `top` is below 0, or `sort` is unknown.
    """
    rows = _rows(report, top, sort)
    for line in _summary(report, source):
        style = ""
        if line.startswith("verdict"):
            style = "bold green" if report.passed else "bold red"
        console.print(Text(line, style=style), soft_wrap=True)
    if rows:
        console.print(_table(rows, report, sort))


def share_text(share: float) -> str:
    """A share in percent, one that is nearly none or all told from none and all."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if share < 1e-4:
        return "<0.01%"
    return ">99.99%" if share > 0.9999 else f"{share:.2%}"


def _rows(report: ManualReport, top: int, sort: str) -> Sequence[ManualRow]:
    if top < 0:
        raise OptionError(f"top is {top}; allowed: 0 or more")
    rows = manual_rows(report.merged, limit=report.limit, sort=sort, local=report.local)
    return rows[:top]


def _line(label: str, text: str) -> str:
    return f"{label:<11}{text}"


def _summary(report: ManualReport, source: str | None) -> list[str]:
    nodes = report.merged.nodes
    measured = [node for node in nodes if node.outputs]
    kept = sum(node.dtype == "float32" for node in report.plan.nodes)
    lines = [
        _line("model", f"{source or 'in memory'}, {report.level}"),
        _line("verdict", _verdict(report)),
        _line("nodes", f"{len(measured)} measured, {kept} float32, {len(nodes)} shown"),
        _line("over limit", _over_limit(report)),
    ]
    lines += [_line("output", text) for text in _outputs(report.merged.model_outputs)]
    if report.merged.unmeasured:
        first = report.merged.unmeasured[0]
        lines.append(
            _line(
                "unmeasured",
                f"{len(report.merged.unmeasured)} nodes, the first {_node_name(first)}:"
                f" {first.unmeasured}",
            )
        )
    if report.elapsed_s:
        lines.append(_line("time", _time(report)))
    return lines + [_line("note", note) for note in report.notes]


def _time(report: ManualReport) -> str:
    reused = f"; {' and '.join(report.reused)} reused" if report.reused else ""
    return f"{report.elapsed_s:.2f} s, {report.prepare_s:.2f} s of them to prepare{reused}"


def _verdict(report: ManualReport) -> str:
    passed = sum(sample.passed for sample in report.samples)
    word = "passed" if report.passed else "FAILED"
    return f"{word}: {passed} of {len(report.samples)} samples within tolerance"


def _over_limit(report: ManualReport) -> str:
    nodes = [node for node in report.merged.nodes if node.over_limit]
    if not nodes:
        hidden = len(report.merged.nodes) < len(report.plan.nodes)
        return f"no node {'that is shown ' if hidden else ''}originates an overflow"
    named = ", ".join(_node_name(node) for node in nodes[:_NODES_NAMED])
    more = f" and {len(nodes) - _NODES_NAMED} more" if len(nodes) > _NODES_NAMED else ""
    return f"{len(nodes)}: {named}{more}"


def _node_name(node: NodeStatistics) -> str:
    name = f"{node.scope}: {node.name}" if node.scope else node.name
    return f"{node.id} {node.type} {shorten(repr(name), _CELL_CHARACTERS)}"


def _outputs(rows: Sequence[ModelOutput]) -> list[str]:
    """A text an output, in graph order; of many the worst, and how many more there are."""
    if len(rows) <= _OUTPUTS_NAMED:
        return [_output(row) for row in rows]
    worst = sorted(rows, key=lambda row: (_judged(row).passed, -_judged(row).error))
    rest = worst[_OUTPUTS_NAMED:]
    failed = sum(not _judged(row).passed for row in rest)
    more = f"{len(rest):,} more: {failed:,} failed, {len(rest) - failed:,} passed"
    return [*(_output(row) for row in worst[:_OUTPUTS_NAMED]), more]


def _judged(row: ModelOutput) -> OutputBlock:
    return row.fp16_golden or row.fp16_fp32


def _output(row: ModelOutput) -> str:
    block = _judged(row)
    against = "golden" if row.fp16_golden else "float32"
    word = "passed" if block.passed else "FAILED"
    return (
        f"{shorten(repr(row.name), NAME_CHARACTERS)} {word} against {against}:"
        f" {number_text(block.error)} of the tolerance, {block.mismatches:,} of"
        f" {block.b_elements:,} elements beyond it"
    )


def _row_text(row: ManualRow) -> str:
    parts = [f"local error {number_text(row.local_error)}"]
    if row.over_limit:
        parts.insert(0, f"OVER LIMIT {share_text(row.clip_ratio)}")
    parts += [
        f"inherited {number_text(row.inherited_error)}",
        f"total {number_text(row.total_error)}",
        f"max |x| {number_text(row.max_abs)}",
        f"head-room {number_text(row.head_room)}",
    ]
    if row.nonfinite:
        parts.append(f"{row.nonfinite:,} NaN or infinite")
    precision = row.output.dtype
    name = shorten(repr(row.output.name), NAME_CHARACTERS)
    return f"{_node_name(row.node)} -> {name} ({precision}): {', '.join(parts)}"


def _table(rows: Sequence[ManualRow], report: ManualReport, sort: str) -> Table:
    count = sum(len(node.outputs) for node in report.merged.nodes)
    table = Table(title=f"tensors: {len(rows)} of {count}, sorted by {sort}")
    table.add_column("id", justify="right")
    table.add_column("node", overflow="fold", ratio=2)
    table.add_column("type", overflow="fold")
    table.add_column("precision")
    for name in ("over limit", "local", "inherited", "total", "max |x|", "head-room", "NaN, inf"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row), style="bold red" if row.over_limit else "")
    return table


def _cells(row: ManualRow) -> tuple[Text, ...]:
    node = row.node
    name = f"{node.scope}: {node.name}" if node.scope else node.name
    cells = (
        str(node.id),
        shorten(name or row.output.name, _CELL_CHARACTERS),
        shorten(node.type, _CELL_CHARACTERS),
        row.output.dtype,
        share_text(row.clip_ratio) if row.over_limit else "-",
        number_text(row.local_error),
        number_text(row.inherited_error),
        number_text(row.total_error),
        number_text(row.max_abs),
        number_text(row.head_room),
        f"{row.nonfinite:,}" if row.nonfinite else "-",
    )
    return tuple(map(Text, cells))

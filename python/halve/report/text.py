"""The record as plain lines: the same bytes for the same record, without clocks or colours."""

from __future__ import annotations

from halve.report.record import ConversionReport
from halve.types import CastCounts, TensorRow

__all__ = ["NAME_CHARACTERS", "shorten", "summary_lines"]

# Names in models may be of any length; a line is for people.
NAME_CHARACTERS = 100

_NAMED_COUNTS = (
    ("raised", "raised to the minimum"),
    ("lowered", "lowered to the maximum"),
    ("flushed", "flushed to zero"),
    ("subnormal", "subnormal"),
    ("overflow", "overflowed"),
    ("nan", "NaN"),
    ("inf", "infinite"),
)


def summary_lines(report: ConversionReport) -> list[str]:
    """A handful of lines: files, sizes, nodes, tensors, casts, values and the largest error."""
    half = str(report.options.get("dtype", "16-bit"))
    rows = (
        ("model", f"{report.source or 'in memory'} -> {report.target or 'in memory'}"),
        ("size", _size(report)),
        ("nodes", _nodes(report, half)),
        ("tensors", _tensors(report.tensors, half)),
        ("casts", f"{len(report.casts)} inserted (lower bound {report.cast_lower_bound})"),
        ("values", _values(report.totals)),
        ("max error", _error(report.tensors)),
    )
    return [f"{label:<10}{text}" for label, text in rows]


def shorten(text: str, characters: int) -> str:
    """`text` with "..." in place of its middle where it has more than so many characters."""
    if len(text) <= characters:
        return text
    half = (characters - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def _size(report: ConversionReport) -> str:
    after = report.bytes_written or sum(row.nbytes for row in report.tensors)
    if report.identity:
        return f"{after:,} bytes, nothing to convert: the output equals the input"
    share = f" ({after / report.source_nbytes:.1%})" if report.source_nbytes else ""
    return f"{report.source_nbytes:,} -> {after:,} bytes{share}"


def _nodes(report: ConversionReport, half: str) -> str:
    kept = report.float_node_count - report.half_node_count
    rest = report.node_count - report.float_node_count
    return f"{report.half_node_count} {half}, {kept} float32, {rest} without float operands"


def _tensors(rows: tuple[TensorRow, ...], half: str) -> str:
    cast = sum(row.dtype != row.source_dtype for row in rows)
    return f"{cast} cast to {half}, {len(rows) - cast} copied"


def _values(total: CastCounts) -> str:
    found = [f"{getattr(total, key):,} {text}" for key, text in _NAMED_COUNTS]
    return f"{total.elements:,} cast: " + ", ".join(found)


def _error(rows: tuple[TensorRow, ...]) -> str:
    worst = max(rows, key=lambda row: row.counts.max_abs_error, default=None)
    if worst is None or worst.counts.max_abs_error == 0:
        return "0"
    counts = worst.counts
    name = shorten(repr(worst.name), NAME_CHARACTERS)
    return f"{counts.max_abs_error:.3g} in {name} (largest magnitude {counts.max_abs:.3g})"

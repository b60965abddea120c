"""A search as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from halve.files import write_text
from halve.report.drawing import ERROR_DECADES, HEIGHTS, STATES, draw_chart, draw_forests, draw_map
from halve.report.ranges import ranges
from halve.report.record import plain_json
from halve.report.search_record import AutoReport, BorderRow, KeptNode
from halve.report.search_text import number_text, unit_error_text
from halve.report.text import shorten
from halve.search_types import TrialRow

__all__ = ["LEVELS", "environment", "make_page", "option_rows", "printable", "write_page"]

LEVELS = {
    "device": "The written file was loaded afresh and ran on the target provider, fully optimised.",
    "emulated": "The written file was read back and every 16-bit value in it really rounded, "
    "around float32 arithmetic, because the target provider is not on this machine. The file "
    "itself was loaded, too.",
    "cpu": "The written file ran on the CPU, which is its target.",
    "searched": "Only the evaluator of the search tested this set; no written file was judged.",
}
"""What each level of verification means, in a sentence or two."""
_TEMPLATES = Path(__file__).parent / "templates"
# Names in models may be of any length; the JSON report has them whole.
_TEXT_CHARACTERS = 160
# More marks than this no longer tell anything, and slow a browser down; the JSON has all.
_TRIALS_DRAWN = 4000
# Head-room as a bar: float16's 16 powers of two are its whole length.
_HEADROOM_BITS = 16
_TIGHT = 2.0
_RANGES_SHOWN = 6


def make_page(report: AutoReport) -> str:
    """The page as text; equal reports give equal pages."""
    trials = report.search.trials[:_TRIALS_DRAWN]
    drawn = draw_map(report)
    return (
        environment()
        .get_template("auto.html.j2")
        .render(
            report=report,
            search=report.search,
            kept=report.kept,
            level_text=LEVELS.get(report.search.verdict.level, ""),
            map=drawn,
            heights=HEIGHTS,
            states=STATES,
            decades=ERROR_DECADES,
            state_names=_STATE_NAMES,
            nodes=_node_columns(report, drawn.states),
            forests=draw_forests(trials),
            chart=draw_chart(trials),
            drawn_trials=trials,
            borders=sorted(report.borders, key=_by_headroom),
            options=option_rows({**report.search.plan.options, **report.options}),
            versions=option_rows({"halve": report.halve_version, **report.versions}),
        )
    )


def write_page(path: Path, report: AutoReport) -> None:
    """Writes the page to `path`; what was there stays until the new file is whole.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, make_page(report), what="report")


def printable(text: str) -> str:
    """Text that any page can hold: of limited length, with escapes for what is no character.

    Control characters and what stands for bytes that are not UTF-8 become escapes ("\\x1b").
    """
    return _clean(shorten(text, _TEXT_CHARACTERS))


_STATE_NAMES = {
    "required": "float32, required",
    "carried": "float32, for the cost of casts",
    "given": "float32, as asked for",
    "rule": "float32, by a rule of the plan",
    "half": "16-bit",
    "none": "no float operands",
}


@cache
def environment() -> Environment:
    """The templates of all pages, with their filters; texts are escaped and made printable."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters.update(
        name=printable,
        size=_size_text,
        number=number_text,
        error=unit_error_text,
        mark_title=_mark_title,
        ranges=_ranges_text,
        headroom_share=_headroom_share,
        is_tight=lambda row: row.headroom is not None and row.headroom < _TIGHT,
    )
    return made


def _finalize(value: object) -> object:
    return _clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clean(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _node_columns(report: AutoReport, states: Sequence[int]) -> dict[str, object]:
    """What the page says of a node under the pointer: a column a field, texts once each."""
    kept = {row.node.id: row for row in report.kept}
    errors: dict[int, str] = {}
    for index, error in report.search.sensitivity.items():
        errors.update(dict.fromkeys(report.search.units[index].ids, unit_error_text(error)))
    nodes = report.search.plan.nodes
    return {
        "states": states,
        "state_names": [_STATE_NAMES[state] for state in STATES],
        "ids": [node.id for node in nodes],
        "names": [printable(node.name) for node in nodes],
        "types": [printable(node.type) for node in nodes],
        "scopes": [printable(node.scope) for node in nodes],
        "errors": [errors.get(node.id, "") for node in nodes],
        "reasons": {
            place: printable(_reason(kept[node.id]))
            for place, node in enumerate(nodes)
            if node.id in kept
        },
    }


def _reason(row: KeptNode) -> str:
    return f"{row.cause}: {row.reason}" if row.cause else row.reason


def _by_headroom(row: BorderRow) -> tuple[bool, float]:
    return (row.headroom is None, row.headroom or 0.0)


def option_rows(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and values as texts, whatever the values are."""
    return [(name, _plain_text(value)) for name, value in values.items()]


def _plain_text(value: object) -> str:
    plain = plain_json(value)
    if isinstance(plain, list):
        return ", ".join(map(_plain_text, plain)) or "none"
    if isinstance(plain, dict):
        return ", ".join(f"{name}: {_plain_text(item)}" for name, item in plain.items()) or "none"
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    return "none" if plain is None or plain == "" else str(plain)


def _size_text(nbytes: int | None) -> str:
    if nbytes is None:
        return "not measured"
    value = float(nbytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{nbytes:,} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"


def _headroom_share(row: BorderRow) -> int:
    """How long the bar is, in percent: a power of two of room is a sixteenth."""
    if row.headroom is None or row.headroom <= 1:
        return 0
    bits = math.log2(row.headroom) if math.isfinite(row.headroom) else _HEADROOM_BITS
    return round(100 * min(1.0, bits / _HEADROOM_BITS))


def _ranges_text(indices: Sequence[int]) -> str:
    pairs = ranges(indices)
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in pairs[:_RANGES_SHOWN]]
    more = f" and {len(pairs) - _RANGES_SHOWN} more ranges" if len(pairs) > _RANGES_SHOWN else ""
    return (", ".join(shown) or "none") + more


def _mark_title(row: TrialRow) -> str:
    parent = "" if row.parent is None else f", split from #{row.parent}"
    return (
        f"#{row.number} {row.phase}{parent}: {'passed' if row.passed else 'failed'}, error "
        f"{number_text(row.error)} of the tolerance; {len(row.tested)} units tested "
        f"({_ranges_text(row.tested)}), {len(row.fp32)} float32"
    )

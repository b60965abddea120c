"""A running search as a bar of cells over the units, live on a terminal or as plain lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from halve.search_types import SearchEvent

__all__ = ["SearchBar", "bar_lines", "event_line"]

_REFRESHES_PER_S = 8
# A line of a pipe names so many cluster sizes, and then how many more there are.
_SIZES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Glyphs:
    """Characters of the states; each differs from the others, so that colour is not needed.

    `some` stands for units of which a part is float32, `both` for 16-bit and undecided ones.
    `left`, `line`, `right` and `single` draw a cluster; `crowd` is more than one in a cell.
    """

    undecided: str
    half: str
    full: str
    some: str
    both: str
    left: str
    line: str
    right: str
    single: str
    crowd: str


_UNICODE = _Glyphs("░", "▂", "█", "▆", "▒", "╰", "─", "╯", "╵", "┴")
_ASCII = _Glyphs("?", "_", "#", "+", "~", "[", "-", "]", "|", "^")
_STYLES = {
    "undecided": "bright_black",
    "half": "bright_blue",
    "full": "bold yellow",
    "some": "yellow",
    "both": "blue",
}


class SearchBar:
    """Shows a search: pass it as `SearchOptions.progress`, and use it as a context manager.

    On a terminal the bar is redrawn in place and its last state stays. With `plain`, there is a
    line where the phase or the clusters change. `plain` None chooses by whether the console is a
    terminal. Nothing is shown before the first event. The console is stderr unless given.
    """

    def __init__(self, console: Console | None = None, *, plain: bool | None = None) -> None:
        """A bar that shows nothing yet."""
        self._console = console or Console(stderr=True)
        self._plain = not self._console.is_terminal if plain is None else plain
        self._live: Live | None = None
        self._last: SearchEvent | None = None

    def __enter__(self) -> SearchBar:
        """Takes the lower lines of a terminal from the first event on."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the last state on the screen and gives the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, event: SearchEvent) -> None:
        """Shows a step of the search."""
        before, self._last = self._last, event
        if self._plain:
            self._print(before, event)
        elif self._live is None:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=_REFRESHES_PER_S,
            )
            self._live.start(refresh=True)

    def _print(self, before: SearchEvent | None, event: SearchEvent) -> None:
        changed = before is None or before.phase != event.phase or before.clusters != event.clusters
        if changed or event.message:
            line = Text(event_line(event), overflow="ignore", no_wrap=True)
            self._console.print(line, soft_wrap=True, highlight=False)

    def _render(self) -> Group:
        if self._last is None:
            return Group()
        narrow = not _is_utf(self._console)
        return Group(*bar_lines(self._last, self._console.width, ascii_only=narrow))


def event_line(event: SearchEvent) -> str:
    """A step in one line: phase, trials, sizes of the undecided clusters, units kept, error."""
    sizes = sorted((last - first + 1 for first, last in event.clusters), reverse=True)
    parts = [f"{event.phase}: trial {event.trials}"]
    if sizes:
        parts.append("clusters " + " ".join(map(str, sizes[:_SIZES_SHOWN])))
        rest = len(sizes) - _SIZES_SHOWN
        parts[-1] += f" and {rest} more" if rest > 0 else ""
    parts += _facts(event)
    return ", ".join(parts + ([_one_line(event.message)] if event.message else []))


def bar_lines(event: SearchEvent, width: int, *, ascii_only: bool = False) -> list[Text]:
    """The bar of an event: cells, clusters below them, and the facts, each `width` at most."""
    glyphs = _ASCII if ascii_only else _UNICODE
    columns = max(1, width - 1)  # the last column makes some terminals wrap
    bounds = _bounds(len(event.states), columns)
    cells = Text()
    for first, last in bounds:
        name = _cell(event.states[first:last])
        cells.append(getattr(glyphs, name), style=_STYLES[name])
    lines = [cells, _clusters(event, columns, glyphs)] if event.states else []
    head = f"{event.phase}  trial {event.trials}"
    lines += _wrap([head, *_facts(event), *_times(event)], columns)
    lines.append(_legend(event.states, columns, glyphs))
    if event.message:
        lines.append(Text(_one_line(event.message)))
    for line in lines:
        line.truncate(columns, overflow="crop" if ascii_only else "ellipsis")
    return lines


def _bounds(units: int, columns: int) -> list[tuple[int, int]]:
    """The units [first, last) of each column; with few units several columns show the same one."""
    edges = [column * units // columns for column in range(columns + 1)]
    return [(first, max(last, first + 1)) for first, last in pairwise(edges)] if units else []


def _cell(states: str) -> str:
    found = set(states)
    if found == {"f"}:
        return "full"
    if "f" in found:
        return "some"
    if found == {"h"}:
        return "half"
    return "both" if "h" in found else "undecided"


def _clusters(event: SearchEvent, columns: int, glyphs: _Glyphs) -> Text:
    """A line that draws each cluster's extent; that of the last trial is bold."""
    units = len(event.states)
    bounds = _bounds(units, columns)
    wide = len(bounds)
    marks = [" "] * wide
    bold = [False] * wide
    tested = frozenset(event.row.tested if event.row else ())
    for first, last in event.clusters:
        start = min(wide - 1, -(-first * wide // units))
        stop = max(start, min(wide - 1, -(-(last + 1) * wide // units) - 1))
        _draw(marks, start, stop, glyphs)
        if first in tested:
            bold[start : stop + 1] = [True] * (stop + 1 - start)
    line = Text()
    for mark, strong in zip(marks, bold, strict=True):
        line.append(mark, style="bold" if strong else "dim")
    return line


def _draw(marks: list[str], start: int, stop: int, glyphs: _Glyphs) -> None:
    if start == stop:
        marks[start] = glyphs.single if marks[start] == " " else glyphs.crowd
        return
    marks[start] = glyphs.left if marks[start] == " " else glyphs.crowd
    marks[start + 1 : stop] = [glyphs.line] * (stop - start - 1)
    marks[stop] = glyphs.right


def _facts(event: SearchEvent) -> list[str]:
    parts = []
    if event.best_kept is not None:
        parts.append(f"kept {event.best_kept:,} of {len(event.states):,} units")
    if event.row is not None:
        verdict = "passed" if event.row.passed else "failed"
        parts.append(f"error {_error(event.row.error)}, {verdict}")
    return parts


def _times(event: SearchEvent) -> list[str]:
    left = "" if event.remaining_s is None else f", {_duration(event.remaining_s)} left"
    return [f"{_duration(event.elapsed_s)}{left}"]


def _error(error: float) -> str:
    return f"{error:.3g} of the tolerance" if math.isfinite(error) else "beyond any tolerance"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds)) if math.isfinite(seconds) else 0
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _wrap(parts: Sequence[str], columns: int) -> list[Text]:
    """Parts side by side, and on the next line where they no longer fit."""
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}  {part}" if lines[-1] else part
        if cell_len(joined) > columns and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = joined
    return [Text(line) for line in lines]


def _legend(states: str, columns: int, glyphs: _Glyphs) -> Text:
    line = Text()
    for name, label, state in (
        ("full", "float32", "f"),
        ("half", "16-bit", "h"),
        ("undecided", "undecided", "?"),
    ):
        entry = f" {label} {states.count(state):,}"
        if line.cell_len + len(entry) + 3 <= columns:
            line.append("  " if line.cell_len else "")
            line.append(getattr(glyphs, name), style=_STYLES[name])
            line.append(entry)
    return line


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_utf(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")

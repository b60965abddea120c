"""The bar of a running search: cells, clusters, facts, in a terminal of any width and in a pipe."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from halve.report.bar import SearchBar, bar_lines, event_line
from halve.search_types import SearchEvent, TrialRow

ROW = TrialRow(3, "grow", (5, 6), (2, 3), 1, True, 0.5, 0.25, 2)


def make_event(states: str = "hh?fff", **changes: object) -> SearchEvent:
    values: dict[str, object] = {
        "phase": "grow",
        "trials": 4,
        "states": states,
        "clusters": ((2, 2),),
        "row": ROW,
        "best_kept": 3,
        "elapsed_s": 3.2,
        "remaining_s": 75.0,
    }
    return SearchEvent(**(values | changes))  # type: ignore[arg-type]


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=60)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_unit_has_its_glyph_and_its_share_of_the_width() -> None:
    lines = [line.plain for line in bar_lines(make_event(), 13)]
    assert lines[0] == "▂▂▂▂░░██████"
    assert lines[1].rstrip() == "    ╰╯"


def test_states_differ_without_colour() -> None:
    for ascii_only in (False, True):
        cells = bar_lines(make_event("hf?"), 4, ascii_only=ascii_only)[0].plain
        assert len(set(cells)) == 3
    assert "".join(line.plain for line in bar_lines(make_event(), 80, ascii_only=True)).isascii()


def test_states_differ_in_colour() -> None:
    cells = bar_lines(make_event("hf?"), 4)[0]
    assert len({str(span.style) for span in cells.spans}) == 3


@pytest.mark.parametrize("units", [0, 1, 2, 3, 79, 80, 10_000])
@pytest.mark.parametrize("width", [1, 2, 7, 80, 400])
def test_any_number_of_units_fits_any_width(units: int, width: int) -> None:
    clusters = tuple((i, min(i + 2, units - 1)) for i in range(0, units, 3))
    event = make_event("h?f" * (units // 3) + "h" * (units % 3), clusters=clusters)
    lines = bar_lines(event, width)
    assert all(line.cell_len <= max(1, width - 1) for line in lines)
    if units:
        assert lines[0].cell_len == max(1, width - 1)


def test_a_cell_of_several_units_shows_that_one_is_float32() -> None:
    (cells, *_) = bar_lines(make_event("h" * 99 + "f", clusters=()), 11)
    assert cells.plain == "▂" * 9 + "▆"


def test_clusters_split() -> None:
    whole = bar_lines(make_event("?" * 8, clusters=((0, 7),)), 9)[1].plain
    halves = bar_lines(make_event("?" * 8, clusters=((0, 3), (4, 7))), 9)[1].plain
    single = bar_lines(make_event("?" * 8, clusters=((0, 0), (4, 7))), 9)[1].plain
    assert (whole, halves, single) == ("╰──────╯", "╰──╯╰──╯", "╵   ╰──╯")


def test_the_tested_cluster_is_bold() -> None:
    line = bar_lines(make_event("?" * 8, clusters=((0, 1), (2, 7))), 9)[1]
    styles = [str(span.style) for span in line.spans]
    assert styles == ["dim"] * 2 + ["bold"] * 6


def test_facts() -> None:
    text = "\n".join(line.plain for line in bar_lines(make_event(), 120))
    for part in (
        "grow  trial 4",
        "kept 3 of 6 units",
        "error 0.5 of the tolerance, passed",
        "3 s, 1 min 15 s left",
        "float32 3",
        "16-bit 2",
        "undecided 1",
    ):
        assert part in text
    nothing = make_event(row=None, best_kept=None, remaining_s=None)
    assert "kept" not in "".join(line.plain for line in bar_lines(nothing, 120))


def test_an_infinite_error_and_hours() -> None:
    row = TrialRow(0, "check", (), (), None, False, math.inf, math.inf, 1)
    text = "".join(line.plain for line in bar_lines(make_event(row=row, remaining_s=7260.0), 200))
    assert "error beyond any tolerance, failed" in text
    assert "2 h 01 min left" in text


def test_plain_lines_only_where_clusters_or_the_phase_change() -> None:
    console = plain_console()
    with SearchBar(console) as bar:
        bar(make_event("?" * 6, clusters=((0, 5),), row=None, best_kept=None, trials=0))
        bar(make_event("?" * 6, clusters=((0, 5),), row=None, best_kept=None, trials=1))
        bar(make_event("?" * 6, clusters=((0, 1), (2, 5)), trials=2))
        bar(make_event("?" * 6, clusters=((0, 1), (2, 5)), phase="minimise", trials=3))
    assert text_of(console).splitlines() == [
        "grow: trial 0, clusters 6",
        "grow: trial 2, clusters 4 2, kept 3 of 6 units, error 0.5 of the tolerance, passed",
        "minimise: trial 3, clusters 4 2, kept 3 of 6 units, error 0.5 of the tolerance, passed",
    ]


def test_a_line_of_a_pipe_stays_one_line() -> None:
    event = make_event("?" * 40, clusters=tuple((i, i) for i in range(40)), message="a\nb [red]c")
    console = plain_console()
    SearchBar(console, plain=True)(event)
    assert text_of(console) == event_line(event) + "\n"
    assert "1 and 28 more" in event_line(event)
    assert event_line(event).endswith("a b [red]c")


def test_live_bar_ends_with_the_last_state() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    with SearchBar(console) as bar:
        bar(make_event("??????"))
        bar(make_event("hhhfff", clusters=()))
    shown = text_of(console)
    assert shown.index("░░░░") < shown.index("▂▂▂▂")
    assert "float32 3" in shown.rpartition("▂▂▂▂")[2]


def test_live_bar_gives_the_terminal_back_after_an_error() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True)

    def interrupted() -> None:
        with SearchBar(console) as bar:
            bar(make_event())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert text_of(console).endswith("\x1b[?25h")  # the cursor is visible again


def test_the_documented_bar_is_the_real_one() -> None:
    states = "h" * 8 + "?" * 16 + "h" * 8 + "f" + "h" * 15
    row = TrialRow(13, "grow", (), tuple(range(8, 16)), 3, True, 0.31, 0.1, 2)
    event = SearchEvent("grow", 14, states, ((8, 15), (16, 23)), row, 1, 2.0, 3.0)
    shown = "\n".join(line.plain.rstrip() for line in bar_lines(event, 97))
    document = Path(__file__).parents[2] / "docs" / "auto-report.md"
    assert f"```text\n{shown}\n```" in document.read_text("utf-8")


def test_no_event_shows_nothing() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True)
    with SearchBar(console):
        pass
    assert text_of(console) == ""

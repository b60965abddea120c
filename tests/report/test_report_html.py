"""The page of a search: well-formed, self-contained, complete, and safe with any name."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from auto_report_cases import make_report
from halve.errors import OutputError
from halve.report.drawing import STATES, draw_chart, draw_forests, draw_map
from halve.report.html import LEVELS, make_page, printable, write_page
from halve.report.search_record import AutoReport
from halve.search_types import FinalVerdict, OutputTrial, SampleVerdict, SearchResult, TrialRow
from halve.types import Plan
from html_page import HOSTILE, Page


def with_search(report: AutoReport, **changes: object) -> AutoReport:
    search: SearchResult = replace(report.search, **changes)  # type: ignore[arg-type]
    return replace(report, search=search)


@pytest.fixture(scope="module")
def report() -> AutoReport:
    return make_report()


@pytest.fixture(scope="module")
def page(report: AutoReport) -> Page:
    return Page(make_page(report))


def test_equal_reports_give_equal_pages(report: AutoReport) -> None:
    assert make_page(report) == make_page(make_report())


def test_nothing_is_loaded(report: AutoReport, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
        assert not {"src", "href", "srcset", "xlink:href", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    text = make_page(report)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest", text)
    policy = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policy
    assert "default-src 'none'" in str(policy[0])


def test_each_kept_node_with_its_reason(report: AutoReport, page: Page) -> None:
    for row in report.kept:
        assert row.node.name in page.text
        assert row.reason in page.text
        assert row.role in page.text


def test_every_part_is_there(report: AutoReport, page: Page) -> None:
    for part in (
        "✓ passed",
        "verified: emulated",
        LEVELS["emulated"],
        "2.0 MiB",
        "from 3.8 MiB",
        "no, held out",
        "squares",
        "tight",
        "onnxruntime 1.31.1",
        "a constant mask was clamped",
        "samples were given",
        "work/plan.json",
    ):
        assert part in page.text


def test_each_trial_is_a_mark_and_a_row(report: AutoReport, page: Page) -> None:
    trials = report.search.trials
    marks = [a for t, a in page.tags if a.get("class") in ("ok", "no") and t in ("circle", "rect")]
    assert len(marks) == 2 * len(trials)  # in the chart, and in a tree
    passed = sum(a["class"] == "ok" for a in marks)
    assert passed == 2 * sum(row.passed for row in trials)
    assert f"#{trials[-1].number} minimise" in page.text


def test_ids_are_unique_and_referenced_ones_exist(page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = [a[k] for _, a in page.tags for k in ("aria-labelledby", "aria-describedby") if k in a]
    assert set(wanted) <= set(ids)
    code = next(script for script in page.scripts if "getElementById" in script)
    assert set(re.findall(r'getElementById\("(\w+)"\)', code)) <= set(ids)


def test_the_data_of_the_map(report: AutoReport, page: Page) -> None:
    data = json.loads(page.scripts[0])
    nodes = report.search.plan.nodes
    assert data["ids"] == [node.id for node in nodes]
    assert data["names"] == [node.name for node in nodes]
    columns = [data[name] for name in ("states", "types", "scopes", "errors")]
    assert {len(column) for column in columns} == {len(nodes)}
    assert sorted(map(int, data["reasons"])) == sorted(row.node.id for row in report.kept)


def test_hostile_names_stay_text() -> None:
    report = make_report(name=HOSTILE)
    names = (replace(report.borders[0], tensor=HOSTILE, scope=HOSTILE),)
    sample = SampleVerdict(0, False, False, (OutputTrial(HOSTILE, False, 2.0, 2.0),), HOSTILE)
    report = replace(
        with_search(report, verdict=FinalVerdict("emulated", False, (sample,)), notes=(HOSTILE,)),
        borders=names,
        source=HOSTILE,
        options={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
    )
    text = make_page(report)
    text.encode("utf-8")
    page = Page(text)
    assert "<script>alert" not in text
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in page.tags]
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\udcff", "\\udcff")
    assert f"{shown}_8" in page.text
    assert page.text.count(shown) > 8
    assert f"{shown}_0" in json.loads(page.scripts[0])["names"]


def test_long_names_are_shortened() -> None:
    assert len(make_page(make_report(5, name="q" * 70_000))) < 100_000
    assert printable("q" * 70_000).count("q") < 200


@pytest.mark.parametrize("nodes", [1, 3, 2000])
def test_any_size(nodes: int) -> None:
    text = make_page(make_report(nodes))
    Page(text)
    assert len(text) < 60_000 + 400 * nodes


def test_no_trials_no_borders_no_samples(report: AutoReport) -> None:
    bare = replace(
        with_search(
            report,
            trials=(),
            evidence=(),
            required=(),
            carried=(),
            sensitivity={},
            verdict=FinalVerdict("searched", True, ()),
        ),
        borders=(),
        source_nbytes=0,
        bytes_written=0,
    )
    text = Page(make_page(bare)).text
    for part in ("No trials were run", "No tensor crosses", "No sample was judged", "0 bytes"):
        assert part in text
    assert LEVELS["searched"] in text


def test_no_nodes(report: AutoReport) -> None:
    plan = Plan("d", {}, ())
    empty = with_search(
        report, plan=plan, units=(), evidence=(), required=(), carried=(), fp32=(), sensitivity={}
    )
    page = Page(make_page(empty))
    assert "The graph has no nodes" in page.text
    assert "passes in 16 bits" in page.text
    assert page.scripts == []


def test_a_failed_verdict(report: AutoReport) -> None:
    sample = SampleVerdict(4, True, False, (), "out of memory")
    failed = with_search(report, verdict=FinalVerdict("device", False, (sample,)), complete=False)
    text = Page(make_page(failed)).text
    assert "✕ failed verified: device" in text
    assert "out of memory" in text
    assert "ended early" in text


def test_without_tolerances_no_sample_has_an_error(report: AutoReport) -> None:
    verdict = replace(report.search.verdict, by_tolerance=False)
    text = Page(make_page(with_search(report, verdict=verdict))).text
    assert "Judged by the validate function alone; no tolerance is in force." in text
    assert "default tolerance, which decides nothing here" in text
    assert "0.62" in Page(make_page(report)).text
    assert "0.62" not in text


def test_map_has_a_cell_for_each_node(report: AutoReport) -> None:
    drawn = draw_map(report)
    assert drawn.nodes == len(drawn.states) == 40
    assert dict(drawn.counts) == {"required": 4, "carried": 1, "rule": 1, "half": 26, "none": 8}
    names = [STATES[state] for state in drawn.states]
    assert names[4] == "none"
    for row in report.kept:
        assert names[row.node.id] == row.role
    assert [scope for scope, _, _ in drawn.scopes] == ["", "loop.body"]
    # Cells of one state cover as many places as there are nodes of it.
    for state, path in drawn.paths.items():
        assert sum(map(int, re.findall(r"h(\d+)v", path))) == drawn.counts[state]


def test_map_measures_errors_on_a_logarithmic_scale(report: AutoReport) -> None:
    drawn = draw_map(with_search(report, sensitivity={0: 1.0, 1: 1e-6, 2: math.inf, 3: math.nan}))
    heights = re.findall(r"M(\d+) 100V([\d.]+)", drawn.within + drawn.beyond)
    found = {int(place): float(y) for place, y in heights}
    assert found[0] == drawn.tolerance_y
    assert found[1] == 100
    assert found[2] == found[3] == 36
    assert "M2 " in drawn.beyond
    assert "M3 " in drawn.beyond


def row(number: int, parent: int | None, phase: str = "grow") -> TrialRow:
    return TrialRow(number, phase, (), (number,), parent, number % 2 == 0, 0.5, 0.5, 1)


def test_trees_follow_parents() -> None:
    (forest,) = draw_forests([row(0, None), row(1, 0), row(2, 0), row(3, 1), row(4, None)])
    assert [len(tree.marks) for tree in forest.trees] == [4, 1]
    places = {mark.row.number: (mark.x, mark.y) for mark in forest.trees[0].marks}
    assert places[0][1] < places[1][1] == places[2][1] < places[3][1]
    assert places[1][0] < places[2][0]
    assert places[0][0] == (places[1][0] + places[2][0]) / 2
    assert forest.trees[0].edges.count("M") == 3
    assert (forest.trials, forest.passed) == (5, 3)


def test_no_two_marks_of_a_tree_overlap() -> None:
    for forest in draw_forests(make_report(300).search.trials):
        for tree in forest.trees:
            places = {(mark.x, mark.y) for mark in tree.marks}
            assert len(places) == len(tree.marks)
            assert all(0 < x < tree.width and 0 < y < tree.height for x, y in places)


def test_a_parent_of_another_phase_or_none_at_all_makes_a_root() -> None:
    rows = [row(0, None, "check"), row(1, 0), row(2, 9), row(3, 3), row(4, 5), row(5, 4)]
    forests = draw_forests(rows)
    assert [forest.phase for forest in forests] == ["check", "grow"]
    assert [tree.marks[0].row.number for tree in forests[1].trees] == [1, 2, 3, 4]


def test_a_deep_tree() -> None:
    (forest,) = draw_forests([row(i, i - 1 if i else None) for i in range(3000)])
    assert len(forest.trees[0].marks) == 3000


def test_chart_cuts_its_scale_at_both_ends() -> None:
    rows = [
        replace(row(i, None), error=error)
        for i, error in enumerate((0.0, 1e-9, 1.0, 1e9, math.inf, math.nan))
    ]
    chart = draw_chart(rows)
    y = [mark.y for mark in chart.marks]
    assert y[0] == y[1] == chart.plot[3]
    assert y[2] == chart.tolerance_y
    assert y[3] == y[4] == y[5] == chart.plot[1]
    assert [label for _, label in chart.ticks_x] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(("trials", "step"), [(1, 1), (9, 1), (17, 2), (41, 5), (300, 50)])
def test_chart_ticks_are_round(trials: int, step: int) -> None:
    ticks = draw_chart([row(i, None) for i in range(trials)]).ticks_x
    assert [label for _, label in ticks] == [str(n) for n in range(0, trials, step)]


def test_write_page_replaces_whole(report: AutoReport, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("old", "utf-8")
    write_page(path, report)
    assert path.read_text("utf-8") == make_page(report)
    assert [item.name for item in tmp_path.iterdir()] == ["r.html"]


def test_write_page_into_no_folder(report: AutoReport, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written: No such file"):
        write_page(tmp_path / "none" / "r.html", report)


def test_text_that_looks_like_markup_is_escaped_once(report: AutoReport) -> None:
    text = make_page(replace(report, warnings=("a < b & c",)))
    assert html.escape("a < b & c") in text
    assert "&amp;lt;" not in text

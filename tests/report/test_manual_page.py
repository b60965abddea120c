"""Manual mode's page: well-formed, self-contained, complete, and safe with any name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from halve.errors import OptionError, OutputError
from halve.manual_types import ManualReport, SampleStatistics
from halve.report import manual_drawing
from halve.report.manual_page import LEVELS, make_manual_page, write_manual_page
from html_page import HOSTILE, Page
from manual_report_cases import OVERFLOWS, make_edges, make_manual_report


def text_of(report: ManualReport, **options: Any) -> str:
    options.setdefault("edges", make_edges(len(report.plan.nodes)))
    return make_manual_page(report, halve_version="0.1.0", source="m.onnx", **options)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(text_of(make_manual_report(20)))


def cells(page: Page, kind: str) -> list[dict[str, str | None]]:
    return [a for tag, a in page.tags if tag == kind]


def test_equal_reports_give_equal_pages() -> None:
    assert text_of(make_manual_report()) == text_of(make_manual_report())


def test_nothing_is_loaded(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
        assert not {"src", "srcset", "xlink:href", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    text = text_of(make_manual_report())
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest", text)
    policy = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert "default-src 'none'" in str(policy)


def test_every_part_is_there(page: Page) -> None:
    for part in (
        "m.onnx",
        "✕ failed",
        LEVELS["emulated"],
        "1 node originates an overflow: 4 MatMul /layer4/MatMul",
        f"--fp32-nodes 1,{OVERFLOWS}",
        "an overflow originates here: 1",
        "scores",
        "onnxruntime 1.31.1",
        "the samples were random",
        "a warning",
        "6 Shape",
    ):
        assert part in page.text


def test_a_row_a_tensor_in_the_order_of_what_matters(page: Page) -> None:
    report = make_manual_report(20)
    rows = [int(str(a["data-node"])) for a in cells(page, "tr") if "data-node" in a]
    assert sorted(rows) == [node.id for node in report.merged.nodes for _ in node.outputs]
    assert rows[0] == OVERFLOWS
    errors = {node.id: node.local_error for node in report.merged.nodes}
    assert [errors[row] for row in rows] == sorted((errors[row] for row in rows), reverse=True)
    by_id = Page(text_of(report, sort="id"))
    assert next(a["data-node"] for a in cells(by_id, "tr") if "data-node" in a) == "0"


def test_a_distribution_a_tensor_with_the_range_drawn_in(page: Page) -> None:
    drawn = [a for a in cells(page, "svg") if a.get("class") == "dist"]
    rows = [a for a in cells(page, "tr") if "data-node" in a]
    assert len(drawn) == len(rows)
    assert "magnitudes from 2^-24 to 2^17" in str(drawn[0]["aria-label"])
    rects = {str(a["class"]): a for a in cells(page, "rect") if a.get("class")}
    # From 2^-32: subnormal from -24, normal from -14, beyond from 16.
    assert (rects["coarse"]["x"], rects["coarse"]["width"]) == ("8", "10")
    assert (rects["held"]["x"], rects["held"]["width"]) == ("18", "30")
    assert (rects["lost"]["x"], rects["lost"]["width"]) == ("48", "8")


def test_bfloat16_holds_the_whole_scale() -> None:
    page = Page(text_of(make_manual_report(dtype="bfloat16")))
    rects = [a for a in cells(page, "rect") if a.get("class")]
    assert [(a["class"], a["width"]) for a in rects] == [
        ("lost", "0"), ("coarse", "0"), ("held", "56"), ("lost", "0"),
    ]  # fmt: skip


def test_the_graph_has_a_box_a_node_by_grade(page: Page) -> None:
    boxes = {a["data-node"]: str(a["class"]) for a in cells(page, "g")}
    assert len(boxes) == 20
    assert boxes["4"] == "box over"
    assert boxes["1"] == "box none kept"


def test_without_edges_or_with_too_many_nodes_there_is_no_drawing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages = [Page(text_of(make_manual_report(), edges=()))]
    monkeypatch.setattr(manual_drawing, "_NODES_DRAWN", 7)
    pages.append(Page(text_of(make_manual_report(8))))
    for page in pages:
        assert "The graph is not drawn" in page.text
        assert not cells(page, "g")


def test_ids_are_unique_and_referenced_ones_exist(page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = [a[k] for _, a in page.tags for k in ("aria-labelledby", "aria-describedby") if k in a]
    wanted += [str(a["href"])[1:] for _, a in page.tags if "href" in a]
    assert set(wanted) <= set(ids)
    code = next(script for script in page.scripts if "getElementById" in script)
    assert set(re.findall(r'getElementById\("(\w+)"\)', code)) <= set(ids)


def test_the_data_of_the_nodes(page: Page) -> None:
    data = json.loads(page.scripts[0])
    assert len({len(data[name]) for name in ("ids", "names", "types", "grades", "errors")}) == 1
    assert data["names"][4] == "/layer4/MatMul"
    assert data["grade_names"][data["grades"][4]] == "an overflow originates here"


def test_hostile_names_are_shown_and_do_nothing() -> None:
    report = make_manual_report()
    rows = tuple(
        replace(node, name=HOSTILE, outputs=tuple(replace(o, name=HOSTILE) for o in node.outputs))
        for node in report.merged.nodes
    )
    plan = replace(
        report.plan,
        nodes=tuple(
            replace(n, name=HOSTILE, type=HOSTILE, reason=HOSTILE) for n in report.plan.nodes
        ),
    )
    merged = replace(report.merged, nodes=rows)
    hostile = replace(report, plan=plan, merged=merged, notes=(HOSTILE,))
    text = make_manual_page(hostile, halve_version=HOSTILE, source=HOSTILE, edges=make_edges(8))
    page = Page(text)
    assert len(page.scripts) == 2
    assert "alert(1)" in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "\x1b" not in text
    text.encode("utf-8")


def test_an_empty_model_has_a_page() -> None:
    report = make_manual_report(0)
    empty = replace(report, merged=SampleStatistics(None, (), ()), samples=())
    page = Page(text_of(empty))
    assert "No tensor was measured." in page.text
    assert "The graph has no nodes." in page.text


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report = make_manual_report()
    path = tmp_path / "out.html"
    write_manual_page(path, report, halve_version="0.1.0", source="m.onnx", edges=make_edges(8))
    assert path.read_text("utf-8") == text_of(report)
    with pytest.raises(OutputError, match="cannot be written"):
        write_manual_page(tmp_path / "none" / "out.html", report, halve_version="0")
    with pytest.raises(OptionError, match="sort is 'size'; allowed: overflow, local"):
        write_manual_page(path, report, halve_version="0", sort="size")
    assert path.read_text("utf-8") == text_of(report)

"""halve bench: arguments, the record, tables, the picture and the page."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from rich.console import Console

import halve
from halve.bench_types import BenchModel, BenchOptions, BenchResult, BenchRow, PlacedNode
from halve.cli.bench import FLAGS, WITHOUT_FLAG
from halve.cli.main import main
from halve.report.bench_plot import draw_bench, make_bench_page, write_bench_png
from halve.report.bench_record import BenchReport
from halve.report.bench_text import bench_lines, print_bench
from models import mlp

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "bench.schema.json").read_text("utf-8"))
QUICK = ("--rounds", "2", "--round-time", "0.01", "--warmup", "1", "--threads", "1")


def make_report() -> BenchReport:
    """A result with everything in it, and a name that HTML must not read."""
    node = PlacedNode(3, "<b>&", "Conv", "CPUExecutionProvider", ("float",))
    models = (
        BenchModel("a/model.onnx", 4_000_000, 0, load_s=0.05, loaded_bytes=9, peak_bytes=10),
        BenchModel("b/model.onnx", 2_000_000, 7, (node,), (), 4, 0.06, 8_000_000, 9_000_000),
        BenchModel("<script>.onnx", 2_000_000, 7, unknown="its process failed"),
    )
    rows = tuple(
        BenchRow(m, batch, 1, 20, 2e-3, 1e-3, 2e-3 + m * 1e-4, 3e-3, 4e-3, 500.0, 1.0, (2e-3, 2e-3))
        for batch in (1, 8)
        for m in range(3)
    )
    machine = {"system": "Linux", "processor": "x86_64", "cores": 2, "python": "3.11"}
    options = BenchOptions(batch_sizes=(1, 8), custom_op_library=Path("ops.so"))
    warnings = ("3 nodes run elsewhere <b>",)
    result = BenchResult(models, rows, options, 2, "1.31.1", machine, warnings, 1.5)
    return BenchReport("1.2.3", result)


def test_the_record_is_as_the_schema_says() -> None:
    record = json.loads(json.dumps(make_report().as_json(), allow_nan=False))
    jsonschema.validate(record, SCHEMA)
    assert record["options"]["custom_op_library"] == "ops.so"
    assert record["models"][1]["float32"][0]["id"] == 3


def test_lines() -> None:
    lines = bench_lines(make_report())
    assert lines[0] == (
        "ONNX Runtime 1.31.1, CPUExecutionProvider, 2 threads a run, 20 interleaved rounds"
    )
    assert lines[2].startswith("batch 1, 1 at a time")
    assert lines[4].split() == [
        "2:", "b/model.onnx", "2.100", "3.000", "4.000", "1.000", "20", "500.0", "1.00x",
    ]  # fmt: skip
    assert lines[-1].split() == ["<script>.onnx", "2.00", "-", "-", "-", "7", "-"]


def test_terminal() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    print_bench(make_report(), console)
    text = console.export_text()
    assert "batch 8, 1 at a time" in text
    assert "of them in float32" in text


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    page = make_bench_page(make_report())
    loads = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe", "b")
            values = dict(attrs)
            loads.extend(str(values[name]) for name in ("src", "href") if name in values)

    Reader().feed(page)
    assert "<svg" in page
    assert "&lt;script&gt;.onnx" in page
    assert all(not text.startswith(("http", "//")) for text in loads)
    assert page == make_bench_page(make_report())


def test_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    write_bench_png(path, make_report())
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.read_bytes() == draw_bench(make_report(), "png")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(halve.OutputError, match="cannot be written"):
        write_bench_png(tmp_path / "none" / "out.png", make_report())


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(halve.BackendUnavailableError, match=r"install the extra halve\[report\]"):
        draw_bench(make_report(), "png")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, what it becomes, and samples."""
    folder = tmp_path_factory.mktemp("models")
    onnx.save(mlp(), folder / "single.onnx")
    halve.convert(folder / "single.onnx", folder / "half.onnx")
    np.savez(folder / "sample0_inputs.npz", x=np.ones((3, 16), np.float32))
    return folder


def test_command(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(models / "single.onnx"), str(models / "half.onnx")]
    reports = [str(tmp_path / f"out{kind}") for kind in (".json", ".png", ".html")]
    flags = [item for report in reports for item in ("--report", report)]
    args = ["bench", *paths, "--sample-dir", str(models), *QUICK, *flags, "--batch-size", "1,4"]
    assert main(args) == 0
    captured = capsys.readouterr()
    assert "batch 4, 1 at a time" in captured.out
    assert "have no 16-bit kernel in CPUExecutionProvider" in captured.err
    record = json.loads(Path(reports[0]).read_text("utf-8"))
    jsonschema.validate(record, SCHEMA)
    assert [model["path"] for model in record["models"]] == paths
    assert len(record["models"][1]["float32"]) == 5
    assert all(Path(report).stat().st_size for report in reports)
    assert main(args) == 0, "reports of their own kind are replaced"


def test_json_and_random_inputs(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = ["--min-shapes", "x:[2,16]", "--no-memory", "--json"]
    assert main(["bench", str(models / "single.onnx"), *QUICK, *shapes]) == 0
    record = json.loads(capsys.readouterr().out)
    jsonschema.validate(record, SCHEMA)
    assert "the inputs are random" in record["warnings"][0]
    assert record["models"][0]["load_s"] is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "expected one model or more"),
        (["a.onnx", "--report", "out.txt"], "allowed: a name that ends in .html, .json, .png"),
        (["a.onnx", "--report", "o.json", "--report", "./o.json"], "names o.json twice"),
        (["a.onnx", "--rounds", "0"], "rounds is 0; allowed: 1 or more"),
        (["a.onnx", "--concurrency", "two"], "--concurrency is 'two'; allowed: a whole number"),
        (["a.onnx", "--provider-option", "x"], "allowed: KEY=VALUE"),
        (["a.onnx"], "a.onnx"),
    ],
)
def test_wrong_use(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *args]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_report_never_replaces_something_else(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "notes.png"
    other.write_bytes(b"no picture")
    assert main(["bench", str(models / "single.onnx"), "--report", str(other)]) == 1
    assert "is no PNG file; name another" in capsys.readouterr().err
    assert other.read_bytes() == b"no picture"


def test_every_option_has_a_flag() -> None:
    fields = {flag.field for flag in FLAGS} | WITHOUT_FLAG
    assert fields == set(BenchOptions.__dataclass_fields__)
    assert replace(BenchOptions(), memory=False).memory is False

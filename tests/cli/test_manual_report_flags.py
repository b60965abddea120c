"""The flags that show manual mode: checked before the work, and each does what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halve.cli.manual_report import ManualView, add_view_flags, manual_view
from halve.cli.parser import Parser
from halve.errors import OptionError, OutputError
from halve.report.manual_rows import SORT_KEYS
from manual_report_cases import make_manual_report
from onnx_text import parse

TEXT = "g (float[2] x) => (float[2] y) { a = Exp(x) b = Neg(a) y = Add(a, b) }"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(parse(TEXT).SerializeToString())
    return path


def view(source: Path, *args: str, written: tuple[Path, ...] = ()) -> ManualView:
    parser = Parser("manual", description="", usage="", example="")
    add_view_flags(parser)
    return manual_view(parser.parse(args), source, written=written)


def record() -> dict[str, object]:
    return {"kind": "manual"}


def test_defaults(source: Path) -> None:
    assert view(source) == ManualView((), 20, "overflow", quiet=False, as_json=False)


@pytest.mark.parametrize("sort", SORT_KEYS)
def test_lines_by_every_key(source: Path, sort: str, capsys: pytest.CaptureFixture[str]) -> None:
    view(source, "--top", "3", "--sort", sort).deliver(make_manual_report(), record, source)
    shown = capsys.readouterr()
    assert shown.out.count("\ntensor ") == 3
    assert shown.err == "halve: warning: a warning\n"


def test_files_and_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, first, second = (source.with_name(name) for name in ("p.html", "p.json", "q.json"))
    shown = view(source, "--report", str(page), "--output-json", str(first), "--json")
    assert shown.wants_distribution
    shown.deliver(make_manual_report(3), record, source)
    assert json.loads(capsys.readouterr().out) == record()
    assert json.loads(first.read_text("utf-8")) == record()
    # The model's own edges: its three nodes are drawn.
    assert page.read_text("utf-8").count('class="box ') == 3
    quiet = view(source, "--report", str(second), "--quiet")
    assert not quiet.wants_distribution
    quiet.deliver(make_manual_report(3), record, source)
    assert json.loads(second.read_text("utf-8")) == record()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--top", "-1"], "--top is -1; allowed: 0 or more"),
        (["--top", "all"], "--top is 'all'; allowed: a whole number"),
        (["--sort", "size"], "--sort is 'size'; allowed: overflow, local"),
        (["--report", "out.txt"], "--report is 'out.txt'; allowed: a name that ends in .html"),
        (["--report", ""], "the path of --report is ''"),
    ],
)
def test_wrong_values(source: Path, args: list[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        view(source, *args)
    assert message in str(caught.value)


def test_a_report_replaces_no_model(source: Path) -> None:
    with pytest.raises(OptionError, match="is the model itself"):
        view(source, "--output-json", str(source))
    page = str(source.with_name("page.html"))
    with pytest.raises(OptionError, match="give each a file of its own"):
        view(source, "--report", page, "--output-json", page)
    deploy = source.with_name("deploy.json")
    with pytest.raises(OptionError, match="is the model itself"):
        view(source, "--report", str(deploy), written=(deploy,))
    other = source.with_name("other.html")
    other.write_text("a letter", "utf-8")
    with pytest.raises(OutputError, match=r"exists and is no HTML file"):
        view(source, "--report", str(other))

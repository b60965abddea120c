"""`halve auto` around its search: reports, exit status, output; the search is a recorded one."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_report_cases import make_borders, make_report
from halve.cli.main import main
from halve.cli.search_flags import FLAGS
from halve.cli.verify_plan import SEARCH_ONLY
from halve.errors import VerdictError
from halve.report.search_record import BorderRow
from halve.search_options import SearchOptions
from halve.search_types import FinalVerdict, SearchEvent, SearchResult
from halve.session import Sample, write_samples
from halve.types import ConvertResult, WriteSummary
from models import mlp


@dataclass
class Found:
    """What `halve.auto` returns."""

    search: SearchResult
    convert: ConvertResult
    borders: tuple[BorderRow, ...]
    verdict: FinalVerdict


@dataclass
class Library:
    """In place of `halve.auto`: records how it was called, and returns what it was given."""

    passed: bool = True
    events: tuple[SearchEvent, ...] = ()
    calls: list[dict[str, Any]] = field(default_factory=list)

    def auto(
        self, source: Path, target: Path, samples: Sequence[Sample], *, options: SearchOptions
    ) -> Found:
        self.calls.append({"paths": (source, target), "samples": samples, "options": options})
        for event in self.events if options.progress else ():
            options.progress(event)
        report = make_report()
        verdict = replace(report.search.verdict, passed=self.passed)
        search = replace(report.search, verdict=verdict, warnings=("a mask was clamped",))
        data = target.with_name(target.name + ".data")
        summary = WriteSummary((target, data), (), 40, 20, ())
        convert = ConvertResult(
            target, None, search.plan, summary, report.casts, 3, 40, False, (), 0.5
        )
        return Found(search, convert, make_borders(), verdict)

    def verify_plan(
        self, source: Path, plan: Path, samples: Sequence[Sample], *, options: SearchOptions
    ) -> FinalVerdict:
        self.calls.append({"paths": (source, plan), "samples": samples, "options": options})
        return replace(make_report().search.verdict, passed=self.passed)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    module = importlib.import_module("halve.auto")  # `halve.auto` itself is the function
    for name in ("auto", "verify_plan"):
        # Through `made`, so that a test can replace a function of it.
        monkeypatch.setattr(module, name, _forward(made, name))
    return made


def _forward(library: Library, name: str) -> Callable[..., Any]:
    def call(*args: object, **options: object) -> object:
        return getattr(library, name)(*args, **options)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.onnx").write_bytes(mlp().SerializeToString())
    write_samples(tmp_path / "s", [Sample(3, {"x": np.zeros((1, 16), np.float32)})])
    return tmp_path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def arguments(folder: Path, *more: str) -> list[str]:
    paths = [str(folder / "in.onnx"), str(folder / "out.onnx")]
    return ["auto", *paths, "--sample-dir", str(folder / "s"), *more]


def test_the_search_gets_what_was_asked_for(folder: Path, library: Library) -> None:
    assert main(arguments(folder, "--rtol", "1e-3", "--target", "any", "--quiet")) == 0
    (call,) = library.calls
    assert call["paths"] == (folder / "in.onnx", folder / "out.onnx")
    assert [sample.id for sample in call["samples"]] == [3]
    assert call["options"].tolerances.default.rtol == 1e-3
    assert call["options"].convert.target == "any"
    assert call["options"].progress is None  # stderr is no terminal here


def test_lines_in_a_pipe(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder)) == 0
    shown = capsys.readouterr()
    assert "verdict    passed, emulated" in shown.out
    assert shown.err == "halve: warning: a mask was clamped\n"


EVENTS = (
    SearchEvent("grow", 1, "??", ((0, 1),), None, None, 0.1),
    SearchEvent("grow", 2, "??", ((0, 1),), None, None, 0.2),
    SearchEvent("grow", 3, "h?", ((0, 0), (1, 1)), None, None, 0.3),
)


@pytest.mark.parametrize(
    ("more", "trials"),
    [([], []), (["--progress-lines"], [1, 3]), (["--progress_lines", "--quiet"], [])],
)
def test_progress_in_a_pipe_is_asked_for(
    folder: Path,
    library: Library,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    trials: list[int],
) -> None:
    library.events = EVENTS
    assert main(arguments(folder, *more)) == 0
    err = capsys.readouterr().err.splitlines()
    lines = [line for line in err if "warning" not in line]
    assert [line.split(",")[0] for line in lines] == [f"grow: trial {trial}" for trial in trials]


def test_quiet_is_silent(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_a_failed_verdict_is_status_2(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    library.passed = False
    assert main(arguments(folder)) == 2
    assert "FAILED" in capsys.readouterr().out


def test_no_verified_model_is_status_2(
    folder: Path,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> Found:
        raise VerdictError("no set passes")

    monkeypatch.setattr(library, "auto", fail)
    assert main(arguments(folder)) == 2
    assert capsys.readouterr().err == "halve: error: no set passes\n"


def test_the_record_on_stdout_and_in_files(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    report, output = folder / "r.json", folder / "o.json"
    work = folder / "w"
    work.mkdir()
    (work / "plan.json").write_text("{}", "utf-8")
    more = ["--json", "--report", str(report), "--output_json", str(output)]
    assert main(arguments(folder, *more, "--workspace", str(work))) == 0
    texts = [capsys.readouterr().out, report.read_text("utf-8"), output.read_text("utf-8")]
    records = [json.loads(text) for text in texts]
    assert records[0] == records[1] == records[2]
    record = records[0]
    assert record["output_files"] == {
        "deploy": str(folder / "out.onnx"),
        "plan": str(work / "plan.json"),
    }
    assert record["options"]["margin"] == 0.8
    assert "onnx" in record["versions"]
    assert record["notes"] == ["samples were given"]


def test_the_page(folder: Path, library: Library) -> None:
    page = folder / "out.html"
    assert main(arguments(folder, "--report", str(page), "--quiet")) == 0
    assert page.read_text("utf-8").lstrip().startswith("<!DOCTYPE html>")
    assert main(arguments(folder, "--report", str(page), "--quiet")) == 0  # a page is replaced


def test_random_samples_are_made_and_said(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(folder / "in.onnx"), str(folder / "out.onnx")]
    assert main(["auto", *paths, "--min-shapes", "x:[2,16]", "--seed", "4", "--json"]) == 0
    assert [sample.inputs["x"].shape for sample in library.calls[0]["samples"]] == [(2, 16)] * 4
    assert "random (seed 4)" in json.loads(capsys.readouterr().out)["notes"][-1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.txt", None, "allowed: a name that ends in .html, .json"),
        ("in.onnx", None, "allowed: a name that ends in"),
        ("none/r.html", None, "there is no folder"),
        ("r.html", "weights", "exists and is no HTML file"),
        ("r.json", "<html>", "exists and is no JSON file"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_the_search(  # noqa: PLR0917 - cases
    folder: Path,
    library: Library,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str | None,
    message: str,
) -> None:
    report = folder / name
    if text is not None:
        report.write_text(text, "utf-8")
    assert main(arguments(folder, "--report", str(report))) == 1
    assert message in capsys.readouterr().err
    assert library.calls == []


@pytest.mark.parametrize("name", ["r.json", "r.html"])
def test_one_file_for_two_reports_is_refused_before_the_search(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    files = ["--report", str(folder / name), "--output-json", f"{folder}/../{folder.name}/{name}"]
    assert main(arguments(folder, *files)) == 1
    assert "give each a file of its own" in capsys.readouterr().err
    assert library.calls == []


def test_a_report_is_not_written_over_the_new_weights(
    folder: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(folder / "in.onnx"), str(folder / "w")]
    samples = ["--sample-dir", str(folder / "s")]
    assert main(["auto", *paths, *samples, "--output-json", str(folder / "w.data")]) == 1
    assert "is a file of the new model, which is complete" in capsys.readouterr().err


@pytest.mark.parametrize(("passed", "status"), [(True, 0), (False, 2)])
def test_a_plan_is_judged_again(
    folder: Path,
    library: Library,
    capsys: pytest.CaptureFixture[str],
    passed: bool,
    status: int,
) -> None:
    library.passed = passed
    args = ["auto", str(folder / "in.onnx"), "--sample-dir", str(folder / "s")]
    assert main([*args, "--verify_plan", "p.json", "--json"]) == status
    assert library.calls[0]["paths"] == (folder / "in.onnx", Path("p.json"))
    verified = json.loads(capsys.readouterr().out)["verified"]
    assert (verified["level"], verified["passed"]) == ("emulated", passed)
    assert main([*args, "--verify-plan", "p.json"]) == status
    assert "emulated\nsamples    4 of 4 passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workspace", "w9", "--max-trials", "3"], "--max-trials, --workspace do not apply"),
        (
            ["--isolate"],
            "--isolate does not apply to --verify-plan, which makes no search; allowed",
        ),
        (["--report", "v.html"], "'v.html'; allowed: a name that ends in .json (the page shows"),
        (["--output-json", "p.json"], "--output-json p.json is the model itself"),
        (["--fp32-nodes", "@q.json"], "--fp32-nodes @q.json and --verify-plan p.json each name"),
    ],
)
def test_what_cannot_matter_to_a_plan_is_refused(
    here: Path,
    library: Library,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert main(["auto", "in.onnx", "--sample-dir", "s", "--verify-plan", "p.json", *more]) == 1
    assert message in capsys.readouterr().err
    assert not library.calls
    assert sorted(path.name for path in here.iterdir()) == ["in.onnx", "s"]


def test_every_flag_of_a_search_applies_to_a_plan_or_is_refused() -> None:
    applies = {"validate", "seed", "threads_per_trial", "provider", "provider_options",
               "session_options", "devices", "feedback"}  # fmt: skip
    assert {flag.field for flag in FLAGS} == applies | set(SEARCH_ONLY)
    assert not applies & set(SEARCH_ONLY)


@pytest.mark.parametrize("more", [[], ["a", "b", "c"], ["--verify-plan", "p", "a", "b"]])
def test_a_wrong_number_of_paths(
    more: list[str], library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["auto", *more, "--sample-dir", "s"]) == 1
    assert "see halve auto --help" in capsys.readouterr().err

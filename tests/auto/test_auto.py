"""An automatic search from model and samples to a judged file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import halve
from auto_search import KEPT, TIGHT, find, normal
from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto import job
from halve.auto.candidate import Judge, judge_settings
from halve.auto.evaluators import make_evaluator
from halve.auto.job import prepare
from halve.auto.workspace import open_workspace
from halve.errors import (
    OutputError,
    SampleError,
    SessionError,
    VerdictError,
    WorkspaceError,
)
from halve.search_types import Evaluator, FinalVerdict, SearchEvent, SearchResult, Trial
from halve.session.probe import Probe
from halve.session.weight_store import WeightStore
from halve.session.written import open_written, reference_outputs
from onnx_text import parse
from worked_example import WORKED, worked_example


def kept_types(result: SearchResult) -> list[str]:
    return [node.type for node in result.plan.nodes if node.id in result.required]


def causes(result: SearchResult) -> dict[str, str]:
    types = {node.id: node.type for node in result.plan.nodes}
    return {types[row.nodes[0]]: row.cause for row in result.evidence}


LAYER_NORM = """g (float[4, 64] x) => (float[4, 64] y) <float two = {2.0}, float eps = {0.00001}> {
    m = ReduceMean<axes = [-1]>(x)
    d = Sub(x, m)
    p = Pow(d, two)
    v = ReduceMean<axes = [-1]>(p)
    e = Add(v, eps)
    s = Sqrt(e)
    y = Div(d, s)
}"""


def test_a_decomposed_layer_norm_whose_squares_overflow() -> None:
    result = find(parse(LAYER_NORM), {"x": normal(4, 64, scale=1e3)})
    assert result.verdict.passed
    assert result.verdict.level == "emulated"
    assert "Pow" in kept_types(result)
    assert causes(result)["Pow"] in ("overflow", "sum")
    assert any("65504" in row.reason for row in result.evidence)


def test_log_of_a_tiny_floor() -> None:
    text = """g (float[8] x) => (float[8] y) <float eps = {0.000000000001}> {
        a = Max(x, eps) y = Log(a)
    }"""
    x = np.linspace(-1, 2, 8, dtype=np.float32)
    result = find(parse(text), {"x": x})
    assert kept_types(result) == ["Max", "Log"]
    assert causes(result)["Max"] == "underflow"


def test_a_mask_made_at_run_time() -> None:
    text = """g (float[2, 8] x, float[2, 8] m) => (float[2, 8] y)
    <float one = {1.0}, float low = {-3.4e38}> {
        s = Mul(x, one) i = Sub(one, m) b = Mul(i, low) t = Add(s, b) u = Add(t, b)
        y = Softmax(u)
    }"""
    mask = np.ones((2, 8), np.float32)
    mask[:, 5:] = 0
    result = find(parse(text), {"x": normal(2, 8), "m": mask})
    # -inf masks as well as any large number, so nothing needs to stay; what overflows is told.
    assert result.verdict.passed


def test_a_mask_times_zero_needs_float32() -> None:
    text = """g (float[2, 8] x, float[2, 8] m) => (float[2, 8] y)
    <float big = {300.0}, float huge = {-1000.0}> {
        i = Mul(m, big) b = Mul(i, huge) z = Mul(b, m) t = Sub(z, b) u = Add(x, t)
        y = Softmax(u)
    }"""
    mask = np.zeros((2, 8), np.float32)
    mask[:, 5:] = 1
    result = find(parse(text), {"x": normal(2, 8), "m": mask})
    assert result.verdict.passed
    assert set(kept_types(result)) & {"Mul", "Sub"}
    assert set(causes(result).values()) & {"overflow", "mask"}


def test_a_constant_mask_is_clamped_and_reported() -> None:
    text = """g (float[2, 8] x) => (float[2, 8] y)
    <float[8] m = {0, 0, 0, 0, 0, -3.4e38, -3.4e38, -3.4e38}> { t = Add(x, m) y = Softmax(t) }"""
    result = find(parse(text), {"x": normal(2, 8)})
    assert result.required == ()
    assert any("3 lowered to the maximum" in text for text in result.warnings)


def test_a_sum_beyond_the_range() -> None:
    text = """g (float[2, 4096] x) => (float[2, 1] y) <float k = {0.001}> {
        s = ReduceSum(x) t = Mul(s, k) y = Exp(t)
    }"""
    model = parse(text.replace("ReduceSum(x)", "ReduceSum<keepdims = 1>(x, axes)").replace(
        "<float k = {0.001}>", "<float k = {0.00001}, int64[1] axes = {1}>"
    ))  # fmt: skip
    x = np.abs(normal(2, 4096, scale=40))
    result = find(model, {"x": x})
    assert "ReduceSum" in kept_types(result)
    assert causes(result)["ReduceSum"] == "sum"
    assert "4096 elements" in next(r.reason for r in result.evidence if r.cause == "sum")


def test_two_adjacent_nodes_are_found_and_no_more() -> None:
    x = normal(1, 16)
    result = find(worked_example(), {"x": x})
    names = [node.name for node in result.plan.nodes if node.id in result.required]
    assert names == ["square", "back"]
    assert result.complete


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_do_not_change_journal_plan_or_bytes(workers: int, tmp_path: Path) -> None:
    model, feed = parse(LAYER_NORM), {"x": np.full((4, 64), 7, np.float32)}
    feed["x"][:, ::3] = 900
    runs = []
    for number, count in enumerate((1, workers)):
        folder = tmp_path / f"w{number}"
        options = SearchOptions(convert=KEPT, tolerances=TIGHT, workers=count, workspace=folder)
        (tmp_path / f"{number}").mkdir()
        target = tmp_path / f"{number}" / "m.onnx"
        halve.auto(model, target, [feed], options=options)
        files = (folder / "journal.jsonl", folder / "plan.json", target)
        runs.append([file.read_bytes() for file in files])
    assert runs[0] == runs[1]


def test_where_weights_lie_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a larger model are in a side file while it is searched. It is observed without
    packing them, which may change the last digit of what a reason says.
    """
    model = parse(WORKED.replace("16", "64"))
    weight = np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32) / 8
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    feed, runs, stores = {"x": normal(1, 64)}, [], []

    class Watched(WeightStore):
        def __init__(self, *args: Any) -> None:
            stores.append(self)
            super().__init__(*args)

    monkeypatch.setattr(job, "WeightStore", Watched)
    for limit in (1 << 20, 0):
        monkeypatch.setattr(job, "_IN_MEMORY_BYTES", limit)
        assert not stores
        folder = tmp_path / str(limit)
        target = folder / "m.onnx"
        options = SearchOptions(convert=KEPT, tolerances=TIGHT, workspace=folder / "w")
        folder.mkdir()
        halve.auto(model, target, [feed], options=options)
        runs.append([file.read_bytes() for file in (folder / "w" / "journal.jsonl", target)])
    assert stores
    assert runs[0] == runs[1]


class Killed(Exception):
    """Stands for a process that ends in the middle of a search."""


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_search_that_was_ended_goes_on_from_its_journal(after: int, tmp_path: Path) -> None:
    model, feed = parse(LAYER_NORM), {"x": np.linspace(-900, 900, 256, dtype=np.float32)}
    feed["x"] = feed["x"].reshape(4, 64)
    whole = SearchOptions(convert=KEPT, tolerances=TIGHT, workspace=tmp_path / "whole")
    first = halve.search(model, [feed], options=whole)

    def stop(event: SearchEvent) -> None:
        if event.trials >= after:
            raise Killed

    parts = replace(whole, workspace=tmp_path / "parts")
    with pytest.raises(Killed):
        halve.search(model, [feed], options=replace(parts, progress=stop))
    second = halve.search(model, [feed], options=parts)
    assert second.plan == first.plan
    assert second.trials == first.trials
    for name in ("journal.jsonl", "plan.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", ["basic_pitch", "silero_vad_v3", "yunet"])
def test_every_required_unit_is_required(
    name: str, trained_model_dir: Path, tmp_path: Path
) -> None:
    """Each unit of a finished search, made 16-bit alone, makes the verdict fail: the probe's, or
    where that would pass, the judge's of the written model.
    """
    folder = trained_model_dir / name
    options = SearchOptions(convert=ConvertOptions(keep_io_types=True), tolerances=TIGHT, workers=2)
    source, samples = folder / "model.onnx", halve.read_samples(folder)[:2]
    result = halve.search(source, samples, options=options)
    assert result.complete
    assert result.verdict.passed
    assert result.required
    probe = evaluator_of(source, samples, options)
    units = {row.unit: row.nodes for row in result.evidence if row.role == "required"}
    assert all(probe.run(frozenset(units), k).passed for k in range(len(samples)))
    for unit in units:
        rest = frozenset(units) - {unit}
        if all(probe.run(rest, k).passed for k in range(len(samples))):
            ids = tuple(number for other in rest for number in units[other])
            written = tmp_path / "rest.onnx"
            convert = ConvertOptions(keep_io_types=True, fp32_nodes=ids)
            halve.convert(source, written, options=convert)
            assert not judge_written(source, written, samples, options).passed, unit


def evaluator_of(source: Path, samples: tuple[Sample, ...], options: SearchOptions) -> Evaluator:
    with open_workspace(None, clean=False) as workspace:
        judge = Judge.prepare(source, samples, frozenset(), options, workspace)
        return make_evaluator(prepare(source, samples, options, workspace), judge, workspace)


def judge_written(
    source: Path, written: Path, samples: tuple[Sample, ...], options: SearchOptions
) -> FinalVerdict:
    settings = judge_settings(options)
    references, _ = reference_outputs(source, samples, settings)
    return open_written(written, settings).judge(samples, references, options.tolerances)


def test_a_corrupted_probe_is_found_out_by_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe's mask is wired wrongly, so that what it passes does not pass when written: the
    judge says so, and the repair goes by its word.
    """
    real = Probe.run

    def swapped(self: Probe, fp32: frozenset[int], sample: int) -> Any:
        every = frozenset(range(len(self.units)))
        return real(self, fp32 if fp32 in (every, frozenset()) else every, sample)

    monkeypatch.setattr(Probe, "run", swapped)
    result = find(worked_example(), {"x": normal(1, 16)})
    refused = [row for row in result.trials if row.phase == "repair" and not row.passed]
    assert refused
    assert result.verdict.passed
    assert {"square", "back"} <= {n.name for n in result.plan.nodes if n.id in result.required}


def test_what_is_written_is_what_was_judged(tmp_path: Path) -> None:
    target = tmp_path / "mixed.onnx"
    samples = [Sample(k, {"x": normal(1, 16)}) for k in (3, 5, 8, 9)]
    model = worked_example()
    result = halve.auto(model, target, samples, options=SearchOptions(convert=KEPT))
    assert [row.held_out for row in result.verdict.samples] == [False, False, False, True]
    assert [row.id for row in result.verdict.samples] == [3, 5, 8, 9]
    written = onnx.load(target)
    onnx.checker.check_model(written, full_check=True)
    plan = tmp_path / "plan.json"
    result.search.plan.save(plan)
    verdict = halve.verify_plan(model, plan, samples, options=SearchOptions(convert=KEPT))
    assert verdict.passed
    assert len(verdict.samples) == 4
    assert result.borders
    assert all(b.headroom is None or b.headroom > 0 for b in result.borders)


def test_golden_outputs_are_what_counts() -> None:
    model, x = worked_example(), normal(1, 16)
    wrong = Sample(0, {"x": x}, {"y": np.full((1, 16), 9, np.float32)})
    with pytest.raises(VerdictError, match=r"sample 0 fails its check .* golden outputs are not"):
        halve.search(model, [wrong], options=SearchOptions(convert=KEPT))


def test_a_model_that_only_its_border_spoils_says_so() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Exp(x) }")
    feed = {"x": np.array([70000.0, 1.0], np.float32)}
    model = parse("g (float[2] x) => (float[2] y) <float k = {0.5}> { y = Mul(x, k) }")
    with pytest.raises(VerdictError, match="--keep-io-types"):
        find(model, feed, convert=ConvertOptions(target="any"))


@pytest.mark.parametrize("keep", [True, False])
def test_a_float32_run_with_nan_is_told_as_such(keep: bool) -> None:
    x = normal(1, 16)
    x[0, 3] = np.nan
    samples = [Sample(2, {"x": normal(1, 16)}), Sample(7, {"x": x})]
    options = SearchOptions(convert=ConvertOptions(keep_io_types=keep, target="any"))
    words = r"^the float32 run itself has NaN in output 'y' on sample 7, and its input 'x' has"
    with pytest.raises(VerdictError, match=words) as raised:
        halve.search(worked_example(), samples, options=options)
    assert "--keep-io-types" not in str(raised.value)


def test_an_infinite_reference_is_told_where_the_tolerance_has_no_use_for_it() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Exp(x) }")
    feed = {"x": np.array([1.0, 100.0], np.float32)}
    assert find(model, feed).verdict.passed
    with pytest.raises(VerdictError, match=r"has infinity in output 'y' on sample 0: by this"):
        find(model, feed, tolerances=Tolerances(OutputTolerance(cos_sim=0.99)))


def broken(probe: Probe, fp32: frozenset[int], sample: int) -> Trial:
    return Trial(sample, failure="a run has no result: it passed its time limit of 1 s")


def test_a_check_that_ran_out_of_time_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and that it was is not held against the model later."""
    fields: dict[str, Any] = {"workspace": tmp_path / "w", "trial_timeout_s": 1.0}
    feed = {"x": normal(1, 16)}
    with monkeypatch.context() as patch:
        patch.setattr(Probe, "run", broken)
        with pytest.raises(
            SessionError, match=r"time limit of 1 s; .* raise --trial-timeout above 1;"
        ):
            find(worked_example(), feed, **fields)
    assert b"time limit" in (tmp_path / "w" / "journal.jsonl").read_bytes()
    result = find(worked_example(), feed, **fields)
    assert len(result.required) == 2
    assert b"time limit" not in (tmp_path / "w" / "journal.jsonl").read_bytes()


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_breaks_in_mid_search_is_told(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its set counts as failing, and the search goes on; in a workspace it can be made again."""
    fields: dict[str, Any] = {"workspace": tmp_path / "w"} if kept else {}
    feed = {"x": normal(1, 16)}
    whole = Probe.run

    def in_part(probe: Probe, fp32: frozenset[int], sample: int) -> Trial:
        every = len(fp32) == len(probe.units)
        return whole(probe, fp32, sample) if every else broken(probe, fp32, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Probe, "run", in_part)
        result = find(worked_example(), feed, **fields)
    (warning,) = result.warnings
    assert "of the search broke and count" in warning
    assert "(the first: a run has no result: it passed its time limit of 1 s)" in warning
    assert warning.endswith("to repeat them" if kept else "search again")
    again = find(worked_example(), feed, **fields)
    assert not again.warnings
    assert len(again.required) == 2


def test_the_float32_share_counts_what_nothing_was_tried_about() -> None:
    feed = {"x": normal(1, 16)}
    found = find(worked_example(), feed)
    given = replace(KEPT, fp32_nodes=found.required)
    assert 0 < found.fp32_flop_share < 1
    assert find(worked_example(), feed, convert=given).fp32_flop_share == found.fp32_flop_share
    blocked = replace(KEPT, op_block=(".*",))
    assert find(worked_example(), feed, convert=blocked).fp32_flop_share == 1


def test_no_time_at_all_gives_a_verified_set() -> None:
    result = find(worked_example(), {"x": normal(1, 16)}, time_budget_s=1e-9)
    assert result.verdict.passed
    assert not result.complete
    assert [row.phase for row in result.trials] == ["check"]


def test_a_budget_of_trials_gives_a_verified_set() -> None:
    result = find(worked_example(), {"x": normal(1, 16)}, max_trials=4)
    assert result.verdict.passed
    assert not result.complete
    assert len(result.trials) <= 4


def test_per_output_tolerances() -> None:
    text = """g (float[64] x) => (float[64] y, float[64] z) <float k = {1.1}> {
        y = Mul(x, k) z = Exp(x)
    }"""
    strict = Tolerances(OutputTolerance(1e-2, 1e-3), {"z": OutputTolerance(1e-6, 0.0)})
    result = find(parse(text), {"x": normal(64)}, tolerances=strict)
    assert kept_types(result) == ["Exp"]


def test_feedback_rolls_a_sample_over_its_steps() -> None:
    text = """g (float[2] x, float[2] s) => (float[2] y, float[2] t) <float k = {0.9}> {
        a = Mul(s, k) t = Add(a, x) y = Tanh(t)
    }"""
    feed = {"x": normal(20, 2), "s": np.zeros(2, np.float32)}
    result = find(parse(text), feed, feedback=(("t", "s"),))
    (row,) = result.verdict.samples
    assert row.passed
    assert result.runs >= 1


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({}, "'x' is missing"),
        ({"x": np.zeros((1, 16), np.float32), "q": np.zeros(1)}, "no input 'q'"),
        ({"x": np.zeros((1, 15), np.float32)}, "shape"),
        ({"x": np.zeros((1, 16), np.int32)}, "type"),
        ({"x": np.zeros(16, np.float32)}, r"shape \[16\]; allowed"),
    ],
)
def test_samples_that_do_not_fit(feed: dict[str, NDArray[Any]], words: str) -> None:
    good = Sample(3, {"x": normal(1, 16)})
    for held_out in (0, 2):  # shown to the search, or run for its reference first
        options = SearchOptions(convert=KEPT, tolerances=TIGHT, holdout=held_out)
        with pytest.raises(SampleError, match=f"^sample 5: .*{words}"):
            halve.search(worked_example(), [good, Sample(5, feed)], options=options)


def test_a_run_that_fails_names_its_sample() -> None:
    text = """g (float[n] x) => (float[2, 3] y) <int64[2] s = {2, 3}> { y = Reshape(x, s) }"""
    feeds = [{"x": normal(6)}, {"x": normal(7)}]
    with pytest.raises(SessionError, match=r"^sample 1: .* ONNX Runtime failed while running"):
        find(parse(text), *feeds)


def test_golden_outputs_with_nan_are_refused() -> None:
    wrong = Sample(4, {"x": normal(1, 16)}, {"y": np.full((1, 16), np.nan, np.float32)})
    with pytest.raises(SampleError, match="sample 4: golden output 'y' holds NaN"):
        halve.search(worked_example(), [wrong], options=SearchOptions(convert=KEPT))


def test_no_samples() -> None:
    with pytest.raises(SampleError, match="no samples"):
        find(worked_example())


def test_the_source_is_never_the_target(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(worked_example(), path)
    before = path.read_bytes()
    with pytest.raises(OutputError):
        halve.auto(path, path, [{"x": normal(1, 16)}])
    assert path.read_bytes() == before


def test_a_workspace_of_another_model_is_refused(tmp_path: Path) -> None:
    options = SearchOptions(convert=KEPT, workspace=tmp_path / "w")
    halve.search(worked_example(), [{"x": np.ones((1, 16), np.float32)}], options=options)
    with pytest.raises(WorkspaceError, match="another search"):
        halve.search(worked_example(), [{"x": np.zeros((1, 16), np.float32)}], options=options)
    clean = replace(options, clean=True)
    halve.search(worked_example(), [{"x": np.zeros((1, 16), np.float32)}], options=clean)


def test_a_folder_of_other_files_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", "ascii")
    options = SearchOptions(convert=KEPT, workspace=tmp_path, clean=True)
    with pytest.raises(WorkspaceError, match="is no workspace"):
        halve.search(worked_example(), [{"x": normal(1, 16)}], options=options)
    assert (tmp_path / "thesis.txt").exists()

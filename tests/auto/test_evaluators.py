"""Evaluators give one answer: in children as here; sessions that of the file that is written."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import halve
from halve import ConvertOptions, OutputTolerance, SearchOptions, Tolerances
from halve.auto.candidate import judge_settings
from halve.auto.evaluators import evaluator_name
from halve.candidates import CandidateStore
from halve.errors import OptionError, SessionError, WorkspaceError
from halve.session import load, run, written
from halve.session.canary import check_arithmetic
from halve.source import open_model
from models import mlp

OPTIONS = SearchOptions(
    convert=ConvertOptions(keep_io_types=True, target="any"),
    tolerances=Tolerances(OutputTolerance(1e-5, 1e-4)),
    workers=2,
)
MODEL = mlp((64, 64, 64, 8))
(INPUT,) = [item.name for item in MODEL.graph.input]


def feed(seed: int = 0) -> dict[str, NDArray[Any]]:
    return {INPUT: np.random.default_rng(seed).standard_normal((2, 64)).astype(np.float32)}


def test_children_find_what_this_process_finds(tmp_path: Path) -> None:
    plain = halve.search(MODEL, feed(), options=OPTIONS)
    isolated = halve.search(MODEL, feed(), options=replace(OPTIONS, isolate=True))
    assert plain.required
    assert plain.verdict.passed
    assert (isolated.plan, isolated.trials) == (plain.plan, plain.trials)


@pytest.mark.parametrize("isolate", [False, True])
def test_target_cpu_runs_the_real_model(isolate: bool) -> None:
    convert = ConvertOptions(keep_io_types=True, target="cpu")
    result = halve.search(MODEL, feed(), options=replace(OPTIONS, convert=convert, isolate=isolate))
    assert result.evaluator == "sessions"
    assert result.verdict.level == "cpu"
    assert result.verdict.passed


def test_the_cpu_provider_judges_no_other_target() -> None:
    wrong = replace(OPTIONS, evaluator="sessions")
    with pytest.raises(OptionError, match="computes 16-bit models in float32"):
        halve.search(MODEL, feed(), options=wrong)
    assert evaluator_name(OPTIONS) == "probe"
    with pytest.raises(SessionError, match="erased or rounds otherwise"):
        check_arithmetic("float16", provider="CPUExecutionProvider")


@pytest.mark.parametrize("ids", [(), (0,), (1, 2), tuple(range(len(MODEL.graph.node)))])
def test_a_candidate_is_what_is_written(ids: tuple[int, ...], tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(MODEL.SerializeToString())
    store = CandidateStore(open_model(source), OPTIONS.convert, tmp_path)
    written = tmp_path / "w.onnx"
    halve.convert(source, written, options=replace(OPTIONS.convert, fp32_nodes=ids))
    candidate = load(store.model(ids), external_data_folder=tmp_path)
    for got, expected in zip(run(candidate, feed()), run(load(written), feed()), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_weights_are_kept_once_a_type(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(MODEL.SerializeToString())
    store = CandidateStore(open_model(source), OPTIONS.convert, tmp_path)
    store.model(())
    half = store.path.stat().st_size
    assert half > 0
    store.model(range(len(MODEL.graph.node)))
    both = store.path.stat().st_size
    assert both > half
    store.model((1,))
    assert store.path.stat().st_size == both


def test_a_written_model_is_judged_on_the_first_device(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SearchOptions(
        provider="CUDAExecutionProvider", devices=(3, 1), provider_options={"k": "v"}
    )
    settings = judge_settings(options)
    assert settings.level == "device"
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(written, "load", lambda *_, **options: given.append(options))
    written.open_written(Path("model.onnx"), settings)
    assert given[0]["provider"] == "CUDAExecutionProvider"
    assert given[0]["provider_options"] == {"device_id": "3", "k": "v"}
    assert judge_settings(SearchOptions()).provider_options == {}


def test_a_search_that_is_refused_leaves_no_child(
    tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    options = replace(OPTIONS, workspace=tmp_path)
    halve.search(MODEL, feed(), options=options)
    assert not children
    with pytest.raises(WorkspaceError, match="another search"):
        halve.search(MODEL, feed(), options=replace(options, isolate=True, margin=0.5))
    assert [child.poll() for child in children] == [-signal.SIGKILL]

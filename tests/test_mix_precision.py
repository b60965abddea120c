"""TopsIDEAS's module: what it finds, what it checks, and the session that it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from halve.errors import OptionError, SampleError
from halve.mix_precision import AutoMixPrecision, parse_resource_mode
from halve.session import load, run
from worked_example import make_worked_example

Array = NDArray[Any]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worked")
    make_worked_example(folder)
    return folder / "worked.onnx"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALVE_QUIET", "1")


def samples(model: Path) -> list[Array]:
    files = sorted((model.parent / "samples").iterdir())
    return [np.load(file)["x"] for file in files]


def golden(model: Path) -> list[list[Array]]:
    session = load(model)
    return [run(session, {"x": x}) for x in samples(model)]


def mixer(model: Path) -> AutoMixPrecision:
    return AutoMixPrecision(model, ["x"], [[1, 16]])


def test_the_two_nodes_are_found(model: Path) -> None:
    inputs = [[x] for x in samples(model)]
    assert mixer(model).run(inputs, golden(model), atol=1e-3) == [2, 3]


def test_blocked_nodes_are_among_the_result(model: Path) -> None:
    inputs = [{"x": x} for x in samples(model)]
    found = mixer(model).run(inputs, None, [0], atol=1e-3, resource_mode="2c1t")
    assert {0, 2, 3} <= set(found)  # and node 1, if that saves casts between them


def test_a_function_judges_in_place_of_the_tolerances(model: Path) -> None:
    seen: list[float] = []

    def judge(first: list[Array], second: list[Array]) -> bool:
        seen.append(float(np.abs(first[0] - second[0]).max()))
        return seen[-1] < 1.5

    inputs = [[x] for x in samples(model)]
    assert mixer(model).run(inputs, golden(model), val_func=judge, cluster_id=0) == []
    assert seen


def test_the_session_is_that_of_the_deployable_model(model: Path, tmp_path: Path) -> None:
    work = mixer(model)
    session = work.finalize([2, 3], resource_mode="1c2s")
    x = samples(model)[0]
    (y,) = session.run(None, {"x": x.astype(np.float16)})
    assert np.allclose(y, golden(model)[0][0], atol=1e-2)
    work.workspace = tmp_path / "work"
    work.finalize([2])
    assert (work.workspace / "deploy.onnx").is_file()


def test_lines_on_stderr(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [[x] for x in samples(model)]
    monkeypatch.delenv("HALVE_QUIET")
    mixer(model).run(inputs, None, atol=1e-3)
    assert capsys.readouterr().err.startswith("halve: ")


def test_shapes_may_vary_where_a_range_is_given(model: Path) -> None:
    work = AutoMixPrecision(model, ["x"], [[1, 16]], [[1, 16]], [[4, 16]])
    with pytest.raises(SampleError, match=r"\[1, 16\] to \[4, 16\]"):
        work.run([[np.zeros((5, 16), np.float32)]], None)


def test_wrong_arguments(model: Path) -> None:
    with pytest.raises(OptionError, match="allowed: the model's inputs"):
        AutoMixPrecision(model, ["z"], [[1, 16]])
    with pytest.raises(OptionError, match="0 shapes for 1 inputs"):
        AutoMixPrecision(model, ["x"], [])
    work = mixer(model)
    x = samples(model)[0]
    with pytest.raises(SampleError, match="as many"):
        work.run([[x]], [])
    with pytest.raises(SampleError, match="allowed: 1, for"):
        work.run([[x, x]], None)
    with pytest.raises(SampleError, match=r"allowed: \['x'\]"):
        work.run([{"z": x}], None)
    with pytest.raises(SampleError, match="has shape"):
        work.run([[x[0]]], None)


@pytest.mark.parametrize(("mode", "found"), [("4c2t", (4, 2)), ("1C4S", (1, 4))])
def test_resource_modes(mode: str, found: tuple[int, int]) -> None:
    assert parse_resource_mode(mode) == found


def test_an_unknown_resource_mode() -> None:
    with pytest.raises(OptionError, match="4c2t"):
        parse_resource_mode("0c1t")

"""What `halve.auto` leaves in a workspace: the model searched, all of it in 16 bits, and OUT."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

import halve
from halve import ConvertOptions, SearchOptions
from halve.session.runtime import load
from models import text_model

MODELS = ("deploy.onnx", "fp16.onnx", "fp32.onnx")
RECORDS = (".halve-workspace", "journal.jsonl", "plan.json")
KEPT = ConvertOptions(keep_io_types=True, target="any")
FEED = {"x": np.random.default_rng(3).standard_normal((1, 32)).astype(np.float32)}


def model() -> ModelProto:
    """Two nodes of it overflow; its weight is large enough for a data file, in 16 bits too."""
    text = """g (float[1,32] x) => (float[1,32] y) <float up = {1000.0}, float down = {0.000001}> {
        a = MatMul(x, w) b = Mul(a, up) c = Mul(b, b) d = Mul(c, down) y = Tanh(d)
    }"""
    weight = np.random.default_rng(5).standard_normal((32, 32)).astype(np.float32) / 6
    return text_model(text, weights={"w": weight})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(model(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def options(folder: Path, convert: ConvertOptions = KEPT) -> SearchOptions:
    tolerances = halve.Tolerances(halve.OutputTolerance(1e-2, 1e-3))
    return SearchOptions(convert=convert, tolerances=tolerances, workspace=folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def outputs(path: Path) -> NDArray[np.float32]:
    session = load(path, provider="CPUExecutionProvider")
    (made,) = session.inner.run(None, FEED)
    return np.asarray(made)


def test_the_models_of_a_search(source: Path, tmp_path: Path) -> None:
    work, target = tmp_path / "w", tmp_path / "out.onnx"
    found = halve.auto(source, target, [FEED], options=options(work))
    assert found.search.required
    assert names(work) == sorted((*MODELS, *RECORDS))
    assert (work / "deploy.onnx").read_bytes() == target.read_bytes()
    assert (work / "fp32.onnx").read_bytes() == source.read_bytes()
    assert (work / "fp32.onnx").stat().st_ino != source.stat().st_ino  # never the source itself
    halve.convert(source, tmp_path / "half.onnx", options=KEPT)
    assert (work / "fp16.onnx").read_bytes() == (tmp_path / "half.onnx").read_bytes()


def test_a_search_alone_leaves_no_model(source: Path, tmp_path: Path) -> None:
    halve.search(source, [FEED], options=options(tmp_path / "w"))
    assert names(tmp_path / "w") == sorted(RECORDS)


def test_what_the_options_keep_is_float32_in_all_of_them(source: Path, tmp_path: Path) -> None:
    convert = ConvertOptions(keep_io_types=True, target="any", fp32_nodes=(2, 3))
    asked = options(tmp_path / "w", convert)
    halve.auto(source, tmp_path / "out.onnx", [FEED], options=asked)
    half = (tmp_path / "w" / "fp16.onnx").read_bytes()
    assert half == (tmp_path / "out.onnx").read_bytes()


def test_data_files_are_streamed_and_replaced(tmp_path: Path) -> None:
    source, target, work = tmp_path / "m.onnx", tmp_path / "out.onnx", tmp_path / "w"
    location = {"location": "m.data", "size_threshold": 0}
    onnx.save(model(), source, save_as_external_data=True, **location)
    convert = ConvertOptions(keep_io_types=True, target="any", external_data="always")
    for _ in range(2):  # the second run replaces what the first left, and leaves nothing beside it
        halve.auto(source, target, [FEED], options=options(work, convert))
        data = [name for name in names(work) if name not in (*MODELS, *RECORDS)]
        assert len(data) == len({name.split(".onnx")[0] for name in data}) == 3
        assert all(name.startswith(MODELS) for name in data)
    assert np.array_equal(outputs(work / "fp32.onnx"), outputs(source))
    assert np.array_equal(outputs(work / "deploy.onnx"), outputs(target))


def test_files_that_the_caller_named_are_left_to_that(source: Path, tmp_path: Path) -> None:
    work = tmp_path / "w"
    halve.search(source, [FEED], options=options(work))
    shutil.copy(source, work / "fp32.onnx")
    place = (work / "fp32.onnx").stat()
    halve.auto(work / "fp32.onnx", work / "deploy.onnx", [FEED], options=options(work))
    assert (work / "fp32.onnx").stat() == place
    assert names(work) == sorted((*MODELS, *RECORDS))

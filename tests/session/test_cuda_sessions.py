"""Sessions on a device: one answer for any number of slots, shared weights, the real 16-bit run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import halve
from halve import ConvertOptions, OutputTolerance, SearchOptions, Tolerances
from halve.candidates import CandidateStore
from halve.search_types import Trial, UnitSet
from halve.session.canary import check_arithmetic, check_canary
from halve.session.providers import CUDA_PROVIDER
from halve.session.runtime import lend, load, run, upload
from halve.session.samples import Sample
from halve.session.sessions import SessionEvaluator, SessionSettings
from halve.source import open_model
from models import mlp

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.gpu

MODEL = mlp((256, 256, 256, 64))
(INPUT,) = [item.name for item in MODEL.graph.input]
FEED = {INPUT: np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)}
CONVERT = ConvertOptions(keep_io_types=True)
TOLERANCES = Tolerances(OutputTolerance(1e-4, 1e-2))
SETS: list[UnitSet] = [frozenset(range(k)) for k in range(len(MODEL.graph.node) + 1)]


@pytest.fixture(autouse=True)
def _provider() -> None:
    if CUDA_PROVIDER not in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {CUDA_PROVIDER}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(MODEL, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def evaluator(source: Path, **settings: Any) -> SessionEvaluator:
    folder = source.parent / "weights"
    folder.mkdir(exist_ok=True)
    store = CandidateStore(open_model(source), CONVERT, folder)
    references = run(load(MODEL, provider=CUDA_PROVIDER), FEED)
    names = [item.name for item in MODEL.graph.output]
    return SessionEvaluator(
        lambda fp32: store.model(sorted(fp32)),
        [Sample(0, FEED)],
        [dict(zip(names, references, strict=True))],
        TOLERANCES,
        SessionSettings(folder=folder, provider=CUDA_PROVIDER, kept=8, **settings),
    )


def trials(used: SessionEvaluator, threads: int) -> list[Trial]:
    found: dict[UnitSet, Trial] = {}

    def work(number: int) -> None:
        for fp32 in SETS[number::threads]:
            found[fp32] = used.run(fp32, 0)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [found[fp32] for fp32 in SETS]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_provider_keeps_casts_and_computes_in_16_bits(dtype: str) -> None:
    check_canary(dtype, provider=CUDA_PROVIDER)
    check_arithmetic(dtype, provider=CUDA_PROVIDER)


def test_any_number_of_slots_gives_the_same_trials(source: Path) -> None:
    alone = trials(evaluator(source), 1)
    assert [trial.failure for trial in alone] == [""] * len(SETS)
    assert alone[-1].passed  # the float32 model against itself, without TF32
    assert alone[0].error > 0
    for slots in (2, 8):
        together = trials(evaluator(source, slots=slots, device_bytes=8 << 30), slots)
        assert [(t.passed, t.error, t.energy) for t in together] == [
            (t.passed, t.error, t.energy) for t in alone
        ]


def test_the_device_judges_as_the_processor_does(source: Path) -> None:
    there = trials(evaluator(source), 1)
    here = trials(evaluator(source, keep_values=True), 1)
    assert [t.outputs[0].comparison for t in there] == [t.outputs[0].comparison for t in here]
    np.testing.assert_allclose([t.energy for t in there], [t.energy for t in here], rtol=1e-9)


def test_weights_are_used_where_they_were_uploaded(source: Path) -> None:
    """A change of the uploaded values is seen by the session: it has no copy of its own."""
    w = np.random.default_rng(2).standard_normal((256, 64)).astype(np.float32)
    value = lend(upload(np.zeros_like(w), CUDA_PROVIDER, 0))
    model = onnx.parser.parse_model(
        "<ir_version: 8, opset_import: ['' : 17]> g (float[4, 256] x) => (float[4, 64] y)"
        " { y = MatMul(x, w) }".replace("'", '"')
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones_like(w), "w"))
    options = {"session.disable_prepacking": "1"}
    session = load(
        model, provider=CUDA_PROVIDER, shared={"w": value}, optimise=False, session_options=options
    )
    x = FEED[INPUT]
    np.testing.assert_array_equal(run(session, {"x": x})[0], 0)
    value.update_inplace(w)
    np.testing.assert_allclose(run(session, {"x": x})[0], x @ w, rtol=1e-3, atol=1e-3)


def test_a_search_is_judged_on_the_device(source: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 4):
        options = SearchOptions(
            convert=CONVERT,
            tolerances=TOLERANCES,
            provider=CUDA_PROVIDER,
            evaluator="sessions",  # "auto" goes by a clock
            workers=workers,
        )
        target = tmp_path / f"mixed{workers}.onnx"
        result = halve.auto(source, target, FEED, options=options).search
        assert result.verdict.level == "device"
        assert result.verdict.passed
        found.append((result.fp32, target.read_bytes()))
    assert found[0] == found[1]


def test_conversion_by_way_of_the_device_writes_the_same_bytes(
    source: Path, tmp_path: Path
) -> None:
    halve.convert(source, tmp_path / "cpu.onnx")
    halve.convert(source, tmp_path / "gpu.onnx", options=ConvertOptions(device=0))
    assert (tmp_path / "gpu.onnx").read_bytes() == (tmp_path / "cpu.onnx").read_bytes()

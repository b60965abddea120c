"""halve.bench: what it measures, of which models, and what it says of them."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import halve
from halve import BenchOptions
from halve.bench.measure import Series, make_rows, measure_rounds
from halve.bench.placement import HalfNodes
from halve.plan import analyse
from halve.session.bound import BoundRun
from halve.session.footprint import NodeRun, measure_footprint
from halve.session.runtime import load, run
from models import mlp, text_model

QUICK = BenchOptions(rounds=2, round_s=0.01, warmup=1, threads=1, memory=False)
X = np.ones((4, 16), np.float32)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A float32 model and what it becomes."""
    folder = tmp_path_factory.mktemp("pair")
    onnx.save(mlp(), folder / "single.onnx")
    halve.convert(folder / "single.onnx", folder / "half.onnx")
    return [folder / "single.onnx", folder / "half.onnx"]


def test_rows_add_up(pair: list[Path]) -> None:
    options = replace(QUICK, batch_sizes=(1, 8), concurrency=(1, 2))
    result = halve.bench(pair, samples={"x": X}, options=options)
    keys = [(row.batch, row.concurrency, row.model) for row in result.rows]
    assert keys == [(b, c, m) for b in (1, 8) for c in (1, 2) for m in (0, 1)]
    for row in result.rows:
        assert 0 < row.min_s <= row.p50_s <= row.p90_s <= row.p99_s
        assert len(row.round_medians_s) == options.rounds
        assert row.runs >= options.rounds * row.concurrency
        assert row.speedup == 1 or row.model == 1
    assert [model.nbytes for model in result.models] == [p.stat().st_size for p in pair]
    assert [model.half_nodes for model in result.models] == [0, 5]


def test_statistics_of_known_latencies() -> None:
    first = Series([[1_000, 3_000], [2_000]], wall_s=6e-6)
    second = Series([[1_000], [4_000, 4_000]], wall_s=9e-6)
    rows = make_rows([first, second], 10, 1)
    assert rows[0].runs == 3
    assert rows[0].p50_s == pytest.approx(2e-6)
    assert rows[0].p90_s == pytest.approx(np.percentile([1e-6, 3e-6, 2e-6], 90))
    assert rows[0].throughput == pytest.approx(3 * 10 / 6e-6)
    assert rows[1].speedup == pytest.approx(statistics.median([2 / 1, 2 / 4]))


def test_rounds_are_interleaved_and_turned() -> None:
    seen: list[str] = []

    class Call:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self) -> None:
            seen.append(self.name)

    options = replace(QUICK, rounds=2, round_s=1e-9, warmup=2)
    measure_rounds([[Call("a")], [Call("b")]], options)  # type: ignore[list-item]  # it is called
    assert "".join(seen) == "aabb" + "ab" + "ba"


def test_an_error_in_a_thread_is_raised() -> None:
    class Broken:
        calls = 0

        def __call__(self) -> None:
            Broken.calls += 1
            if Broken.calls > 2:
                raise halve.SessionError("it broke")

    options = replace(QUICK, warmup=1)
    runs = [[Broken(), Broken()]]
    with pytest.raises(halve.SessionError, match="it broke"):
        measure_rounds(runs, options)  # type: ignore[arg-type]  # they are called


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_bound_runs_compute_what_runs_do(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    op, kind = ("Identity" if dtype == "bfloat16" else "Relu"), dtype.replace("32", "")
    onnx.save(text_model(f"g ({kind}[N, 4] x) => ({kind}[N, 4] y) {{ y = {op}(x) }}"), path)
    session = load(path)
    feeds = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    bound = BoundRun(session, feeds)
    (before,) = bound.outputs()
    (place,) = [value.data_ptr() for value in bound.binding.get_outputs()]
    for _ in range(50):
        bound()
        assert [value.data_ptr() for value in bound.binding.get_outputs()] == [place]
    (after,) = bound.outputs()
    np.testing.assert_array_equal(after, run(session, feeds)[0])
    np.testing.assert_array_equal(after, before)


def test_the_cpu_computes_float16_in_float32(pair: list[Path]) -> None:
    result = halve.bench(pair, samples={"x": X}, options=replace(QUICK, memory=True))
    single, half = result.models
    assert single.float32 == ()
    assert [(node.id, node.op_type, node.types) for node in half.float32] == [
        (0, "MatMul", ("float",)),
        (1, "Add", ("float",)),
        (2, "Relu", ("float",)),
        (3, "MatMul", ("float",)),
        (4, "Add", ("float",)),
    ]
    assert half.inserted_casts == 6  # one input, four weights, one output
    (warning,) = result.warnings
    assert "5 of 5 16-bit nodes have no 16-bit kernel in CPUExecutionProvider" in warning
    assert "2 MatMul, 2 Add, 1 Relu (nodes 0 MatMul" in warning
    assert half.load_s is not None
    assert half.load_s > 0
    assert 0 < (half.loaded_bytes or 0) <= (half.peak_bytes or 0)


def test_memory_grows_with_the_model(tmp_path: Path) -> None:
    sizes = {"small": (16, 16), "large": (2048, 2048, 2048)}
    peaks = {}
    for name, size in sizes.items():
        onnx.save(mlp(size), tmp_path / f"{name}.onnx")
        feeds = {"x": np.ones((1, size[0]), np.float32)}
        found = measure_footprint(tmp_path / f"{name}.onnx", feeds, {"threads": 1})
        peaks[name] = found.peak_bytes
    weights = 4 * 2 * 2048 * 2048
    assert peaks["large"] - peaks["small"] > 0.9 * weights


def test_nodes_that_stay_float32_are_no_news(pair: list[Path]) -> None:
    mixed = pair[0].with_name("mixed.onnx")
    halve.convert(pair[0], mixed, options=halve.ConvertOptions(op_block=("MatMul",)))
    result = halve.bench(mixed, samples={"x": X}, options=replace(QUICK, memory=True))
    assert {node.op_type for node in result.models[0].float32} == {"Add", "Relu"}


def test_nodes_of_other_providers() -> None:
    model = text_model("g (float16[4] x) => (float16[4] y) { t = Relu(x) y = Exp(t) }")
    nodes = HalfNodes(analyse(model))
    rows = [
        NodeRun("Relu_0", 0, "Relu", "CUDAExecutionProvider", ("float16",)),
        NodeRun("Exp_1", 1, "Exp", "CPUExecutionProvider", ("float",)),
        NodeRun("InsertedPrecisionFreeCast_t", 9, "Cast", "CUDAExecutionProvider", ("float",)),
    ]
    (moved,) = nodes.elsewhere(rows[:2], "CUDAExecutionProvider")
    assert (moved.id, moved.op_type, moved.provider) == (1, "Exp", "CPUExecutionProvider")
    assert [node.id for node in nodes.in_float32(rows)] == [1]
    assert nodes.inserted_casts(rows) == 1


def test_a_process_that_fails_is_told_and_the_rest_measured(pair: list[Path]) -> None:
    options = replace(QUICK, memory=True)
    with pytest.raises(halve.SessionError, match=r"its process failed.*no_such_option"):
        measure_footprint(pair[0], {"x": X}, {"no_such_option": 1})
    with pytest.raises(halve.SampleError, match="x"):
        halve.bench(pair, samples={"z": X}, options=options)


def test_wrong_use(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(halve.OptionError, match="no model; allowed: one path or more"):
        halve.bench([])
    fixed = tmp_path / "fixed.onnx"
    onnx.save(text_model("g (float[2] x) => (float[2] y) { y = Relu(x) }"), fixed)
    with pytest.raises(halve.OptionError, match="batch size 3: no input leaves its first"):
        halve.bench(fixed, options=replace(QUICK, batch_sizes=(3,)))
    random = halve.bench(fixed, options=QUICK)
    assert "the inputs are random" in random.warnings[0]
    with pytest.raises(halve.SampleError, match="shape"):
        halve.bench(pair, options=QUICK)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", 0),
        ("warmup", 0),
        ("round_s", 0.0),
        ("round_s", float("nan")),
        ("threads", -1),
        ("device", -1),
        ("device", 3),
        ("batch_sizes", (0,)),
        ("batch_sizes", (2, 2)),
        ("concurrency", ()),
        ("concurrency", (0,)),
        ("concurrency", (1, 1025)),
        ("optimise", "most"),
    ],
)
def test_options_are_checked(field: str, value: object) -> None:
    with pytest.raises(halve.OptionError, match=f"{field}.* allowed: "):
        BenchOptions(**{field: value})  # type: ignore[arg-type]

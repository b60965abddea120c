"""What is written ahead is taken where it is exactly what the plan asks for, and never noticed."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import halve.ahead
from halve._native.stream import RunningStream, StreamResult
from halve.ahead import Ahead, Taken, write_ahead
from halve.cli.main import main
from halve.convert import convert
from halve.errors import DataError, OutputError
from halve.options import ConvertOptions, Progress
from halve.types import ConvertResult

OPTIONS = ConvertOptions(external_data="always", threads=2)
pytestmark = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")


def make_model() -> ModelProto:
    """Weights in float32, one of them beyond float16's range, integers, and a small one."""
    rng = np.random.default_rng(3)
    weights = {
        "w": rng.standard_normal((300, 700)).astype(np.float32),
        "v": (1e5 * rng.standard_normal((700, 40))).astype(np.float32),
        "small": rng.standard_normal(40).astype(np.float32),
        "index": np.arange(300)[::-1].copy(),
    }
    nodes = [
        helper.make_node("Gather", ["w", "index"], ["g"], "gather"),
        helper.make_node("MatMul", ["g", "v"], ["m"], "matmul"),
        helper.make_node("Add", ["m", "small"], ["y"], "add"),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [300, 40])
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(params=["external", "embedded"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "in" / "model.onnx"
    path.parent.mkdir()
    external = request.param == "external"
    onnx.save(make_model(), path, save_as_external_data=external, location="model.data")
    return path


@pytest.fixture(autouse=True)
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halve.ahead, "_LEAST_NBYTES", 0)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of `Ahead.take` gave something."""
    seen: list[bool] = []
    take = Ahead.take

    def spy(self: Ahead, *args: object) -> Taken | None:
        result = take(self, *args)  # type: ignore[arg-type]
        seen.append(result is not None)
        return result

    monkeypatch.setattr(Ahead, "take", spy)
    return seen


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def convert_both(
    source: Path, begun: ConvertOptions, asked: ConvertOptions
) -> tuple[ConvertResult, ConvertResult]:
    """The same conversion without and with what `begun` asks for written ahead."""
    results = []
    for name in ("plain", "ahead"):
        folder = source.parents[1] / name
        folder.mkdir()
        target = folder / "out.onnx"
        if name == "plain":
            results.append(convert(source, target, options=asked))
        else:
            with write_ahead(source, target, begun) as ahead:
                results.append(convert(source, target, options=asked, ahead=ahead))
    plain, ahead_result = (source.parents[1] / name for name in ("plain", "ahead"))
    assert files_of(plain) == files_of(ahead_result)
    return results[0], results[1]


def without_places(result: ConvertResult) -> ConvertResult:
    return replace(result, target=None, elapsed_s=0, summary=replace(result.summary, files=()))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("keep", [False, True])
def test_what_was_written_ahead_is_taken(
    source: Path, taken: list[bool], dtype: str, keep: bool
) -> None:
    options = replace(OPTIONS, dtype=dtype, keep_io_types=keep)
    plain, ahead = convert_both(source, options, options)
    assert taken == [True]
    assert without_places(plain) == without_places(ahead)
    lowered = {row.name: row.counts.lowered for row in ahead.summary.rows}
    assert (lowered["v"] > 0) == (dtype == "float16")


@pytest.mark.parametrize(
    "asked",
    [
        replace(OPTIONS, op_block=("MatMul",)),
        replace(OPTIONS, max_finite=1000.0),
        replace(OPTIONS, min_positive=1e-3),
        replace(OPTIONS, dtype="bfloat16", max_finite=65504.0),
        replace(OPTIONS, op_block=(".*",), keep_io_types=True),
        replace(OPTIONS, external_data="never"),
        replace(OPTIONS, shard_size_bytes=400_000),
    ],
)
def test_what_the_plan_does_not_ask_for_is_dropped(
    source: Path, taken: list[bool], asked: ConvertOptions
) -> None:
    plain, ahead = convert_both(source, OPTIONS, asked)
    assert not any(taken)
    assert without_places(plain) == without_places(ahead)


def test_the_command_writes_ahead(source: Path, taken: list[bool], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = ["convert", str(source), str(out / "m.onnx"), "--quiet", "--external-data", "always"]
    assert main(command) == 0
    assert taken == [True]
    assert sorted(files_of(out)) == ["m.onnx", "m.onnx.data"]


def test_progress_goes_on_to_the_total(source: Path, tmp_path: Path, taken: list[bool]) -> None:
    steps: list[Progress] = []
    options = replace(OPTIONS, progress=steps.append)
    with write_ahead(source, tmp_path / "out.onnx", options) as ahead:
        convert(source, tmp_path / "out.onnx", options=options, ahead=ahead)
    assert taken == [True]
    done = [step.done_bytes for step in steps if step.stage == "write"]
    assert done == sorted(done)
    assert done[-1] == steps[-1].total_bytes


def test_permissions_are_those_of_any_new_file(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    before = os.umask(0o027)
    try:
        with write_ahead(source, out, OPTIONS) as ahead:
            convert(source, out, options=OPTIONS, ahead=ahead)
    finally:
        os.umask(before)
    assert (tmp_path / "out.onnx.data").stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_named_is_written_again(
    source: Path, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ahead, "_name", refuse)
    convert_both(source, OPTIONS, OPTIONS)
    assert taken == [False]


def refuse(*_: object) -> None:
    raise OSError("not here")


def test_what_goes_wrong_ahead_is_done_again(
    source: Path, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RunningStream) -> StreamResult:
        monkeypatch.undo()
        raise DataError("gone for a moment")

    with write_ahead(source, source.parent / "out.onnx", OPTIONS) as ahead:
        monkeypatch.setattr(RunningStream, "result", fail)
        result = convert(source, source.parent / "out.onnx", options=OPTIONS, ahead=ahead)
    assert taken == [False]
    monkeypatch.setattr(halve.ahead, "_LEAST_NBYTES", 0)
    convert_both(source, OPTIONS, OPTIONS)
    plain = source.parents[1] / "plain" / "out.onnx.data"
    assert result.summary.files[1].read_bytes() == plain.read_bytes()


def test_a_disk_without_room_is_reported_by_who_writes(
    source: Path, tmp_path: Path, taken: list[bool]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "out"
    out.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with (
            write_ahead(source, out / "m.onnx", OPTIONS) as ahead,
            pytest.raises(OutputError, match=r"m\.onnx\.data: no room"),
        ):
            convert(source, out / "m.onnx", options=OPTIONS, ahead=ahead)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert taken == [False]
    assert files_of(out) == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_after_an_exception(
    source: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    threads, open_files = threading.active_count(), sorted(Path("/proc/self/fd").iterdir())

    def begin_and_fail() -> None:
        with write_ahead(source, out / "m.onnx", OPTIONS) as ahead:
            assert ahead is not None
            raise error

    with pytest.raises(error):
        begin_and_fail()
    assert files_of(out) == {}
    assert threading.active_count() == threads
    assert sorted(Path("/proc/self/fd").iterdir()) == open_files


def guess_of(source: Path, options: ConvertOptions = OPTIONS) -> bool:
    with write_ahead(source, source.parent / "out.onnx", options) as ahead:
        return ahead is not None


@pytest.mark.parametrize(
    "options",
    [
        replace(OPTIONS, external_data="never"),
        replace(OPTIONS, external_data="auto"),  # too small to lie beside the model
        replace(OPTIONS, shard_size_bytes=1 << 20),
        replace(OPTIONS, fp32_nodes=(0,)),
        replace(OPTIONS, op_block=("Add",)),
        replace(OPTIONS, node_block=("add",)),
        replace(OPTIONS, plan=Path("plan.json")),
    ],
)
def test_options_that_leave_nothing_to_guess(source: Path, options: ConvertOptions) -> None:
    assert guess_of(source)
    assert not guess_of(source, options)


def test_a_small_model_is_not_begun(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halve.ahead, "_LEAST_NBYTES", 1 << 20)
    assert not guess_of(source)


def test_a_system_without_nameless_files(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    assert not guess_of(source)


def test_a_folder_that_is_not_there(source: Path, tmp_path: Path) -> None:
    with write_ahead(source, tmp_path / "none" / "out.onnx", OPTIONS) as ahead:
        assert ahead is None


def entry(tensor: TensorProto, key: str) -> onnx.StringStringEntryProto:
    return next(found for found in tensor.external_data if found.key == key)


def no_length(tensor: TensorProto, _: Path) -> None:
    tensor.external_data.remove(entry(tensor, "length"))


def negative_offset(tensor: TensorProto, _: Path) -> None:
    entry(tensor, "offset").value = "-1"


def long_length(tensor: TensorProto, _: Path) -> None:
    entry(tensor, "length").value = str(1 << 70)


def outside(tensor: TensorProto, folder: Path) -> None:
    (folder.parent / "far.data").write_bytes(bytes(1 << 20))
    entry(tensor, "location").value = "../far.data"


def missing(tensor: TensorProto, _: Path) -> None:
    entry(tensor, "location").value = "none.data"


def pipe(tensor: TensorProto, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    entry(tensor, "location").value = "pipe"


def foreign_marker(tensor: TensorProto, _: Path) -> None:
    tensor.external_data.add(key="halve.payload", value="7")


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Callable[[Callable[[TensorProto, Path], None]], Path]]:
    def save(damage: Callable[[TensorProto, Path], None]) -> Path:
        path = tmp_path / "model.onnx"
        onnx.save(make_model(), path, save_as_external_data=True, location="model.data")
        model = onnx.load(path, load_external_data=False)
        damage(model.graph.initializer[0], tmp_path)
        path.write_bytes(model.SerializeToString())
        return path

    return save


@pytest.mark.parametrize(
    "damage",
    [no_length, negative_offset, long_length, outside, missing, pipe, foreign_marker],
)
def test_a_model_that_makes_no_sense_is_left_to_its_reader(
    damaged: Callable[[Callable[[TensorProto, Path], None]], Path],
    damage: Callable[[TensorProto, Path], None],
) -> None:
    assert not guess_of(damaged(damage))


def test_what_is_no_model_is_left_to_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert not guess_of(path)
    path.write_bytes(b"\x0f" * 100)
    assert not guess_of(path)
    path.unlink()
    os.mkfifo(path)
    assert not guess_of(path)


def test_a_model_without_float32_weights_is_not_begun(tmp_path: Path) -> None:
    model = make_model()
    index = [tensor for tensor in model.graph.initializer if tensor.name == "index"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(index)
    onnx.save(model, tmp_path / "model.onnx")
    assert not guess_of(tmp_path / "model.onnx")

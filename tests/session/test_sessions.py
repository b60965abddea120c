"""The evaluator of real models: devices, shared weights, memory that does not do."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fake_cuda import FakeContext, FakeCudaError, FakeOrtValue, fake_module
from fake_runtime import FakeRuntime, FakeSession
from halve.errors import SampleError, SessionError
from halve.search_types import OutputTolerance, Tolerances, UnitSet
from halve.session import sessions as module
from halve.session import values
from halve.session.device_weights import DeviceWeights
from halve.session.providers import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
)
from halve.session.runs import Runs
from halve.session.runtime import can_lend, lend, load, run, run_bound, upload
from halve.session.samples import Sample
from halve.session.sessions import SessionEvaluator, SessionSettings, device_memory
from halve.types import DType
from onnx_text import parse

N = 256
WEIGHTS = np.random.default_rng(0).standard_normal((N, N)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((2, N)).astype(np.float32)
NONE: UnitSet = frozenset()
OUT_OF_MEMORY = "CUDA failure 2: out of memory ; GPU=0"


def model(location: str = "weights.bin", offset: int = 4096) -> bytes:
    """y = x·W, with W beside the model."""
    tensor = numpy_helper.from_array(np.zeros(0, np.float32), "w")
    tensor.ClearField("raw_data")
    del tensor.dims[:]
    tensor.dims.extend(WEIGHTS.shape)
    tensor.data_location = TensorProto.EXTERNAL
    place = {"location": location, "offset": str(offset), "length": str(WEIGHTS.nbytes)}
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, N]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [tensor]
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights.bin").write_bytes(bytes(4096) + WEIGHTS.tobytes())
    return tmp_path


def evaluator(folder: Path, **settings: Any) -> SessionEvaluator:
    return SessionEvaluator(
        lambda _: model(),
        [Sample(0, {"x": X})],
        [{"y": X @ WEIGHTS}],
        Tolerances(),
        SessionSettings(folder=folder, **settings),
    )


class Device:
    """Stands for a provider on devices: what it was asked for, and when its memory does not do.

    The CPU provider computes; `room` runs fit at a time.
    """

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.loads: list[dict[str, Any]] = []
        self.uploads: list[tuple[int, int]] = []
        self.configs: list[dict[str, str] | None] = []
        self._running = 0
        self._lock = threading.Lock()
        self.together = threading.Event()

    def load(self, proto: bytes, *, provider: str, provider_options: Any, **rest: Any) -> Any:
        self.loads.append({"provider": provider, "options": dict(provider_options), **rest})
        return load(proto, **rest)

    def upload(self, array: Any, provider: str, device: int) -> Any:
        self.uploads.append((array.nbytes, device))
        return upload(array, CPU_PROVIDER, 0)

    def run(self, *args: Any, **options: Any) -> Any:
        with self._lock:
            self._running += 1
            running = self._running
            if running > 1:
                self.together.set()
        try:
            if running > self.room:
                raise SessionError(OUT_OF_MEMORY)
            if self.room > 1 or not self.together.is_set():
                self.together.wait(0.2)
            return run(*args, **options)
        finally:
            with self._lock:
                self._running -= 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    fake = Device()
    for name in ("load", "upload", "run"):
        monkeypatch.setattr(module, name, getattr(fake, name))
    # The host's values own no memory: any release takes them.
    monkeypatch.setattr(module, "can_lend", lambda *_: True)
    monkeypatch.setattr(module, "lend", lambda value: value)
    begin = Runs.begin

    def noted(self: Runs, config: Any = None) -> Any:
        fake.configs.append(config)
        return begin(self)

    monkeypatch.setattr(Runs, "begin", noted)
    # Outputs are the host's: also where there is a real device, nothing is judged on it.
    monkeypatch.setitem(sys.modules, "halve._cuda", None)
    return fake


def in_threads(evaluator: SessionEvaluator, sets: list[UnitSet]) -> list[Any]:
    found: list[Any] = [None] * len(sets)

    def work(i: int) -> None:
        found[i] = evaluator.run(sets[i], 0)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_initializers_are_used_where_they_are_given(folder: Path) -> None:
    weights = DeviceWeights(folder, lambda array, _: upload(array * 2, CPU_PROVIDER, 0))
    shared = weights.values(model(), 0)
    assert list(shared) == ["w"]
    session = load(model(), external_data_folder=folder, shared=shared, optimise=False)
    (y,) = run(session, {"x": X})
    np.testing.assert_allclose(y, X @ (2 * WEIGHTS), rtol=1e-4, atol=1e-3)
    assert session.held == tuple(shared.values())


def owning(array: np.ndarray) -> Any:
    """A value that has memory of its own, as every value on a device has."""
    value = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), np.float32, "cpu")
    value.update_inplace(array)
    return value


def test_a_value_that_owns_its_memory_is_lent(folder: Path) -> None:
    value = owning(WEIGHTS * 3)
    if not can_lend(DType.FLOAT):
        pytest.skip(f"ONNX Runtime {ort.__version__} has no DLPack")
    with pytest.raises(SessionError, match="must be owned by the user"):
        load(model(), external_data_folder=folder, shared={"w": value})
    weights = DeviceWeights(folder, lambda array, _: lend(owning(array * 3)))
    shared = weights.values(model(), 0)
    session = load(model(), external_data_folder=folder, shared=shared, optimise=False)
    del weights, shared
    gc.collect()
    np.testing.assert_allclose(run(session, {"x": X})[0], X @ (3 * WEIGHTS), rtol=1e-4, atol=1e-2)
    lent = lend(value)
    assert lent.data_ptr() == value.data_ptr()


def test_without_values_to_lend_sessions_read_the_file(
    folder: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One from before it had DLPack.
    state = {name: getattr(ort.capi.onnxruntime_pybind11_state, name) for name in ("Fail",)}
    fake = FakeRuntime([CPU_PROVIDER])
    fake.capi = SimpleNamespace(  # type: ignore[attr-defined]  # in place of ONNX Runtime's
        onnxruntime_pybind11_state=SimpleNamespace(OrtValue=object, **state)
    )
    with monkeypatch.context() as patch:
        patch.setattr("halve.session.runtime.runtime_module", lambda **_: fake)
        assert not can_lend(DType.FLOAT)
    assert not can_lend(DType.FLOAT, CUDA_PROVIDER, 99)  # there is no such device
    monkeypatch.setattr(module, "can_lend", lambda dtype, *_: dtype != DType.FLOAT)
    assert evaluator(folder, provider=CUDA_PROVIDER).run(NONE, 0).passed
    assert device.uploads == []
    assert device.loads[0]["shared"] is None


def test_the_memory_of_the_smallest_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())
    assert device_memory(CUDA_PROVIDER, (0, 9)) == 1 << 30
    assert device_memory(CUDA_PROVIDER, (9,)) is None
    assert device_memory(CPU_PROVIDER, (0,)) is None


def test_each_weight_is_uploaded_once_a_device(folder: Path, device: Device) -> None:
    sets = [frozenset({i}) for i in range(6)]
    used = evaluator(folder, provider=CUDA_PROVIDER, devices=(0, 2), slots=3, kept=6)
    assert all(trial.passed for trial in in_threads(used, sets))
    assert sorted(device.uploads) == [(WEIGHTS.nbytes, 0), (WEIGHTS.nbytes, 2)]
    assert len(device.loads) == 6
    values = {id(value) for call in device.loads for value in call["shared"].values()}
    assert len(values) == 2
    used.close()


def test_an_evaluator_that_is_closed_holds_no_values(folder: Path, device: Device) -> None:
    used = evaluator(folder, provider=CUDA_PROVIDER)
    assert used.run(NONE, 0).passed
    values = [weakref.ref(value) for value in device.loads[0]["shared"].values()]
    device.loads.clear()
    assert [value() is None for value in values] == [False]
    used.close()
    assert [value() is None for value in values] == [True]


def test_the_cpu_provider_maps_the_file(folder: Path, device: Device) -> None:
    assert evaluator(folder).run(NONE, 0).passed
    assert device.loads[0]["shared"] is None
    assert device.loads[0]["options"] == {}


def test_a_set_is_always_on_the_same_device(folder: Path, device: Device) -> None:
    sets = [frozenset({i, i + 9}) for i in range(8)]
    where = []
    for _ in range(2):
        device.loads.clear()
        used = evaluator(folder, provider=CUDA_PROVIDER, devices=(0, 1, 5), kept=1)
        for fp32 in sets:
            used.run(fp32, 0)
        where.append([call["options"]["device_id"] for call in device.loads])
    assert where[0] == where[1]
    assert len(set(where[0])) > 1


def test_arenas_share_the_devices_memory(folder: Path, device: Device) -> None:
    used = evaluator(folder, provider=CUDA_PROVIDER, slots=4, device_bytes=80 << 30)
    used.run(NONE, 0)
    assert device.loads[0]["options"] == {"device_id": "0", "gpu_mem_limit": str(10 << 30)}
    given = {"gpu_mem_limit": "7"}
    used = evaluator(folder, provider=CUDA_PROVIDER, device_bytes=1, provider_options=given)
    used.run(NONE, 0)
    assert device.loads[1]["options"]["gpu_mem_limit"] == "7"


def test_without_memory_for_all_fewer_run_and_the_answers_stay(
    folder: Path, device: Device
) -> None:
    device.room = 1
    sets = [frozenset({i}) for i in range(4)]
    used = evaluator(folder, provider=CUDA_PROVIDER, slots=4, kept=4)
    trials = in_threads(used, sets)
    assert [trial.failure for trial in trials] == [""] * 4
    assert all(trial.passed for trial in trials)
    assert used._slots.limit(0) < 4
    assert {"memory.enable_memory_arena_shrinkage": "gpu:0"} in device.configs


def test_a_trial_alone_gets_the_memory_of_sessions_kept(
    folder: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = evaluator(folder, provider=CUDA_PROVIDER, device_bytes=80 << 30)

    def run_where_one_fits(*args: Any, **options: Any) -> Any:
        if len(used._sessions) > 1:
            raise SessionError(OUT_OF_MEMORY)
        return run(*args, **options)

    monkeypatch.setattr(module, "run", run_where_one_fits)
    for i in range(3):
        assert used.run(frozenset({i}), 0).passed
    limits = [int(call["options"]["gpu_mem_limit"]) >> 30 for call in device.loads]
    assert limits == [20, 20, 40, 40]  # two are kept, until one does not fit
    assert len(used._sessions) == 1


def test_a_run_that_fits_nowhere_has_failed(folder: Path, device: Device) -> None:
    device.room = 0
    used = evaluator(folder, provider=CUDA_PROVIDER, slots=8)
    trial = used.run(NONE, 0)
    assert trial.failure == OUT_OF_MEMORY
    assert used._slots.limit(0) == 1
    device.room = 1
    assert used.run(NONE, 0).passed  # what failed for want of memory was not kept


def test_other_failures_are_not_repeated(
    folder: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        device.loads.append({})
        raise SessionError("no kernel for Frobnicate")

    monkeypatch.setattr(module, "load", refuse)
    used = evaluator(folder, provider=CUDA_PROVIDER, slots=8)
    for _ in range(2):
        assert used.run(NONE, 0).failure == "no kernel for Frobnicate"
    assert len(device.loads) == 1
    assert used._slots.limit(0) == 8


def test_a_file_that_is_cut_short_is_a_failed_trial(folder: Path, device: Device) -> None:
    (folder / "weights.bin").write_bytes(b"short")
    used = evaluator(folder, provider=CUDA_PROVIDER)
    assert "weights of 'w' cannot be read at byte 4096" in used.run(NONE, 0).failure


class EmptyValues:
    """Makes values of ONNX Runtime's in memory that the test can see."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.array = np.zeros((2, 3), ml_dtypes.bfloat16)

    def ortvalue_from_shape_and_type(self, *asked: Any) -> FakeOrtValue:
        self.made.append(asked)
        return FakeOrtValue(self.array)


def test_bfloat16_weights_are_uploaded_by_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    empty, fake = EmptyValues(), FakeRuntime([CUDA_PROVIDER])
    fake.OrtValue = empty  # type: ignore[attr-defined]  # in place of ONNX Runtime's
    monkeypatch.setattr("halve.session.runtime.runtime_module", lambda **_: fake)
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())
    x = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.bfloat16)
    assert upload(x, CUDA_PROVIDER, 2).array is empty.array
    assert empty.made == [([2, 3], 16, "cuda", 2)]
    np.testing.assert_array_equal(empty.array, x)
    monkeypatch.setitem(sys.modules, "halve._cuda", None)
    with pytest.raises(SessionError, match="cannot be put on device 0: the CUDA module was not"):
        upload(x, CUDA_PROVIDER, 0)


def test_bfloat16_weights_stay_in_the_file_without_the_module(folder: Path) -> None:
    proto = onnx.ModelProto.FromString(model())
    proto.graph.initializer[0].data_type = TensorProto.BFLOAT16
    asked: list[Any] = []
    for bfloat16 in (True, False):
        weights = DeviceWeights(folder, lambda a, _: asked.append(a.dtype), bfloat16=bfloat16)
        proto.graph.initializer[0].external_data[2].value = str(WEIGHTS.nbytes // 2)
        assert list(weights.values(proto.SerializeToString(), 0)) == ["w"] * bfloat16
    assert asked == [ml_dtypes.bfloat16]


def test_a_bound_run_gives_the_same_outputs(folder: Path) -> None:
    session = load(model(), external_data_folder=folder)
    (expected,) = run(session, {"x": X})
    values = run_bound(session, {"x": X}, ["y"], device=0)
    np.testing.assert_array_equal(values["y"].numpy(), expected)
    with pytest.raises(SampleError, match="input 'x' is missing"):
        run_bound(session, {}, [], device=0)


def test_a_bound_run_keeps_its_inputs_until_it_has_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = load(model(), external_data_folder=folder)
    made: list[Any] = []
    alive: list[bool] = []
    real = values.to_value

    def noted(*given: Any) -> Any:
        value = real(*given)
        made.append(weakref.ref(value))
        return value

    class Inner(FakeSession):
        def run_with_iobinding(self, *given: Any) -> None:
            alive.extend(ref() is not None for ref in made)
            self.inner.run_with_iobinding(*given)

    monkeypatch.setattr(values, "to_value", noted)
    with_gaps = np.repeat(X, 2, axis=1)[:, ::2]  # copied, and only the value has the copy
    found = run_bound(
        replace(session, inner=Inner(session.inner, [])), {"x": with_gaps}, [], device=0
    )
    assert alive == [True]
    np.testing.assert_array_equal(found["y"].numpy(), run(session, {"x": X})[0])


@pytest.fixture
def judging_there(device: Device, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A device whose memory is the host's, and the outputs that stayed there."""
    stayed: list[str] = []

    def bound(session: Any, feeds: Any, stay: Any, **options: Any) -> dict[str, Any]:
        stayed.extend(stay)
        values = run_bound(session, feeds, stay, **options)
        return {
            name: FakeOrtValue(value.numpy()) if name in stay else value
            for name, value in values.items()
        }

    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())
    monkeypatch.setattr(module, "run_bound", bound)
    monkeypatch.setattr(module, "upload", lambda array, *_: FakeOrtValue(array))
    return stayed


def test_outputs_are_judged_where_they_lie(folder: Path, judging_there: list[str]) -> None:
    y = (X @ WEIGHTS).astype(np.float32)
    references = [{"y": y}, {"y": y.astype(np.float64)}, {"y": y[:1]}, {"y": y, "z": y}]
    samples = [Sample(i, {"x": X}) for i in range(len(references))]
    tolerances = Tolerances(OutputTolerance(1e-7, 1e-6))
    trials = []
    for provider in (CPU_PROVIDER, CUDA_PROVIDER):
        settings = SessionSettings(folder=folder, provider=provider, share_weights=False)
        used = SessionEvaluator(lambda _: model(), samples, references, tolerances, settings)
        trials.append([used.run(NONE, i) for i in range(len(samples))])
    assert judging_there == ["y", "y"]  # not the reference that float32 does not hold
    for here, there in zip(*trials, strict=True):
        assert here.failure == there.failure
        assert [o.error for o in here.outputs] == [o.error for o in there.outputs]
        assert [o.comparison for o in here.outputs] == [o.comparison for o in there.outputs]
        np.testing.assert_allclose(here.energy, there.energy, rtol=1e-9)
    assert trials[1][3].failure == "there is no output 'z'"


def test_a_scalar_is_judged_where_it_lies(judging_there: list[str]) -> None:
    text = "g (float[2] x) => (float y) { y = ReduceSum <keepdims = 0> (x) }"
    proto = parse(text).SerializeToString()
    samples, references = [Sample(0, {"x": X[0, :2]})], [{"y": np.sum(X[0, :2])}]
    settings = SessionSettings(provider=CUDA_PROVIDER)
    used = SessionEvaluator(lambda _: proto, samples, references, Tolerances(), settings)
    trial = used.run(NONE, 0)
    assert trial.passed
    assert trial.failure == ""
    assert judging_there == ["y"]


def test_a_model_with_texts_is_judged_by_the_processor(judging_there: list[str]) -> None:
    text = "g (float[2] x, string[2] t) => (float[2] y, string[2] u) { y = Sin(x) u = Identity(t) }"
    proto = parse(text).SerializeToString()
    feeds = {"x": X[0, :2], "t": np.array(["a", "b"], object)}
    references = [{"y": np.sin(X[0, :2]), "u": feeds["t"]}]
    settings = SessionSettings(provider=CUDA_PROVIDER)
    used = SessionEvaluator(lambda _: proto, [Sample(0, feeds)], references, Tolerances(), settings)
    trial = used.run(NONE, 0)
    assert trial.failure == ""
    assert trial.passed
    assert judging_there == []


def test_a_comparison_without_memory_is_a_failed_trial(
    folder: Path, judging_there: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise FakeCudaError("cudaMalloc(p, n) failed: out of memory")

    monkeypatch.setattr(FakeContext, "compare", refuse)
    used = evaluator(folder, provider=CUDA_PROVIDER, slots=4, share_weights=False)
    failure = used.run(NONE, 0).failure
    assert failure.startswith("output 'y' cannot be compared: the GPU failed: cudaMalloc(p, n)")
    assert used._slots.limit(0) == 1


def test_outputs_that_somebody_wants_to_see_come_back(
    folder: Path, judging_there: list[str]
) -> None:
    used = evaluator(folder, provider=CUDA_PROVIDER, keep_values=True, share_weights=False)
    trial = used.run(NONE, 0)
    assert trial.values is not None
    assert trial.values["y"].shape == (2, N)
    assert judging_there == []

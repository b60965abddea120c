"""Real mixed models as evaluators of trials: a session a set, weights shared by all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from halve._native import cuda
from halve.compare.verdict import compare_outputs
from halve.errors import SessionError
from halve.search_types import Tolerances, Trial, UnitSet
from halve.session.device_outputs import DeviceJudge
from halve.session.device_weights import DeviceWeights
from halve.session.providers import CPU_PROVIDER, CUDA_PROVIDER, ON_DEVICE, is_out_of_memory
from halve.session.runs import Run, Runs
from halve.session.runtime import (
    Session,
    can_lend,
    lend,
    load,
    run,
    run_bound,
    upload,
)
from halve.session.samples import Sample
from halve.session.slots import Slots
from halve.session.steps import Outputs, roll
from halve.types import DType

__all__ = ["SessionEvaluator", "SessionSettings", "device_memory"]

# The arenas of all sessions on a device together; the rest is for weights and libraries.
_ARENA_SHARE = 0.5
# Packed copies of weights would be private to each session.
_OPTIONS = {"session.disable_prepacking": "1"}


def device_memory(provider: str, devices: Sequence[int]) -> int | None:
    """The bytes of the smallest of these devices; None where that is not known."""
    if provider not in ON_DEVICE:
        return None
    known = {device.index: device.memory_bytes for device in cuda.status().devices}
    return min((known[index] for index in devices if index in known), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How candidates are loaded and run.

    `folder` holds the external data of the models. Sets are spread over `devices`, a set always on
    the same one; each device runs up to `slots` trials at a time, fewer where its memory does not
    do. `kept` sessions stay loaded at a time; the one used longest ago goes first. `device_bytes`
    is the memory of a device where it is known, which bounds the sessions' arenas. `share_weights`
    uploads each weight once a device, for all sessions there.
    """

    folder: Path | None = None
    provider: str = CPU_PROVIDER
    provider_options: Mapping[str, str] = field(default_factory=dict)
    session_options: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[int, ...] = (0,)
    slots: int = 1
    device_bytes: int | None = None
    share_weights: bool = True
    optimise: str = "all"
    threads: int = 1
    timeout_s: float | None = None
    kept: int = 2
    keep_values: bool = False
    feedback: tuple[tuple[str, str], ...] = ()
    custom_op_library: Path | None = None


class SessionEvaluator:
    """Evaluates sets of float32 units by the real model on the provider.

    A set's session is made once, by whoever asks first, while others wait; a model that does not
    load, a run that raises or passes its time limit is a failed trial. A trial for which a device
    has no memory is repeated with fewer beside it, and has failed where it was alone and no session
    but its own was loaded.
    """

    def __init__(
        self,
        build: Callable[[UnitSet], bytes],
        samples: Sequence[Sample],
        references: Sequence[Outputs],
        tolerances: Tolerances,
        settings: SessionSettings,
    ) -> None:
        """`build` makes the model for a set; `references` are what samples are compared with."""
        self._build = build
        self._samples = tuple(samples)
        self._references = tuple(references)
        self._tolerances = tolerances
        self._settings = settings
        self._lock = threading.Lock()
        self._sessions: OrderedDict[UnitSet, Future[Session]] = OrderedDict()
        self._slots = Slots(settings.devices, max(1, settings.slots))
        self._weights = self._make_weights()
        self._judge = self._make_judge()
        self._scarce: set[int] = set()
        self._runs = Runs(settings.timeout_s)
        self._closed = False

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """See Evaluator.run."""
        try:
            return self._in_a_slot(fp32, sample)
        except SessionError as error:
            return Trial(sample, failure=str(error))

    def _compared(self, sample: int, outputs: Outputs) -> Trial:
        reference = self._references[sample]
        missing = [name for name in reference if name not in outputs]
        if missing:
            return Trial(sample, failure=f"there is no output {missing[0]!r}")
        trials = compare_outputs(outputs, reference, self._tolerances)
        return Trial(sample, trials, values=outputs if self._settings.keep_values else None)

    def reference(self, sample: int) -> Outputs:
        """What a sample is compared with."""
        return self._references[sample]

    def close(self) -> None:
        """End the runs in progress, and free the sessions and what is in the devices' memory."""
        with self._lock:
            self._closed = True
            self._sessions.clear()
        self._runs.end()
        for held in (self._weights, self._judge):
            if held is not None:
                held.clear()

    def _make_weights(self) -> DeviceWeights | None:
        settings = self._settings
        if not settings.share_weights or settings.folder is None:
            return None
        if settings.provider not in ON_DEVICE:
            return None  # the CPU's sessions map one file
        where = settings.provider, settings.devices[0]
        if not can_lend(DType.FLOAT, *where):
            return None  # an older ONNX Runtime: each session reads the file
        bfloat16 = cuda.status().usable and can_lend(DType.BFLOAT16, *where)
        return DeviceWeights(settings.folder, self._upload_weights, bfloat16=bfloat16)

    def _make_judge(self) -> DeviceJudge | None:
        """Who compares on the device, where nobody wants to see the outputs themselves."""
        settings = self._settings
        if settings.provider not in ON_DEVICE or settings.keep_values or settings.feedback:
            return None
        if not cuda.status().usable:
            return None
        return DeviceJudge(self._references, self._tolerances, self._upload)

    def _upload(self, array: NDArray[Any], device: int) -> Any:  # noqa: ANN401 - an OrtValue
        return upload(array, self._settings.provider, device)

    def _upload_weights(self, array: NDArray[Any], device: int) -> Any:  # noqa: ANN401 - likewise
        return lend(self._upload(array, device))

    def _in_a_slot(self, fp32: UnitSet, sample: int) -> Trial:
        device = self._device(fp32)
        while True:
            with self._slots.take(device) as alone:
                try:
                    return self._run_on(device, fp32, sample)
                except SessionError as error:
                    if not is_out_of_memory(error):
                        raise
                self._make_room(device)
                if alone:  # beside other sessions until now, which are gone
                    return self._run_on(device, fp32, sample)

    def _run_on(self, device: int, fp32: UnitSet, sample: int) -> Trial:
        session = self._session(fp32, device)
        inputs = self._samples[sample].inputs
        if self._judge is not None and _is_bindable(session, self._references[sample]):
            with self._running_one(device) as handle:
                stay = self._judge.staying(session, sample)
                values = run_bound(session, inputs, stay, device=device, handle=handle)
                return Trial(sample, self._judge.judge(session, sample, values, device))
        outputs = roll(
            lambda feeds: self._step(session, feeds, device), inputs, self._settings.feedback
        )
        return self._compared(sample, outputs)

    def _make_room(self, device: int) -> None:
        """Fewer runs at a time, no session kept, and arenas that give back what they hold."""
        self._slots.shrink(device)
        with self._lock:
            self._scarce.add(device)
            for fp32 in [key for key in self._sessions if self._device(key) == device]:
                del self._sessions[fp32]

    def _device(self, fp32: UnitSet) -> int:
        """Where a set is run: by its content alone, so that an answer depends on nothing else."""
        devices = self._settings.devices
        return devices[hash(fp32) % len(devices)]

    def _session(self, fp32: UnitSet, device: int) -> Session:
        with self._lock:
            if self._closed:
                raise SessionError("the search was ended")
            found = self._sessions.get(fp32)
            mine = found is None
            if found is None:
                found = self._sessions[fp32] = Future()
            self._sessions.move_to_end(fp32)
            self._drop_oldest(device)
        if mine:
            try:
                found.set_result(self._load(fp32, device))
            except BaseException as error:
                if is_out_of_memory(error):
                    self._forget(fp32, found)
                found.set_exception(error)
        return found.result()

    def _drop_oldest(self, device: int) -> None:
        """No more sessions than may be kept; where memory is scarce, than may run at a time."""
        while len(self._sessions) > self._settings.kept:
            self._sessions.popitem(last=False)
        if device in self._scarce:
            there = [fp32 for fp32 in self._sessions if self._device(fp32) == device]
            for fp32 in there[: -self._slots.limit(device)]:
                del self._sessions[fp32]

    def _forget(self, fp32: UnitSet, failed: Future[Session]) -> None:
        """A load that failed for want of memory may do later."""
        with self._lock:
            if self._sessions.get(fp32) is failed:
                del self._sessions[fp32]

    def _load(self, fp32: UnitSet, device: int) -> Session:
        settings = self._settings
        place = {} if settings.provider == CPU_PROVIDER else {"device_id": str(device)}
        model = self._build(fp32)
        return load(
            model,
            provider=settings.provider,
            optimise=settings.optimise,
            threads=settings.threads,
            custom_op_library=settings.custom_op_library,
            external_data_folder=settings.folder,
            provider_options=place | self._arena(device) | dict(settings.provider_options),
            shared=None if self._weights is None else self._weights.values(model, device),
            session_options=_OPTIONS | dict(settings.session_options),
            where=f"candidate with {len(fp32)} units in float32",
        )

    def _arena(self, device: int) -> dict[str, str]:
        """A session's share of the device's memory."""
        settings = self._settings
        if settings.provider != CUDA_PROVIDER or settings.device_bytes is None:
            return {}
        sessions = self._slots.limit(device)
        with self._lock:
            if device not in self._scarce:
                sessions = max(sessions, settings.kept)
        return {"gpu_mem_limit": str(int(settings.device_bytes * _ARENA_SHARE / sessions))}

    def _step(self, session: Session, feeds: Mapping[str, NDArray[Any]], device: int) -> Outputs:
        with self._running_one(device) as handle:
            values = run(session, feeds, handle=handle)
        return {port.name: value for port, value in zip(session.outputs, values, strict=True)}

    @contextmanager
    def _running_one(self, device: int) -> Iterator[Run]:
        """A handle on a run, which ends when the evaluator is closed."""
        with self._lock:
            scarce = device in self._scarce and self._settings.provider in ON_DEVICE
        shrink = {"memory.enable_memory_arena_shrinkage": f"gpu:{device}"} if scarce else None
        handle = self._runs.begin(shrink)
        try:
            yield handle
        finally:
            self._runs.finish(handle)


def _is_bindable(session: Session, reference: Outputs) -> bool:
    """Whether there are all outputs that are compared, and no texts, sequences or maps, which
    cannot be bound.
    """
    kinds = {port.type for port in (*session.inputs, *session.outputs)}
    plain = all(kind.startswith("tensor(") and kind != "tensor(string)" for kind in kinds)
    return plain and reference.keys() <= {port.name for port in session.outputs}

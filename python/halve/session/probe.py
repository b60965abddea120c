"""The probe: one float32 session in which a trial is a run with another mask.

It emulates a 16-bit model with float32 accumulation on any machine, and any provider that keeps
casts: see halve.session.gates. What an operator does inside itself (the state of an LSTM, GRU or
RNN) is not rounded.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from halve._native.cast import round_into
from halve._native.switches import SwitchBoard
from halve.compare.verdict import References
from halve.errors import SampleError, SessionError
from halve.search_types import Tolerances, Trial, Unit, UnitSet
from halve.session.blocked_layout import keep_blocks
from halve.session.canary import check_canary
from halve.session.feeds import check_feeds
from halve.session.gate_graph import Names, all_names
from halve.session.gates import Gated, gate_units
from halve.session.providers import CPU_PROVIDER
from halve.session.rounded_weights import RoundedWeights, Rounding
from halve.session.roundings import CastRoundings, OperatorRoundings, Roundings, has_operators
from halve.session.runs import Runs
from halve.session.runtime import Session, load, run
from halve.session.samples import Sample
from halve.session.steps import Outputs, roll
from halve.session.switches import SWITCHES, Switch
from halve.session.weight_store import MAPPED, InlineWeights, WeightStore
from halve.types import CastBounds, DType

__all__ = ["LoadedProbe", "Probe", "ProbeSettings", "load_probe", "weight_rounding"]

_LOGGER = logging.getLogger(__name__)

_HALF_TYPES: dict[DType, Any] = {DType.FLOAT16: np.float16, DType.BFLOAT16: ml_dtypes.bfloat16}
# Quantised islands stay as they are written: ONNX Runtime's fusion of them reaches across the gates
# (1.31 aborts the process there), and providers that compute in 16 bits have no such kernels.
_OPTIONS = {"session.disable_quant_qdq": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """What a probe emulates, and how it runs.

    `half_inputs` and `half_outputs` are the graph's inputs and outputs that the conversion makes
    16-bit: every trial rounds them. `keep_values` keeps a trial's outputs for a validate function.
    `assume_fused` rounds only what enters and leaves a unit of several nodes. `mapped` leaves the
    weights of a store in their file, unpacked, where a trial takes longer and less memory.
    """

    provider: str = CPU_PROVIDER
    provider_options: Mapping[str, str] = field(default_factory=dict)
    half: DType = DType.FLOAT16
    bounds: CastBounds = field(default_factory=CastBounds)
    half_inputs: frozenset[str] = frozenset()
    half_outputs: frozenset[str] = frozenset()
    optimise: str = "all"
    threads: int = 1
    timeout_s: float | None = None
    keep_values: bool = False
    assume_fused: bool = False
    mapped: bool = False
    feedback: tuple[tuple[str, str], ...] = ()
    custom_op_library: Path | None = None
    session_options: Mapping[str, str] = field(default_factory=dict)


def weight_rounding(half: DType, bounds: CastBounds) -> Rounding:
    """float32 arrays rounded to `half` and back, as a conversion casts weights."""

    def rounding(array: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = np.ascontiguousarray(array, np.float32)
        result = np.empty_like(flat)
        round_into(flat, result, half, bounds)
        return result

    return rounding


@dataclass(frozen=True, slots=True)
class LoadedProbe:
    """The session of a gated model, what its switches rule, and the input that feeds them. It
    depends on no sample.
    """

    session: Session
    switches: tuple[Switch, ...]
    port: str


def load_probe(
    model: ModelProto,
    units: Sequence[Unit],
    settings: ProbeSettings,
    *,
    store: WeightStore | None = None,
) -> LoadedProbe:
    """Gate `model`, which is changed, and load it. Of units their nodes matter alone.

    With a `store` the model is one without its payload, which is written there.

    Raises:
        SessionError: this runtime erases casts, or cannot load the model.
    """
    gated = _gate(model, units, settings, store)
    return LoadedProbe(_load(gated.model, settings, store), gated.switches, gated.port)


class Probe:
    """Evaluates sets of float32 units by emulation; one session for any number of threads."""

    def __init__(  # noqa: PLR0913 - the model, the question, and where weights go
        self,
        model: ModelProto | LoadedProbe,
        units: Sequence[Unit],
        samples: Sequence[Sample],
        tolerances: Tolerances,
        settings: ProbeSettings,
        *,
        store: WeightStore | None = None,
    ) -> None:
        """Load `model` with its `store` (see load_probe) unless that was done, and run the float32
        references.

        `samples` are in the source's types; golden outputs, where a sample has them, are what it
        is compared with.

        Raises:
            SessionError: this runtime erases casts, or cannot load or run the model.
            SampleError: a sample does not fit the model.
        """
        if isinstance(model, ModelProto):
            model = load_probe(model, units, settings, store=store)
        self._session, self._port = model.session, model.port
        self._board = SwitchBoard(
            [switch.rounds for switch in model.switches],
            [switch.settled for switch in model.switches],
            len(units),
        )
        self.units = tuple(units)
        self._count = len(units)
        self.settings = settings
        self._runs = Runs(settings.timeout_s)
        self._samples = tuple(samples)
        self._outputs_of = [port.name for port in self._session.outputs]
        self._feeds = [self._rounded_feeds(sample.inputs) for sample in samples]
        # What is fed back differs from step to step, and is looked at in each.
        self._checked = not settings.feedback
        if self._checked:
            self._feeds = [self._ready(feeds) for feeds in self._feeds]
        self._references = [self._reference(sample) for sample in samples]
        self._judges = [
            References(reference, tolerances, brief=True) for reference in self._references
        ]

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """See Evaluator.run."""
        try:
            outputs = self._outputs(self._feeds[sample], fp32, rounded=True)
        except SessionError as error:
            return Trial(sample, failure=str(error))
        trials = self._judges[sample].judge(outputs)
        return Trial(sample, trials, values=self._given(outputs))

    def reference(self, sample: int) -> Outputs:
        """What a sample is compared with."""
        return self._references[sample]

    def close(self) -> None:
        """End the runs in progress."""
        self._runs.end()

    def _reference(self, sample: Sample) -> Outputs:
        names = self._outputs_of
        if sample.outputs is None:
            feeds = self._ready(sample.inputs) if self._checked else sample.inputs
            return self._outputs(feeds, frozenset(range(self._count)), rounded=False)
        missing = [name for name in names if name not in sample.outputs]
        if missing:
            raise SampleError(
                f"sample {sample.id}: output {missing[0]!r} is missing; its outputs:"
                f" {sorted(sample.outputs)}"
            )
        return {name: sample.outputs[name] for name in names}

    def _outputs(
        self, inputs: Mapping[str, NDArray[Any]], fp32: UnitSet, *, rounded: bool
    ) -> Outputs:
        switches = self._board.set(fp32)

        def step(feeds: Mapping[str, NDArray[Any]]) -> Outputs:
            values = self._run({**feeds, self._port: switches})
            outputs = dict(zip(self._outputs_of, values, strict=True))
            return self._rounded_outputs(outputs) if rounded else outputs

        return roll(step, inputs, self.settings.feedback)

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        handle = self._runs.begin()
        try:
            return run(self._session, feeds, handle=handle, checked=self._checked)
        finally:
            self._runs.finish(handle)

    def _ready(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Feeds as the model wants them, without the switches."""
        session = self._session
        ports = [port for port in session.inputs if port.name != self._port]
        return check_feeds(ports, session.optional, feeds, session.where)

    def _rounded_feeds(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = self.settings.half_inputs
        return {
            name: self._rounded(array) if name in names else array for name, array in feeds.items()
        }

    def _rounded_outputs(self, outputs: Outputs) -> Outputs:
        for name in self.settings.half_outputs:
            outputs[name] = self._rounded(outputs[name])
        return outputs

    def _given(self, outputs: Outputs) -> Outputs | None:
        """The outputs in the types of the model that would be written, where they are wanted."""
        if not self.settings.keep_values:
            return None
        half, names = _HALF_TYPES[self.settings.half], self.settings.half_outputs
        return {
            name: array.astype(half) if name in names and array.dtype == np.float32 else array
            for name, array in outputs.items()
        }

    def _rounded(self, array: NDArray[Any]) -> NDArray[Any]:
        """As a value that leaves or enters in 16 bits: no bounds, overflow is infinity."""
        if array.dtype != np.float32:
            return array
        with np.errstate(over="ignore"):
            result: NDArray[Any] = array.astype(_HALF_TYPES[self.settings.half])
        return result.astype(np.float32)


def _gate(
    model: ModelProto, units: Sequence[Unit], settings: ProbeSettings, store: WeightStore | None
) -> Gated:
    """Gate a model, once it is shown that here such a model rounds."""
    half, names = int(settings.half), Names("halve", all_names(model))
    port = names.free(SWITCHES)
    own = has_operators(settings.provider)
    check_canary(
        settings.half.name.lower(),
        provider=settings.provider,
        optimise=settings.optimise,
        roundings=OperatorRoundings(half) if own else None,
    )
    roundings: Roundings = CastRoundings(half, names, port)
    if own:
        roundings = OperatorRoundings(half, settings.threads, port)
    rounding = weight_rounding(settings.half, settings.bounds)
    weights = RoundedWeights(rounding, store or InlineWeights(), names)
    fused = settings.assume_fused
    return gate_units(model, units, weights, roundings, assume_fused=fused)


def _load(model: ModelProto, settings: ProbeSettings, store: WeightStore | None) -> Session:
    """The gated model's session."""
    if store is None and settings.optimise == "all" and settings.provider == CPU_PROVIDER:
        return _load_in_blocks(model, settings)
    mapped = MAPPED if settings.mapped else {}
    return load(
        model if store is None else store.settle(model),
        optimise=settings.optimise,
        external_data_folder=None if store is None else store.folder,
        session_options=_OPTIONS | mapped | dict(settings.session_options),
        **_common(settings),
    )


def _load_in_blocks(model: ModelProto, settings: ProbeSettings) -> Session:
    """As ONNX Runtime optimises the model, without the changes of layout at gates."""
    options = _OPTIONS | dict(settings.session_options)
    with tempfile.TemporaryDirectory(prefix="halve-probe-") as folder:
        path = Path(folder) / "optimised.onnx"
        session = load(
            model, optimise="all", optimised=path, session_options=options, **_common(settings)
        )
        optimised = onnx.load(path)
    if not keep_blocks(optimised):
        return session
    try:
        return load(optimised, optimise="disabled", session_options=options, **_common(settings))
    except SessionError as error:  # its own names and types in bodies do not always load again
        _LOGGER.info("trials change layouts at every gate: %s", error)
        return session


def _common(settings: ProbeSettings) -> dict[str, Any]:
    return {
        "provider": settings.provider,
        "provider_options": settings.provider_options,
        "threads": settings.threads,
        "custom_op_library": settings.custom_op_library,
        "operators": has_operators(settings.provider),
        "where": "search probe",
    }

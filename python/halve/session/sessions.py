"""Real mixed models as evaluators of trials: a session a set, weights shared by all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from halve.compare.verdict import compare_outputs
from halve.errors import SessionError
from halve.search_types import Tolerances, Trial, UnitSet
from halve.session.runtime import CPU_PROVIDER, Run, Session, load, run
from halve.session.samples import Sample
from halve.session.steps import Outputs, roll

__all__ = ["SessionEvaluator", "SessionSettings"]

# Packed copies of weights would be private to each session.
_OPTIONS = {"session.disable_prepacking": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How candidates are loaded and run.

    `folder` holds the external data of the models. Sessions are spread over `devices` in turn.
    `kept` sessions stay loaded at a time; the one used longest ago goes first.
    """

    folder: Path | None = None
    provider: str = CPU_PROVIDER
    provider_options: Mapping[str, str] = field(default_factory=dict)
    session_options: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[int, ...] = (0,)
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
    load, a run that raises or passes its time limit is a failed trial.
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
        self.tolerances = tolerances
        self._settings = settings
        self._lock = threading.Lock()
        self._sessions: OrderedDict[UnitSet, Future[Session]] = OrderedDict()
        self._made = 0
        self._running: set[Run] = set()
        self._closed = False

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """See Evaluator.run."""
        try:
            session = self._session(fp32)
            outputs = roll(
                lambda feeds: self._step(session, feeds),
                self._samples[sample].inputs,
                self._settings.feedback,
            )
        except SessionError as error:
            return Trial(sample, failure=str(error))
        reference = self._references[sample]
        missing = [name for name in reference if name not in outputs]
        if missing:
            return Trial(sample, failure=f"there is no output {missing[0]!r}")
        values = [outputs[name] for name in reference]
        trials = compare_outputs(list(reference), values, list(reference.values()), self.tolerances)
        return Trial(sample, trials, values=outputs if self._settings.keep_values else None)

    def reference(self, sample: int) -> Outputs:
        """What a sample is compared with."""
        return self._references[sample]

    def close(self) -> None:
        """End the runs in progress and free the sessions."""
        with self._lock:
            self._closed = True
            self._sessions.clear()
            for item in self._running:
                item.end()

    def _session(self, fp32: UnitSet) -> Session:
        with self._lock:
            if self._closed:
                raise SessionError("the search was ended")
            found = self._sessions.get(fp32)
            mine = found is None
            if found is None:
                found = self._sessions[fp32] = Future()
                device = self._settings.devices[self._made % len(self._settings.devices)]
                self._made += 1
            self._sessions.move_to_end(fp32)
            while len(self._sessions) > self._settings.kept:
                self._sessions.popitem(last=False)
        if mine:
            try:
                found.set_result(self._load(fp32, device))
            except BaseException as error:
                found.set_exception(error)
        return found.result()

    def _load(self, fp32: UnitSet, device: int) -> Session:
        settings = self._settings
        place = {} if settings.provider == CPU_PROVIDER else {"device_id": str(device)}
        return load(
            self._build(fp32),
            provider=settings.provider,
            optimise=settings.optimise,
            threads=settings.threads,
            custom_op_library=settings.custom_op_library,
            external_data_folder=settings.folder,
            provider_options=place | dict(settings.provider_options),
            session_options=_OPTIONS | dict(settings.session_options),
            where=f"candidate with {len(fp32)} units in float32",
        )

    def _step(self, session: Session, feeds: Mapping[str, NDArray[Any]]) -> Outputs:
        handle = Run(self._settings.timeout_s)
        with self._lock:
            if self._closed:
                raise SessionError("the search was ended")
            self._running.add(handle)
        try:
            values = run(session, feeds, handle=handle)
        finally:
            with self._lock:
                self._running.discard(handle)
        return {port.name: value for port, value in zip(session.outputs, values, strict=True)}

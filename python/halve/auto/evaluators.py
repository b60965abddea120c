"""Which evaluator a search uses, and how it is made: here, or in child processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from halve.auto.candidate import Judge
from halve.auto.job import Job, Source, loaded
from halve.auto.workspace import Workspace
from halve.candidates import CandidateStore
from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.search_options import SearchOptions
from halve.search_types import Evaluator, Tolerances, Unit, UnitSet
from halve.session.canary import check_arithmetic
from halve.session.isolation import Isolated
from halve.session.probe import LoadedProbe, Probe, ProbeSettings, load_probe
from halve.session.providers import CPU_PROVIDER, CUDA_PROVIDER
from halve.session.samples import Sample
from halve.session.sessions import SessionEvaluator, SessionSettings, device_memory
from halve.session.steps import Outputs
from halve.source import open_model
from halve.types import SourceModel

__all__ = [
    "begin_probe",
    "build_probe",
    "build_sessions",
    "evaluator_name",
    "make_evaluator",
]

# Without a limit given, a trial may take this many times a float32 run, and this long at least.
_TIMES_A_RUN, _LEAST_S = 20.0, 60.0
# A child ends its run itself, by the same limit; its parent waits a little longer.
_RESERVED = 4 << 30
_GRACE = 1.5


@dataclass(frozen=True, slots=True)
class _Given:
    """What every evaluator is made of; it pickles."""

    source: Source
    units: tuple[Unit, ...]
    samples: tuple[Sample, ...]
    references: tuple[Outputs, ...]
    tolerances: Tolerances


def evaluator_name(options: SearchOptions) -> str:
    """ "probe" or "sessions": what these options ask for, and for "auto" what is taken without a
    measurement.

    Raises:
        OptionError: sessions on the CPU provider for another target: it computes in float32.
    """
    on_cpu, for_cpu = options.provider == CPU_PROVIDER, options.convert.target == "cpu"
    if options.evaluator == "sessions" and on_cpu and not for_cpu:
        raise OptionError(
            f"evaluator is 'sessions' on {CPU_PROVIDER}, which computes 16-bit models in float32;"
            " allowed: 'probe', target 'cpu', or another provider"
        )
    if options.evaluator != "auto":
        return options.evaluator
    return "sessions" if for_cpu or not on_cpu else "probe"


def _nothing() -> None:
    """Where nothing was begun."""


def make_evaluator(
    job: Job, judge: Judge, workspace: Workspace, take: Callable[[], LoadedProbe | None] = _nothing
) -> Evaluator:
    """The evaluator of a job, within the margin of its tolerances; `take` gives a probe of the job
    that was begun.

    Raises:
        OptionError: see `evaluator_name`.
        SessionError: this runtime erases casts, or cannot load or run the model.
    """
    options = job.options
    tolerances = options.tolerances.tightened(options.margin)
    within = Tolerances() if options.validate_only else tolerances
    given = _Given(job.source, job.units, job.samples, judge.references, within)
    timeout_s = options.trial_timeout_s or max(_LEAST_S, _TIMES_A_RUN * judge.longest_s)
    if evaluator_name(options) == "probe":
        settings = _probe_settings(job, timeout_s)
        factory: partial[Evaluator] = partial(build_probe, given, settings, workspace)
        if not options.isolate:
            return factory(take())
    else:
        if options.convert.target != "cpu":
            check_arithmetic(options.convert.dtype, provider=options.provider)
        folder = workspace.scratch("scratch-weights")
        factory = partial(
            build_sessions, given, _session_settings(options, timeout_s), options.convert, folder
        )
    if not options.isolate:
        return factory()
    workers = options.workers or os.cpu_count() or 1
    return Isolated(
        factory,
        workers=workers,
        timeout_s=_GRACE * timeout_s,
        memory_bytes=_child_memory(options.provider),
    )


def _child_memory(provider: str) -> int | None:
    """The address space of a child, in bytes: the machine's memory, and what is only reserved. More
    would take other processes' memory. On devices address space says nothing of memory.
    """
    if provider != CPU_PROVIDER or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + _RESERVED


def build_probe(
    given: _Given,
    settings: ProbeSettings,
    workspace: Workspace,
    begun: LoadedProbe | None = None,
) -> Evaluator:
    """A probe in this process."""
    samples = [
        Sample(sample.id, sample.inputs, reference)
        for sample, reference in zip(given.samples, given.references, strict=True)
    ]
    if begun is None:
        model = open_model(given.source, allow_links=True)
        begun = _load_probe(given.source, model, given.units, settings, workspace)
    return Probe(begun, given.units, samples, given.tolerances, settings)


def begin_probe(job: Job, workspace: Workspace) -> LoadedProbe:
    """What of a job's probe needs neither shapes nor statistics.

    Raises:
        SessionError: this runtime erases casts, or cannot load the model.
    """
    return _load_probe(job.source, job.model, job.units, _probe_settings(job, None), workspace)


def _load_probe(
    source: Source,
    model: SourceModel,
    units: Sequence[Unit],
    settings: ProbeSettings,
    workspace: Workspace,
) -> LoadedProbe:
    # What ONNX Runtime maps stays readable when the files' names are gone.
    with loaded(source, model, workspace) as (proto, store):
        return load_probe(proto, units, settings, store=store)


def build_sessions(
    given: _Given, settings: SessionSettings, convert: ConvertOptions, folder: Path
) -> Evaluator:
    """Sessions in this process; its weights go into a folder of its own."""
    own = folder / str(os.getpid())
    own.mkdir(exist_ok=True)
    store = CandidateStore(open_model(given.source, allow_links=convert.allow_links), convert, own)

    def build(fp32: UnitSet) -> bytes:
        return store.model([number for unit in fp32 for number in given.units[unit].ids])

    return SessionEvaluator(
        build, given.samples, given.references, given.tolerances, replace(settings, folder=own)
    )


def _probe_settings(job: Job, timeout_s: float | None) -> ProbeSettings:
    options, convert = job.options, job.options.convert
    graph = job.model.proto.graph
    place = {"device_id": str(options.devices[0])} | dict(options.provider_options)
    there = options.provider == CUDA_PROVIDER
    return ProbeSettings(
        provider=options.provider if there else CPU_PROVIDER,
        provider_options=place if there else {},
        half=convert.half,
        bounds=convert.bounds,
        half_inputs=_halved([item.name for item in graph.input], convert),
        half_outputs=_halved([item.name for item in graph.output], convert),
        assume_fused=options.assume_fused,
        mapped=job.large,
        optimise=options.optimise,
        threads=options.threads_per_trial,
        timeout_s=timeout_s,
        keep_values=options.validate is not None,
        feedback=options.feedback,
        custom_op_library=convert.custom_op_library,
        session_options=options.session_options,
    )


def _session_settings(options: SearchOptions, timeout_s: float) -> SessionSettings:
    workers = options.workers or os.cpu_count() or 1
    return SessionSettings(
        provider=options.provider,
        provider_options=options.provider_options,
        session_options=options.session_options,
        devices=options.devices,
        slots=-(-workers // len(options.devices)),
        device_bytes=device_memory(options.provider, options.devices),
        optimise=options.optimise,
        threads=options.threads_per_trial,
        timeout_s=timeout_s,
        kept=max(2, workers),
        keep_values=options.validate is not None,
        feedback=options.feedback,
        custom_op_library=options.convert.custom_op_library,
    )


def _halved(names: Sequence[str], convert: ConvertOptions) -> frozenset[str]:
    kept = convert.keep_io_types
    if kept is True:
        return frozenset()
    return frozenset(names) - frozenset(kept or ())

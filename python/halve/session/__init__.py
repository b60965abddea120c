"""ONNX Runtime, all of it: sessions, samples, the canary, and the judge of a written model."""

from halve.session.canary import CanaryResult, check_canary
from halve.session.feeds import Port
from halve.session.installed import OLDEST_SUPPORTED, RuntimeInfo, describe_runtime
from halve.session.judging import (
    Judgement,
    OutputMetrics,
    SampleJudgement,
    judge,
    measure_output,
    read_model,
)
from halve.session.lowering import lower
from halve.session.runtime import (
    CPU_PROVIDER,
    OPTIMISE_LEVELS,
    Session,
    load,
    run,
)
from halve.session.samples import Sample, read_samples, write_samples

__all__ = [
    "CPU_PROVIDER",
    "OLDEST_SUPPORTED",
    "OPTIMISE_LEVELS",
    "CanaryResult",
    "Judgement",
    "OutputMetrics",
    "Port",
    "RuntimeInfo",
    "Sample",
    "SampleJudgement",
    "Session",
    "check_canary",
    "describe_runtime",
    "judge",
    "load",
    "lower",
    "measure_output",
    "read_model",
    "read_samples",
    "run",
    "write_samples",
]

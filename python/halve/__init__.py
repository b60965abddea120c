"""Turn float32 ONNX models into float16, bfloat16 and mixed-precision models."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from halve.errors import (
    BackendUnavailableError,
    CastError,
    ComparisonError,
    DataError,
    HalveError,
    ModelError,
    OptionError,
    OutputError,
    PlanError,
    SampleError,
    SessionError,
    UnsupportedModelError,
    VerdictError,
    WorkspaceError,
)
from halve.options import ConvertOptions, Progress, SimplifyOptions
from halve.types import CastCounts, Comparison, ConvertResult, Plan, PlanNode, TensorStatistics

if TYPE_CHECKING:
    from halve.auto import AutoResult, auto, search, verify_plan
    from halve.bench import bench
    from halve.bench_types import BenchOptions, BenchResult
    from halve.cast import cast
    from halve.compare import compare, statistics
    from halve.conversion import convert
    from halve.from_torch import from_torch
    from halve.manual_options import ManualOptions
    from halve.manual_types import ManualReport
    from halve.measure import measure
    from halve.search_options import SearchOptions
    from halve.search_types import OutputTolerance, SearchEvent, SearchResult, Tolerances
    from halve.session.samples import Sample, read_samples
    from halve.simplify import SimplifyResult, simplify

__all__ = [
    "AutoResult",
    "BackendUnavailableError",
    "BenchOptions",
    "BenchResult",
    "CastCounts",
    "CastError",
    "Comparison",
    "ComparisonError",
    "ConvertOptions",
    "ConvertResult",
    "DataError",
    "HalveError",
    "ManualOptions",
    "ManualReport",
    "ModelError",
    "OptionError",
    "OutputError",
    "OutputTolerance",
    "Plan",
    "PlanError",
    "PlanNode",
    "Progress",
    "Sample",
    "SampleError",
    "SearchEvent",
    "SearchOptions",
    "SearchResult",
    "SessionError",
    "SimplifyOptions",
    "SimplifyResult",
    "TensorStatistics",
    "Tolerances",
    "UnsupportedModelError",
    "VerdictError",
    "WorkspaceError",
    "__version__",
    "auto",
    "bench",
    "cast",
    "compare",
    "convert",
    "from_torch",
    "measure",
    "read_samples",
    "search",
    "simplify",
    "statistics",
    "verify_plan",
]

__version__ = "0.1.0"

# What needs numpy, onnx or ONNX Runtime, which take half a second to import: loaded when asked for.
_LAZY = {
    "AutoResult": "halve.auto",
    "ManualOptions": "halve.manual_options",
    "ManualReport": "halve.manual_types",
    "BenchOptions": "halve.bench_types",
    "BenchResult": "halve.bench_types",
    "OutputTolerance": "halve.search_types",
    "Sample": "halve.session.samples",
    "SearchEvent": "halve.search_types",
    "SearchOptions": "halve.search_options",
    "SearchResult": "halve.search_types",
    "SimplifyResult": "halve.simplify",
    "Tolerances": "halve.search_types",
    "auto": "halve.auto",
    "bench": "halve.bench",
    "cast": "halve.cast",
    "compare": "halve.compare",
    "convert": "halve.conversion",
    "measure": "halve.measure",
    "from_torch": "halve.from_torch",
    "read_samples": "halve.session.samples",
    "search": "halve.auto",
    "simplify": "halve.simplify",
    "statistics": "halve.compare",
    "verify_plan": "halve.auto",
}


class _Package(ModuleType):
    """The package: `halve.auto`, `halve.bench`, `halve.cast`, `halve.compare`, `halve.convert`,
    `halve.from_torch`, `halve.measure`, `halve.search` and `halve.simplify` are functions, beside
    modules of the same name.

    Importing such a module binds it here as an attribute, which would hide the function, so that
    binding is left out; `from halve.convert import ...` does not need it.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any of the lazy names
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        function = getattr(importlib.import_module(_LAZY[name]), name)
        setattr(self, name, function)
        return function

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_LAZY})


sys.modules[__name__].__class__ = _Package

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
)
from halve.options import ConvertOptions, Progress
from halve.types import CastCounts, Comparison, ConvertResult, Plan, PlanNode, TensorStatistics

if TYPE_CHECKING:
    from halve.cast import cast
    from halve.compare import compare, statistics
    from halve.convert import convert

__all__ = [
    "BackendUnavailableError",
    "CastCounts",
    "CastError",
    "Comparison",
    "ComparisonError",
    "ConvertOptions",
    "ConvertResult",
    "DataError",
    "HalveError",
    "ModelError",
    "OptionError",
    "OutputError",
    "Plan",
    "PlanError",
    "PlanNode",
    "Progress",
    "SampleError",
    "SessionError",
    "TensorStatistics",
    "UnsupportedModelError",
    "__version__",
    "cast",
    "compare",
    "convert",
    "statistics",
]

__version__ = "0.1.0"

# Functions that need numpy and onnx, which take half a second to import: loaded when asked for.
_LAZY = {
    "cast": "halve.cast",
    "compare": "halve.compare",
    "convert": "halve.convert",
    "statistics": "halve.compare",
}


class _Package(ModuleType):
    """The package: `halve.cast`, `halve.compare` and `halve.convert` are functions, in modules of
    the same name.

    Importing such a module binds it here as an attribute, which would hide the function, so that
    binding is left out; `from halve.convert import ...` does not need it.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any of the lazy functions
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        function = getattr(importlib.import_module(_LAZY[name]), name)
        setattr(self, name, function)
        return function

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_LAZY})


sys.modules[__name__].__class__ = _Package

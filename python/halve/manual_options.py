"""The options of manual mode, as a frozen record that is checked when made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from halve.errors import OptionError
from halve.field_types import check_threads, check_types
from halve.manual_types import ManualEvent
from halve.options import ConvertOptions
from halve.search_types import Tolerances

__all__ = ["CPU_PROVIDER", "FILTERS", "MODES", "ManualOptions"]

MODES = ("calc", "raw")
CPU_PROVIDER = "CPUExecutionProvider"
FILTERS = ("op_id_filter", "op_id_bypass", "op_type_filter", "op_type_bypass")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualOptions:
    """What to measure, and how; every field has a default.

    Raises:
        OptionError: a field has a value outside its range, or more than one filter is given.
    """

    convert: ConvertOptions = field(default_factory=ConvertOptions)
    """Of the 16-bit model; `fp32_nodes` and `plan` say which nodes stay float32."""
    mode: str = "calc"
    """What is reported of a tensor: "calc" (shares beyond thresholds) or "raw" (counts and the
    comparison of both runs); case does not matter."""
    le_value_thres: float = 2.0**-14
    """Magnitudes of at most this are counted; float16's smallest normal by default."""
    ge_value_thres: float = 65504.0
    """Magnitudes of at least this are counted; float16's largest by default."""
    op_id_filter: tuple[int, ...] | None = None
    """Report these nodes only, by id."""
    op_id_bypass: tuple[int, ...] | None = None
    """Report all but these nodes, by id."""
    op_type_filter: tuple[str, ...] | None = None
    """Report nodes of these operators only."""
    op_type_bypass: tuple[str, ...] | None = None
    """Report all but nodes of these operators."""
    tolerances: Tolerances = field(default_factory=Tolerances)
    """What outputs may differ by; the default one also judges every node's outputs in raw mode."""
    exact_local: bool | None = None
    """Whether to run each node on the float32 run's values as well, for its local error; without,
    that is the rounding of its output alone. None: in raw mode, and on a device, whose kernels
    show no result before it is rounded."""
    distribution: bool = False
    """Whether to sample the distribution of each tensor's magnitudes."""
    threads: int = 1
    """Threads inside a node of both runs, at most 1024; results may depend on it."""
    provider: str = CPU_PROVIDER
    """ONNX Runtime's execution provider. On the CPU's, 16 bits are emulated; on others both models
    run as they are, by its kernels."""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the provider, by ONNX Runtime's names."""
    session_options: Mapping[str, str] = field(default_factory=dict)
    """Session configuration entries, by ONNX Runtime's keys."""
    feedback: tuple[tuple[str, str], ...] = ()
    """(output, input) pairs: a sample is rolled over its steps, the output fed to the input, in
    each run its own; statistics are over all steps."""
    workspace: Path | None = None
    """A folder for the models that run, the plan and the deployable model; what fits is reused."""
    clean: bool = False
    """Empty the workspace first."""
    progress: Callable[[ManualEvent], None] | None = None
    """Called now and then from the calling thread; an exception it raises ends the measurement."""

    def __post_init__(self) -> None:
        """Check every field; `mode` becomes lower case."""
        check_types(self)
        object.__setattr__(self, "mode", self.mode.lower())
        if self.mode not in MODES:
            raise OptionError(f"mode is {self.mode!r}; allowed: {', '.join(MODES)}")
        for name in ("le_value_thres", "ge_value_thres"):
            value = getattr(self, name)
            if math.isnan(value) or value < 0:
                raise OptionError(f"{name} is {value!r}; allowed: a number, 0 or more")
        check_threads("threads", self.threads, 1)
        if self.on_device and self.exact_local is False:
            raise OptionError(
                f"exact_local is False for provider {self.provider!r}, whose kernels show no result"
                " before it is rounded; allowed there: True or None"
            )
        _check_filters({name: getattr(self, name) for name in FILTERS})

    @property
    def runs_local(self) -> bool:
        """`exact_local` with None resolved."""
        if self.exact_local is None:
            return self.on_device or self.mode == "raw"
        return self.exact_local

    @property
    def on_device(self) -> bool:
        """Whether the provider's own 16-bit kernels run."""
        return self.provider != CPU_PROVIDER

    @property
    def filters(self) -> dict[str, tuple[int | str, ...]]:
        """The filter that is given, by its name; empty where none is."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: tuple(given[name]) for name in FILTERS if given[name] is not None}


def _check_filters(filters: Mapping[str, object]) -> None:
    given = [name for name, value in filters.items() if value is not None]
    if len(given) > 1:
        raise OptionError(
            f"{' and '.join(given)} are both given; they exclude each other: give one of them"
        )
    for name in given:
        if not filters[name]:
            raise OptionError(f"{name} is empty; allowed: one or more, or leave it out")

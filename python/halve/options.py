"""Options as frozen records, validated when made. Command-line flags are generated from them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halve.errors import OptionError
from halve.field_types import check_threads, check_types
from halve.types import CastBounds, DType, TypeOracle

__all__ = [
    "DTYPES",
    "OPSETS",
    "TARGETS",
    "ConvertOptions",
    "Progress",
    "SimplifyOptions",
    "parse_size",
    "usable_cores",
]

DTYPES = {"float16": DType.FLOAT16, "bfloat16": DType.BFLOAT16}
TARGETS = ("cuda", "cpu", "tensorrt", "any")
# What the default domain can be raised to: forms up to the last are held against each other.
OPSETS = range(6, 23)
EXTERNAL_DATA = ("auto", "always", "never")
# The largest finite float16: what a clipped value becomes by default.
FLOAT16_MAX = 65504.0
_OPERAND = re.compile(r"[^:]+:(in|out)[0-9]+")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a running conversion, passed to `ConvertOptions.progress`.

    `stage` is "open", "plan", "rewrite" or "write"; `done_bytes` of `total_bytes` of payload have
    been read, cast and written (both 0 outside "write").
    """

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0


def parse_size(text: str) -> int:
    """Bytes from "512", "64K", "2G" or "1.5GiB" (powers of 1024).

    Raises:
        OptionError: the text is not a positive size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text, re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size <= 0:
        raise OptionError(f"size {text!r} is not understood; write it like 512M or 2G")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class SimplifyOptions:
    """How to simplify a model before it is converted; every field has a default.

    Raises:
        OptionError: a field has a value outside its range.
    """

    skip_fuse_bn: bool = False
    """Keep BatchNormalization beside Conv."""
    skipped_optimizers: tuple[str, ...] = ()
    """Passes to leave out, by the names of onnx's optimizer."""
    samples: Any = None
    """What the simplified model is compared on, as `halve.search` takes samples; None: random
    ones. A search compares it on its own samples, whatever this says."""
    rtol: float = 1e-3
    """Relative tolerance of that comparison."""
    atol: float = 1e-4
    """Absolute tolerance of that comparison."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_types(self)
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not 0 <= value < math.inf:
                raise OptionError(f"{name} is {value!r}; allowed: 0 or a finite positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """How to convert a model; every field has a default.

    Raises:
        OptionError: a field has a value outside its range.
    """

    dtype: str = "float16"
    """The 16-bit type: "float16" or "bfloat16"."""
    keep_io_types: bool | tuple[str, ...] = False
    """Keep graph inputs and outputs float32: all (True), none, or those named."""
    op_block: tuple[str, ...] = ()
    """Op types to keep float32: names, or regular expressions that match the whole type."""
    node_block: tuple[str, ...] = ()
    """Nodes to keep float32: names, or regular expressions that match the whole name."""
    op_half: tuple[str, ...] = ()
    """Op types whose 16-bit types are vouched for: the target is not asked for a kernel, and an
    operator without a schema becomes 16-bit in every float32 operand. Names, or regular
    expressions that match the whole type. What is blocked stays float32."""
    node_half: tuple[str, ...] = ()
    """Nodes of which the same holds: names, or regular expressions that match the whole name."""
    operand_block: tuple[str, ...] = ()
    """Operands to keep float32, as "TYPE:in2" or "TYPE:out0"; with it go those that share its type
    variable."""
    fp32_nodes: tuple[int, ...] = ()
    """Ids of nodes to keep float32 (position in the source file)."""
    plan: Path | None = None
    """A plan file whose float32 nodes are kept float32, in addition to `fp32_nodes`."""
    min_positive: float = 0.0
    """Nonzero magnitudes below this are raised to it; 0 switches it off."""
    max_finite: float | None = None
    """Finite magnitudes above this are lowered to it; None is 65504 for float16 and no bound for
    bfloat16, inf is no bound."""
    half_weights: bool = False
    """Store weights that float32 nodes read in 16 bits, behind a cast, where their operand may be
    16-bit by its schema: a smaller file, whose float32 nodes read rounded weights."""
    target: str = "cuda"
    """Whose kernels decide what must stay float32: "cuda", "cpu", "tensorrt" or "any"."""
    opset: int | None = None
    """Raise the default domain's opset to this (6 to 22) where it is lower and anything is
    converted; None raises it to 13 where bfloat16 needs it, and a quantised model's to 19 where
    that saves casts."""
    external_data: str = "auto"
    """Where weights go: "always" beside the model, "never", or "auto": beside it from 1 GiB."""
    shard_size_bytes: int | None = None
    """Start another data file when this size would be passed; None writes one."""
    threads: int = 0
    """Worker threads, at most 1024; 0 is one for each core that this process may use."""
    budget_bytes: int = 64 << 20
    """Payload held in memory at a time."""
    device: int | None = None
    """Cast weights by way of this CUDA device; None is the processor, which is faster unless
    `halve doctor` says otherwise. The result is the same."""
    custom_op_library: Path | None = None
    """A shared library with custom ops, registered where ONNX Runtime is asked for types or runs
    a model. The custom ops themselves stay float32."""
    type_oracle: TypeOracle | None = None
    """Who is asked for the output types of operators without an ONNX schema; None is ONNX Runtime,
    where it is installed."""
    allow_links: bool = False
    """Accept external data behind a link that leaves the model's folder."""
    simplify: SimplifyOptions | None = None
    """Simplify the model first; ids in options, plan and report stay those of the file given."""
    progress: Callable[[Progress], None] | None = None
    """Called now and then from the calling thread; an exception it raises cancels the job."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_types(self)
        _check_choice("dtype", self.dtype, tuple(DTYPES))
        _check_choice("target", self.target, TARGETS)
        _check_choice("external_data", self.external_data, EXTERNAL_DATA)
        check_threads("threads", self.threads, 0)
        for name, value, low in (
            ("budget_bytes", self.budget_bytes, 1 << 20),
            ("shard_size_bytes", self.shard_size_bytes or 1, 1),
        ):
            if value < low:
                raise OptionError(f"{name} is {value}; allowed: {low} or more")
        if self.device is not None and self.device < 0:
            raise OptionError(f"device is {self.device}; allowed: None, or 0 or more")
        _check_bounds(self.min_positive, self.bounds.max_finite)
        if self.opset is not None and self.opset not in OPSETS:
            raise OptionError(f"opset is {self.opset}; allowed: {OPSETS[0]} to {OPSETS[-1]}")
        for entry in self.operand_block:
            if not _OPERAND.fullmatch(entry):
                raise OptionError(f'operand_block holds {entry!r}; allowed: like "Gemm:in2"')

    @property
    def half(self) -> DType:
        """The 16-bit element type."""
        return DTYPES[self.dtype]

    @property
    def bounds(self) -> CastBounds:
        """The clip bounds in force for the chosen type."""
        default = FLOAT16_MAX if self.dtype == "float16" else math.inf
        limit = default if self.max_finite is None else self.max_finite
        return CastBounds(self.min_positive, limit)

    @property
    def worker_threads(self) -> int:
        """`threads` with 0 resolved to the cores that this process may use."""
        return self.threads or usable_cores()


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def _check_bounds(low: float, high: float) -> None:
    if not (0 <= low < math.inf):
        raise OptionError(f"min_positive is {low}; allowed: 0 (off) or a finite positive number")
    if not high > 0 or low > high:
        raise OptionError(
            f"max_finite is {high}; allowed: positive and at least min_positive, which is {low}"
        )

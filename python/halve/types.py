"""The records that cross the borders between layers. Frozen; nothing else crosses."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from halve.plans import Plan, PlanNode

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "PAYLOAD_KEY",
    "CastBounds",
    "CastCounts",
    "CastJob",
    "CastRow",
    "Comparison",
    "ConvertResult",
    "DType",
    "Plan",
    "PlanNode",
    "RewrittenModel",
    "SourceModel",
    "Span",
    "TensorRef",
    "TensorRow",
    "TensorStatistics",
    "TypeAnswer",
    "TypeOracle",
    "TypeQuestion",
    "WriteSummary",
]

# A tensor whose payload was left in its file carries one external_data entry with this key (one
# for each piece where protobuf merges several); the value is an index into SourceModel.refs, or
# after the rewrite into RewrittenModel.jobs.
PAYLOAD_KEY = "halve.payload"


class DType(enum.IntEnum):
    """Element types by their TensorProto.DataType code (onnx.proto)."""

    UNDEFINED = 0
    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    UINT16 = 4
    INT16 = 5
    INT32 = 6
    INT64 = 7
    STRING = 8
    BOOL = 9
    FLOAT16 = 10
    DOUBLE = 11
    UINT32 = 12
    UINT64 = 13
    COMPLEX64 = 14
    COMPLEX128 = 15
    BFLOAT16 = 16


@dataclass(frozen=True, slots=True)
class Span:
    """Where a piece of a tensor's payload lies in its origin.

    `nbytes` counts payload bytes. With `item` 0 they are contiguous from `offset`. With `item` 4
    or 8 (unpacked float_data or double_data) every item of that many bytes is preceded by one tag
    byte, and `offset` is that of the first item, after its tag.
    """

    offset: int
    nbytes: int
    item: int = 0


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor's payload where it lies: never read to plan or to rewrite.

    `origin` is a file (resolved path) or bytes held in memory. `spans` in order make up the
    little-endian payload of `nbytes`. `dtype` is a TensorProto.DataType code, which may be newer
    than DType. `field` is the TensorProto field it came from (9 raw_data, 4 float_data,
    10 double_data), or 0 for external data. `where` names the tensor for messages.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    origin: Path | bytes
    spans: tuple[Span, ...]
    nbytes: int
    field: int
    where: str


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model without its payload.

    `proto` is complete except for payloads of 1 KiB and more and for external data, which are
    replaced by a PAYLOAD_KEY entry into `refs`. `path` is None for a ModelProto given in memory.
    `data_files` are the resolved files that hold external data. `digest` is the SHA-256 of the
    payload-free proto with the sizes and places of its payloads, in hex.
    """

    proto: ModelProto
    refs: tuple[TensorRef, ...]
    path: Path | None
    data_files: tuple[Path, ...]
    digest: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class CastBounds:
    """Magnitudes that a cast keeps to: |x| in (0, min_positive) is raised, finite |x| >
    max_finite is lowered. 0 and inf switch a bound off.
    """

    min_positive: float = 0.0
    max_finite: float = float("inf")


@dataclass(frozen=True, slots=True)
class CastCounts:
    """What a cast did to a tensor; see csrc/include/halve/cast.h for each definition."""

    elements: int = 0
    raised: int = 0
    lowered: int = 0
    flushed: int = 0
    subnormal: int = 0
    overflow: int = 0
    nan: int = 0
    inf: int = 0
    max_abs: float = 0.0
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one pass over two arrays found; csrc/include/halve/compare.h defines each field.

    Both values of a pair are widened to float64; `b` is the reference. A difference is |a - b|: 0
    where the values are equal (equal infinities are), inf for a NaN that is not matched. Indices
    are of the first worst element in C order, None where nothing differs. The sums are over all
    elements: a NaN or an infinity makes `sum_aa`, `sum_bb` or `sum_ab` NaN or infinite.
    """

    elements: int = 0
    a_nan: int = 0
    a_inf: int = 0
    b_nan: int = 0
    b_inf: int = 0
    mismatches: int = 0
    max_abs_error: float = 0.0
    max_abs_index: int | None = None
    max_rel_error: float = 0.0
    max_rel_index: int | None = None
    sum_aa: float = 0.0
    sum_bb: float = 0.0
    sum_ab: float = 0.0
    sum_ee: float = 0.0

    @property
    def allclose(self) -> bool:
        """Whether no element lies outside the tolerance."""
        return self.mismatches == 0

    @property
    def a_norm(self) -> float:
        """The Euclidean norm of `a`."""
        return math.sqrt(self.sum_aa)

    @property
    def b_norm(self) -> float:
        """The Euclidean norm of `b`."""
        return math.sqrt(self.sum_bb)

    @property
    def norm_ratio(self) -> float:
        """Norm of `a` over norm of `b`: 1 for two zero vectors, inf where only `b` is."""
        if self.sum_bb == 0:
            return 1.0 if self.sum_aa == 0 else self.sum_aa * math.inf
        return self.a_norm / self.b_norm

    @property
    def dot(self) -> float:
        """The inner product."""
        return self.sum_ab

    @property
    def cosine(self) -> float:
        """Of the angle between the two, in [-1, 1]: 1 for two zero vectors, 0 where one is.

        NaN where a value or a sum is not finite.
        """
        if not all(map(math.isfinite, (self.sum_aa, self.sum_bb, self.sum_ab))):
            return math.nan
        if self.sum_aa == 0 or self.sum_bb == 0:
            return float(self.sum_aa == self.sum_bb)
        # Norms rather than the product of the sums, which could leave float64's range.
        return max(-1.0, min(1.0, self.sum_ab / self.a_norm / self.b_norm))

    @property
    def mse(self) -> float:
        """The mean of the squared differences; 0 for no elements."""
        return self.sum_ee / self.elements if self.elements else 0.0


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """What one pass over an array found; csrc/include/halve/stats.h defines each field.

    `ge` and `le` count |x| against the two thresholds, infinities and zeros included, NaN not.
    `subnormal` is in the array's own type. `minimum`, `maximum` and `sum_squares` are over finite
    elements; without any, the first two are inf and -inf.
    """

    elements: int = 0
    nan: int = 0
    inf: int = 0
    zero: int = 0
    subnormal: int = 0
    ge: int = 0
    le: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    sum_squares: float = 0.0

    @property
    def max_abs(self) -> float:
        """The largest finite magnitude; 0 where no element is finite."""
        return max(self.maximum, -self.minimum, 0.0)

    @property
    def ge_ratio(self) -> float:
        """The share of elements counted by `ge`; 0 for no elements."""
        return self.ge / self.elements if self.elements else 0.0

    @property
    def le_ratio(self) -> float:
        """The share of elements counted by `le`; 0 for no elements."""
        return self.le / self.elements if self.elements else 0.0


@dataclass(frozen=True, slots=True)
class CastJob:
    """One payload of the output: `ref` cast to `dtype` under `bounds`, or copied where
    `dtype == ref.dtype`. `name` is the tensor's name in the output.
    """

    name: str
    ref: TensorRef
    dtype: int
    bounds: CastBounds = CastBounds()

    @property
    def is_copy(self) -> bool:
        """Whether the bytes pass unchanged."""
        return self.dtype == self.ref.dtype

    @property
    def nbytes(self) -> int:
        """Size of the result in bytes (a cast is from 4-byte floats to 2-byte ones)."""
        return self.ref.nbytes if self.is_copy else self.ref.nbytes // 2


@dataclass(frozen=True, slots=True)
class CastRow:
    """A Cast node that the rewrite inserted."""

    node: str
    tensor: str
    output: str
    to: int
    scope: str
    reason: str


@dataclass(frozen=True, slots=True)
class TypeQuestion:
    """An operator whose output types nothing tells.

    `operator` is a serialised NodeProto of domain, operator and attributes alone, `opset` that of
    its domain. `inputs` are element types, 0 for an absent operand; `outputs` say which are there.
    """

    operator: bytes
    opset: int
    inputs: tuple[int, ...]
    outputs: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class TypeAnswer:
    """The element types of an operator's outputs: 0 for one that is absent or not known, -1 for
    what is no plain tensor. Empty where nothing is known; then `reason` says why.
    """

    outputs: tuple[int, ...] = ()
    reason: str = ""


class TypeOracle(Protocol):
    """Who knows operators that have no ONNX schema: a runtime, as a rule."""

    def __call__(self, questions: Sequence[TypeQuestion]) -> list[TypeAnswer]:
        """An answer a question; none for no questions, which finds out whether it can be asked."""
        ...


@dataclass(frozen=True, slots=True)
class RewrittenModel:
    """The output without its payload: every PAYLOAD_KEY entry in `proto` indexes `jobs`.

    `cast_lower_bound` is the number of (tensor, direction) pairs that have a reader of the other
    precision. `plan` is the one that was given, with rows that say what was written (None: no plan
    made this model). `identity` says that nothing was changed, so that the source's files can be
    copied.
    """

    proto: ModelProto
    jobs: tuple[CastJob, ...]
    casts: tuple[CastRow, ...] = ()
    cast_lower_bound: int = 0
    identity: bool = False
    warnings: tuple[str, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One written payload: bytes read and written, counts, and where it went.

    `file` is a name relative to the model's folder, `offset` its place there.
    """

    name: str
    source_dtype: int
    dtype: int
    shape: tuple[int, ...]
    source_nbytes: int
    nbytes: int
    file: str
    offset: int
    counts: CastCounts


@dataclass(frozen=True, slots=True)
class WriteSummary:
    """What was written: the files (the model first), a row a payload, and totals in bytes."""

    files: tuple[Path, ...]
    rows: tuple[TensorRow, ...] = ()
    bytes_read: int = 0
    bytes_written: int = 0
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What a conversion did.

    `target` is the written model file, or None where `model` holds the result. `casts` are the
    inserted Cast nodes; `cast_lower_bound` is the least number that this plan needs.
    """

    target: Path | None
    model: ModelProto | None
    plan: Plan
    summary: WriteSummary
    casts: tuple[CastRow, ...]
    cast_lower_bound: int
    source_nbytes: int
    identity: bool
    warnings: tuple[str, ...]
    elapsed_s: float

    @property
    def node_count(self) -> int:
        """Nodes of the source, in all scopes."""
        return len(self.plan.nodes)

    @property
    def float_node_count(self) -> int:
        """Nodes of the source with a float32 operand."""
        return sum(node.dtype != "" for node in self.plan.nodes)

    @property
    def half_node_count(self) -> int:
        """Nodes of the source that were made 16-bit."""
        return sum(node.dtype not in ("", "float32") for node in self.plan.nodes)

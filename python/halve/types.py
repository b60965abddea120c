"""The records that cross the borders between layers. Frozen; nothing else crosses."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from halve.plans import Plan, PlanNode

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "PAYLOAD_KEY",
    "CastBounds",
    "CastCounts",
    "CastJob",
    "CastRow",
    "ConvertResult",
    "DType",
    "Plan",
    "PlanNode",
    "RewrittenModel",
    "SourceModel",
    "Span",
    "TensorRef",
    "TensorRow",
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
class RewrittenModel:
    """The output without its payload: every PAYLOAD_KEY entry in `proto` indexes `jobs`.

    `cast_lower_bound` is the number of (tensor, direction) pairs that have a reader of the other
    precision. `identity` says that nothing was changed, so that the source's files can be copied.
    """

    proto: ModelProto
    jobs: tuple[CastJob, ...]
    casts: tuple[CastRow, ...] = ()
    cast_lower_bound: int = 0
    identity: bool = False
    warnings: tuple[str, ...] = ()


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

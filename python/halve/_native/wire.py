"""Serialised ONNX models with and without their payload (csrc/include/halve/wire.h)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from halve import _core
from halve.errors import ModelError
from halve.types import Span

__all__ = [
    "DOUBLE_DATA",
    "FLOAT_DATA",
    "MAX_PROTOBUF_BYTES",
    "RAW_DATA",
    "THRESHOLD_BYTES",
    "Layout",
    "Payload",
    "elide_bytes",
    "elide_file",
    "initializers",
    "splice",
]

FLOAT_DATA = 4
RAW_DATA = 9
DOUBLE_DATA = 10
# Smaller payloads stay in the proto: a reference would cost as much.
THRESHOLD_BYTES = 1024
# What a protobuf message can hold, and so the largest model file.
MAX_PROTOBUF_BYTES = (1 << 31) - 1


class Payload(NamedTuple):
    """A payload that was left out: its TensorProto field, and its pieces in order."""

    field: int
    spans: tuple[Span, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of payload, tags between items not counted."""
        return sum(span.nbytes for span in self.spans)


class Layout(NamedTuple):
    """A serialised model of `nbytes` as pieces (offset, content), in order and without gaps.

    Content is literal bytes, or the index of the payload that belongs there.
    """

    nbytes: int
    pieces: tuple[tuple[int, bytes | int], ...]


_Found = tuple[bytes, list[tuple[int, list[tuple[int, int, int]]]]]


def elide_file(
    fd: int, size: int, label: str, *, threshold: int = THRESHOLD_BYTES
) -> tuple[bytes, tuple[Payload, ...]]:
    """Read the serialised ModelProto in the first `size` bytes of `fd` without its payload.

    Returns the skeleton and what its PAYLOAD_KEY entries index: a tensor with `threshold` bytes of
    raw_data, float_data and double_data, or one that protobuf merges from several occurrences,
    has one entry a field and occurrence in place of them. Spans are places in the file. The file
    position is neither used nor moved; memory is a 64 KiB window besides the result.

    Raises:
        ModelError: the bytes are not well-formed; the message names `label` and the byte.
    """
    try:
        return _payloads(_core.wire_elide_file(fd, size, threshold))
    except _core.WireError as error:
        raise _model_error(label, error) from None


def elide_bytes(
    data: bytes, label: str, *, threshold: int = THRESHOLD_BYTES
) -> tuple[bytes, tuple[Payload, ...]]:
    """`elide_file` for a serialised ModelProto in memory; spans are places in `data`."""
    try:
        return _payloads(_core.wire_elide_bytes(data, threshold))
    except _core.WireError as error:
        raise _model_error(label, error) from None


def initializers(skeleton: bytes, label: str) -> list[tuple[int, dict[str, str]]]:
    """Element type and external_data entries of each initializer of the main graph, in order.

    Of entries with one key the last counts, and bytes that are not UTF-8 become surrogates.

    Raises:
        ModelError: the skeleton is malformed.
    """
    try:
        found = _core.wire_initializers(skeleton)
    except _core.WireError as error:
        raise _model_error(label, error) from None
    return [(kind, {_text(k): _text(v) for k, v in entries.items()}) for kind, entries in found]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def splice(skeleton: bytes, table: Sequence[tuple[int, int]], label: str = "the model") -> Layout:
    """Lay out a serialised payload-free ModelProto as bytes with holes for its payloads.

    Every PAYLOAD_KEY entry with index i becomes field `table[i][0]` of `table[i][1]` bytes: 9
    raw_data, 4 float_data (packed), 10 double_data (packed). An index may occur more than once.

    Raises:
        ModelError: the skeleton is malformed, an index is not in the table, or the whole would
            be larger than a protobuf file can be (2 GiB - 1).
    """
    try:
        nbytes, pieces = _core.wire_splice(skeleton, list(table))
    except _core.WireError as error:
        raise _model_error(label, error) from None
    if nbytes > MAX_PROTOBUF_BYTES:
        raise ModelError(
            f"{label} would take {nbytes} bytes as one file; a protobuf file can hold "
            f"{MAX_PROTOBUF_BYTES}; keep its weights in external data"
        )
    return Layout(nbytes, tuple(pieces))


def _payloads(found: _Found) -> tuple[bytes, tuple[Payload, ...]]:
    skeleton, payloads = found
    return skeleton, tuple(
        Payload(field, tuple(Span(*span) for span in spans)) for field, spans in payloads
    )


def _model_error(label: str, error: _core.WireError) -> ModelError:
    what, offset = error.args
    return ModelError(
        f"{label}, byte {offset}: {what}; an ONNX model is a protobuf message; "
        "the file may be truncated or damaged, fetch or export it again"
    )

"""Open a model without its payload."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, TensorProto

from halve._native.wire import (
    MAX_PROTOBUF_BYTES,
    RAW_DATA,
    Payload,
    elide_bytes,
    elide_file,
)
from halve.errors import DataError, ModelError, OptionError
from halve.files import given_path
from halve.source.detect import HEAD_BYTES, describe
from halve.source.external import Folder, check_overlaps, external_ref
from halve.source.payload import check_inline, check_size, inline_ref
from halve.source.structure import without_payload
from halve.source.tensors import (
    inline_fields,
    is_external,
    iter_tensors,
    payload_indices,
    set_payload,
    text,
)
from halve.types import PAYLOAD_KEY, SourceModel, Span, TensorRef

__all__ = ["open_model"]

_IN_MEMORY = "the model in memory"


def open_model(
    source: str | os.PathLike[str] | ModelProto, *, allow_links: bool = False
) -> SourceModel:
    """Open an ONNX model of any size without reading its payload.

    A path is scanned through a small window: memory and reads are those of the graph. A ModelProto
    is not changed; the result holds one serialised copy of it (of its payload alone where it is
    too large to be serialised). Payloads of 1 KiB and more and external data become `refs`; index
    i of the proto's PAYLOAD_KEY entries is `refs[i]`, in the order of `iter_tensors`. External
    data is looked for beside the given path, then beside the file that it resolves to.
    `nbytes` counts the model file and its data files.

    `allow_links` accepts external data behind a link that leaves the model's folder.

    Raises:
        OptionError: `source` is neither a path nor a ModelProto.
        ModelError: the file cannot be opened, is truncated, is not an ONNX model or contradicts
            itself.
        DataError: a payload is missing, short, partly overlaps another, is outside the model's
            folder or does not fit its tensor's type and shape.
    """
    if isinstance(source, ModelProto):
        return _open_proto(source)
    if not isinstance(source, (str, os.PathLike)):
        raise OptionError(f"source is {type(source).__name__}; allowed: a path or a ModelProto")
    return _open_path(given_path(os.fsdecode(source), what="the model"), allow_links)


@dataclass(slots=True)
class _Opened:
    """A proto as it was read, with what its PAYLOAD_KEY entries index.

    `origins` has one element a payload. `folder` is None for a model in memory.
    """

    label: str
    proto: ModelProto
    payloads: Sequence[Payload]
    origins: Sequence[Path | bytes]
    folder: Folder | None
    used: set[int] = field(default_factory=set)


def _open_path(given: Path, allow_links: bool) -> SourceModel:
    label = str(given)
    with _open_file(given) as (path, file):
        size = os.fstat(file.fileno()).st_size
        with _explained(label, file, size):
            skeleton, payloads = elide_file(file.fileno(), size, label)
            proto = _parse(skeleton, label)
    folder = Folder(given.parent, path.parent, allow_links)
    refs = _bind(_Opened(label, proto, payloads, [path] * len(payloads), folder))
    names = {file: name for name, (file, _) in sorted(folder.found.items(), reverse=True)}
    sizes = dict(folder.found.values())
    digest = _digest(proto, refs, names)
    return SourceModel(proto, refs, path, tuple(sizes), digest, size + sum(sizes.values()))


def _open_proto(source: ModelProto) -> SourceModel:
    try:
        opened, nbytes = _serialised(source.SerializeToString())
    except EncodeError:
        opened, nbytes = _copied(source)
    _check_graph(opened.proto, _IN_MEMORY)
    refs = _bind(opened)
    return SourceModel(opened.proto, refs, None, (), _digest(opened.proto, refs, {}), nbytes)


def _serialised(data: bytes) -> tuple[_Opened, int]:
    skeleton, payloads = elide_bytes(data, _IN_MEMORY)
    proto = ModelProto.FromString(skeleton)
    return _Opened(_IN_MEMORY, proto, payloads, [data] * len(payloads), None), len(data)


def _copied(source: ModelProto) -> tuple[_Opened, int]:
    """For a model beyond 2 GiB, which protobuf cannot serialise."""
    proto, found = without_payload(source)
    payloads = [Payload(number, (Span(0, len(data)),)) for number, data in found]
    opened = _Opened(_IN_MEMORY, proto, payloads, [data for _, data in found], None)
    return opened, proto.ByteSize() + sum(len(data) for _, data in found)


@contextmanager
def _open_file(given: Path) -> Iterator[tuple[Path, FileIO]]:
    """The resolved path of a model file, and the file open for reading."""
    try:
        path = given.resolve(strict=True)
        regular = path.is_file()
        # Opening anything else could wait for ever, as a pipe does.
        file = FileIO(path) if regular else None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{str(given)!r} cannot be opened: {reason}; check the path") from error
    if file is None:
        raise ModelError(f"{str(given)!r} is not a file; allowed: the path of an .onnx file")
    with file:
        if hasattr(os, "posix_fadvise"):
            # Read-ahead would fetch the payload that the scan steps over.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        yield path, file


@contextmanager
def _explained(label: str, file: FileIO, size: int) -> Iterator[None]:
    """Say what a file is that cannot be read as a model."""
    try:
        if not size:
            raise ModelError(f"{label} is empty; an ONNX model is a protobuf file; fetch it again")
        if size > MAX_PROTOBUF_BYTES:
            raise ModelError(
                f"{label} has {size} bytes; a protobuf file can hold {MAX_PROTOBUF_BYTES}; "
                "export the model with external data"
            )
        yield
    except ModelError as error:
        kind = describe(_head(file))
        if not kind:
            raise
        raise ModelError(f"{label} is no ONNX model: it looks like {kind}") from error


def _head(file: FileIO) -> bytes:
    file.seek(0)
    return file.read(HEAD_BYTES)


def _parse(skeleton: bytes, label: str) -> ModelProto:
    try:
        proto: ModelProto = ModelProto.FromString(skeleton)
    except DecodeError as error:
        raise ModelError(
            f"{label} is no ONNX model: {error}; check the path, or export the model again"
        ) from error
    _check_graph(proto, label)
    return proto


def _check_graph(proto: ModelProto, label: str) -> None:
    if not proto.HasField("graph") or not (proto.ir_version or proto.opset_import):
        raise ModelError(
            f"{label} is no ONNX model: it has no graph, or neither an IR version nor opsets; "
            "check the path, or export the model again"
        )


def _bind(opened: _Opened) -> tuple[TensorRef, ...]:
    """Give every payload outside the proto a reference, numbered in the order of the tensors."""
    refs: list[TensorRef] = []
    for where, tensor in iter_tensors(opened.proto):
        ref = _reference(tensor, where, opened)
        if ref is not None:
            set_payload(tensor, len(refs))
            refs.append(ref)
    if len(opened.used) != len(opened.payloads):
        raise ModelError(
            f"{opened.label}: {len(opened.payloads)} payloads were found in its bytes, but "
            f"protobuf finds tensors for {len(opened.used)}; export the model again"
        )
    check_overlaps(refs)
    return tuple(refs)


def _reference(tensor: TensorProto, where: str, opened: _Opened) -> TensorRef | None:
    """The reference to a payload outside the proto; None where the tensor keeps its payload."""
    indices = payload_indices(tensor) if tensor.external_data else ()
    if indices:
        return _embedded_ref(tensor, indices, where, opened)
    if is_external(tensor):
        return _external_ref(tensor, where, opened)
    check_inline(tensor, f"{opened.label}: {where}")
    return None


def _external_ref(tensor: TensorProto, where: str, opened: _Opened) -> TensorRef:
    fields = inline_fields(tensor)
    if opened.folder is not None and fields:
        raise _both(where, opened)
    if opened.folder is not None:
        return external_ref(tensor, where, opened.folder)
    if fields:
        return inline_ref(tensor, where)  # loaded, but still marked as external
    raise DataError(
        f"{opened.label}: {where} has external data that is not loaded; pass the path of the "
        "model file, or call onnx.external_data_helper.load_external_data_for_model first"
    )


def _both(where: str, opened: _Opened) -> ModelError:
    return ModelError(
        f"{opened.label}: {where} has both embedded and external data; allowed: one of them; "
        "export the model again"
    )


def _embedded_ref(
    tensor: TensorProto, indices: tuple[int, ...], where: str, opened: _Opened
) -> TensorRef:
    for index in indices:
        if index in opened.used or not 0 <= index < len(opened.payloads):
            raise ModelError(
                f"{opened.label}: {where} has an external_data entry {PAYLOAD_KEY!r}; halve "
                "itself uses that key: remove it from the model"
            )
        opened.used.add(index)
    if is_external(tensor) and opened.folder is not None:
        raise _both(where, opened)
    label = f"{opened.label}: {where}"
    number, spans = _combine(tensor, [opened.payloads[index] for index in indices], label)
    nbytes = sum(span.nbytes for span in spans)
    check_size(tensor, number, nbytes, f"{label}, byte {spans[0].offset}" if spans else label)
    name, shape = text(tensor.name), tuple(tensor.dims)
    origin = opened.origins[indices[0]]
    return TensorRef(name, tensor.data_type, shape, origin, spans, nbytes, number, where)


def _combine(
    tensor: TensorProto, pieces: Sequence[Payload], label: str
) -> tuple[int, tuple[Span, ...]]:
    """The payload of pieces that protobuf merges: the last raw_data, or all numbers in order."""
    raw = [piece for piece in pieces if piece.field == RAW_DATA]
    numbers = [piece for piece in pieces if piece.field != RAW_DATA]
    filled = [piece for piece in numbers + raw[-1:] if piece.nbytes]
    found = filled or pieces[:1]
    fields = {piece.field for piece in found}.union(inline_fields(tensor))
    if len(fields) > 1:
        raise ModelError(
            f"{label} has payload in several fields (numbers {sorted(fields)} of TensorProto); "
            "allowed: one of them; export the model again"
        )
    spans = tuple(span for piece in filled for span in piece.spans if span.nbytes)
    return found[0].field, spans


def _digest(proto: ModelProto, refs: Sequence[TensorRef], names: Mapping[Path, str]) -> str:
    """SHA-256 of the payload-free proto, and a line a payload: field, size, and where external
    data lies relative to the model. Places inside the model file do not count: they change with
    the order of its fields.
    """
    state = hashlib.sha256(proto.SerializeToString(deterministic=True))
    for ref in refs:
        line = f"{ref.field} {ref.nbytes}"
        if isinstance(ref.origin, Path) and ref.field == 0:
            offset = ref.spans[0].offset if ref.spans else 0
            line += f" {offset} {names[ref.origin]}"
        state.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return state.hexdigest()

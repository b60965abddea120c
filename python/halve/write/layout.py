"""Which byte goes where: the model file and its data files, decided before any is written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, TensorProto

from halve._native.stream import Piece
from halve._native.wire import MAX_PROTOBUF_BYTES, splice
from halve.errors import OptionError, OutputError
from halve.options import ConvertOptions
from halve.packing import EMBED_BELOW_BYTES, LEAST_EXTERNAL_BYTES, Shard, pack
from halve.source import iter_tensors, payload_index
from halve.types import CastJob, RewrittenModel
from halve.write.payload import embedded_field, initializers, point_to_file

__all__ = ["FilePlan", "Layout", "data_names", "is_data_name", "lay_out", "wants_external"]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A file of the output: its name relative to the target's folder, and its bytes."""

    name: str
    nbytes: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The model file and its data files. `places` says where each job's result lies."""

    model: FilePlan
    data: tuple[FilePlan, ...]
    places: Mapping[int, tuple[str, int]]


def wants_external(rewritten: RewrittenModel, options: ConvertOptions) -> bool:
    """Whether the options put payload beside the model.

    Raises:
        OptionError: one file is asked for that cannot be, or shards of it.
    """
    never = options.external_data == "never"
    if never and options.shard_size_bytes is not None:
        raise OptionError(
            'shard_size_bytes is given with external_data="never"; shards are external data: '
            "leave out one of the two"
        )
    if options.external_data == "always" or options.shard_size_bytes is not None:
        return True
    if never:
        _check_embeddable(rewritten)
        return False
    return _embedded_nbytes(rewritten) >= EMBED_BELOW_BYTES


def _check_embeddable(rewritten: RewrittenModel) -> None:
    nbytes = sum(job.nbytes for job in rewritten.jobs)
    if nbytes > MAX_PROTOBUF_BYTES:
        raise OptionError(
            f'external_data is "never", but the weights take {nbytes} bytes as one file; a '
            f'protobuf file can hold {MAX_PROTOBUF_BYTES}; use external_data="auto" or "always"'
        )


def _embedded_nbytes(rewritten: RewrittenModel) -> int:
    """The size as one file, or a little more: references are larger than the headers of fields."""
    payload = sum(job.nbytes for job in rewritten.jobs)
    skeleton: int = rewritten.proto.ByteSize()
    return payload + skeleton


def lay_out(
    rewritten: RewrittenModel,
    model_name: str,
    options: ConvertOptions,
    *,
    is_free: Callable[[str], bool],
) -> Layout:
    """Lay out the model file, and data files under names that `is_free` accepts all together.

    The result depends on nothing else. The proto is not changed.

    Raises:
        OptionError: one file is asked for that cannot be.
        OutputError: data files cannot be named after the model.
        ModelError: what must stay in the model file is more than protobuf can hold.
    """
    if not wants_external(rewritten, options):
        return _with_model(rewritten.proto, rewritten.jobs, model_name, (), {})
    proto = ModelProto()
    proto.CopyFrom(rewritten.proto)
    outside = list(_external_tensors(proto, rewritten.jobs))
    indices = sorted({index for _, index in outside})
    if indices:
        _check_encodable(model_name)
    sizes = [(index, rewritten.jobs[index].nbytes) for index in indices]
    shards = list(pack(sizes, options.shard_size_bytes))
    names = data_names(model_name, len(shards), options.shard_size_bytes is not None, is_free)
    places = {
        index: (name, offset)
        for name, shard in zip(names, shards, strict=True)
        for index, offset in shard.offsets
    }
    for tensor, index in outside:
        point_to_file(tensor, *places[index], rewritten.jobs[index].nbytes)
    data = tuple(
        _data_plan(name, shard, rewritten.jobs) for name, shard in zip(names, shards, strict=True)
    )
    return _with_model(proto, rewritten.jobs, model_name, data, places)


def _check_encodable(model_name: str) -> None:
    try:
        model_name.encode()
    except UnicodeEncodeError:
        raise OutputError(
            f"{model_name!r} is not valid UTF-8, so a model cannot name data files after it; give "
            "the output another name"
        ) from None


def _external_tensors(
    proto: ModelProto, jobs: Sequence[CastJob]
) -> Iterator[tuple[TensorProto, int]]:
    """Tensors whose payload goes to a file, with their job.

    Runtimes look for files behind initializers; a tensor in an attribute only goes outside where
    the source had it there, which its reader evidently knows.
    """
    seen = set()
    for tensor in initializers(proto):
        index = payload_index(tensor)
        if index is not None and jobs[index].nbytes >= LEAST_EXTERNAL_BYTES:
            seen.add(index)
            yield tensor, index
    for _, tensor in iter_tensors(proto):
        index = payload_index(tensor)
        if index is None or index in seen or jobs[index].ref.field != 0:
            continue
        if jobs[index].nbytes >= LEAST_EXTERNAL_BYTES:
            yield tensor, index


def data_names(
    model_name: str, count: int, sharded: bool, is_free: Callable[[str], bool]
) -> tuple[str, ...]:
    """Names of `count` data files, of which `is_free` accepts every one.

    The first choice is MODEL.data, or MODEL-00001-of-00003.data; the next ones put .2, .3 … after
    MODEL.
    """
    for attempt in itertools.count(1):
        base = model_name if attempt == 1 else f"{model_name}.{attempt}"
        if sharded:
            names = tuple(f"{base}-{i:05}-of-{count:05}.data" for i in range(1, count + 1))
        else:
            names = (f"{base}.data",) * count
        if all(map(is_free, names)):
            return names
    raise AssertionError  # count() does not end


def is_data_name(name: str, model_name: str) -> bool:
    """Whether `name` is one that `data_names` gives for this model."""
    pattern = re.escape(model_name) + r"(\.\d+)?(-\d{5,}-of-\d{5,})?\.data"
    return re.fullmatch(pattern, name) is not None


def _data_plan(name: str, shard: Shard, jobs: Sequence[CastJob]) -> FilePlan:
    pieces = tuple(Piece(offset, jobs[index].nbytes, index) for index, offset in shard.offsets)
    return FilePlan(name, shard.nbytes, pieces)


def _with_model(
    proto: ModelProto,
    jobs: Sequence[CastJob],
    name: str,
    data: tuple[FilePlan, ...],
    places: Mapping[int, tuple[str, int]],
) -> Layout:
    table = [(embedded_field(job), job.nbytes) for job in jobs]
    laid = splice(proto.SerializeToString(), table, name)
    embedded: dict[int, tuple[str, int]] = {}
    pieces = []
    for offset, content in laid.pieces:
        if isinstance(content, int):
            embedded.setdefault(content, (name, offset))
            pieces.append(Piece(offset, jobs[content].nbytes, content))
        else:
            pieces.append(Piece(offset, len(content), literal=content))
    return Layout(FilePlan(name, laid.nbytes, tuple(pieces)), data, {**embedded, **places})

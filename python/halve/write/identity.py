"""A model that was not changed: its files are copied, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnx import ModelProto, TensorProto

from halve._native.stream import Piece
from halve._native.wire import elide_file
from halve.options import ConvertOptions
from halve.source import iter_tensors, payload_index, text
from halve.types import CastJob, RewrittenModel, SourceModel, Span, TensorRef
from halve.write.layout import FilePlan, Layout

__all__ = ["copy_layout", "keeps_layout"]

_UINT8 = 2


def keeps_layout(rewritten: RewrittenModel, source: SourceModel, options: ConvertOptions) -> bool:
    """Whether the output is to be a copy of the source's files.

    A source that already is as `external_data` asks is copied too; shards are always made anew.
    """
    if not rewritten.identity or source.path is None or options.shard_size_bytes is not None:
        return False
    asked = {"always": True, "never": False}.get(options.external_data)
    return asked is None or asked == bool(source.data_files)


def copy_layout(
    rewritten: RewrittenModel, source: SourceModel, path: Path, model_name: str
) -> tuple[tuple[CastJob, ...], Layout]:
    """Copies of the model file at `path` and of its data files, as jobs and a layout.

    Data keeps its names relative to the model. The layout's places are those of `rewritten.jobs`.
    """
    origins = {model_name: path, **dict(_locations(source, path))}
    jobs = tuple(_copy_job(name, origin) for name, origin in origins.items())
    files = [
        FilePlan(name, job.nbytes, (Piece(0, job.nbytes, index),))
        for index, (name, job) in enumerate(zip(origins, jobs, strict=True))
    ]
    names = {origin: name for name, origin in reversed(origins.items())}
    return jobs, Layout(files[0], tuple(files[1:]), _places(rewritten.jobs, names))


def _locations(source: SourceModel, path: Path) -> Iterator[tuple[str, Path]]:
    """Each location in the model file, with the file that it was found to mean."""
    if not source.data_files:
        return
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        proto = ModelProto.FromString(elide_file(file.fileno(), size, str(path))[0])
    tensors = (tensor for _, tensor in iter_tensors(proto) if _has_reference(tensor))
    # Both lists are in the order of iter_tensors, and name each tensor without a payload.
    for tensor, ref in zip(tensors, source.refs, strict=True):
        if _is_external(tensor) and isinstance(ref.origin, Path):
            entries = {text(entry.key): text(entry.value) for entry in tensor.external_data}
            yield entries["location"], ref.origin


def _has_reference(tensor: TensorProto) -> bool:
    return _is_external(tensor) or payload_index(tensor) is not None


def _is_external(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _copy_job(name: str, path: Path) -> CastJob:
    size = path.stat().st_size
    spans = (Span(0, size),) if size else ()
    return CastJob(name, TensorRef(name, _UINT8, (size,), path, spans, size, 0, name), _UINT8)


def _places(jobs: Sequence[CastJob], names: dict[Path, str]) -> dict[int, tuple[str, int]]:
    return {
        index: (names[job.ref.origin], job.ref.spans[0].offset if job.ref.spans else 0)
        for index, job in enumerate(jobs)
        if isinstance(job.ref.origin, Path) and job.ref.origin in names
    }

"""The result in memory: a ModelProto with its payload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto, TensorProto

from halve._native.stream import Output, Piece, Resources, run_stream
from halve.options import ConvertOptions, Progress
from halve.source import iter_tensors, payload_index
from halve.types import PAYLOAD_KEY, CastCounts, CastJob, RewrittenModel, WriteSummary
from halve.write.payload import embedded_field, merge_field
from halve.write.rows import make_rows

__all__ = ["build_model", "cast_payload"]


def build_model(
    rewritten: RewrittenModel, *, options: ConvertOptions
) -> tuple[ModelProto, WriteSummary]:
    """A new ModelProto with every payload in it; `rewritten.proto` is not changed.

    Casts go to raw_data, copies to the field that they came from. Memory is that of the result,
    and while it is made that of its largest tensor or of `budget_bytes` twice. A result over
    2 GiB can be held but not serialised: write it to a path instead. The summary has no files,
    and its rows give no place.

    `options.progress` is called from this thread; an exception that it raises comes out.

    Raises:
        DataError: a payload of the source cannot be read, or has become shorter.
    """
    proto = ModelProto()
    proto.CopyFrom(rewritten.proto)
    users = _users(proto)
    builder = _Builder(rewritten.jobs, options)
    for indices in _batches(sorted(users), rewritten.jobs, options.budget_bytes):
        for index, payload in zip(indices, builder.payloads(indices), strict=True):
            for tensor in users[index]:
                _fill(tensor, embedded_field(rewritten.jobs[index]), payload)
    rows = make_rows(rewritten.jobs, dict.fromkeys(users, ("", 0)), builder.counts)
    return proto, WriteSummary((), rows, builder.bytes_read, builder.bytes_written)


def cast_payload(job: CastJob) -> bytes:
    """The result of one job.

    Raises:
        DataError: its payload cannot be read, or has become shorter.
    """
    (payload,) = _Builder([job], ConvertOptions()).payloads([0])
    return payload


class _Builder:
    """Carries out jobs batch by batch and keeps the totals."""

    def __init__(self, jobs: Sequence[CastJob], options: ConvertOptions) -> None:
        self._jobs = jobs
        self._options = options
        self._total = sum(job.nbytes for job in jobs)
        self.counts: dict[int, CastCounts] = {}
        self.bytes_read = 0
        self.bytes_written = 0

    def payloads(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The results of jobs, in order."""
        jobs = [self._jobs[index] for index in indices]
        pieces = list(_pieces(jobs))
        buffer = bytearray(sum(job.nbytes for job in jobs))
        result = run_stream(
            jobs,
            [Output(buffer, len(buffer), tuple(pieces))],
            resources=Resources(
                self._options.worker_threads,
                self._options.budget_bytes,
                device=self._options.device,
            ),
            progress=self._report,
        )
        self.counts.update(zip(indices, result.counts, strict=True))
        self.bytes_read += result.bytes_read
        self.bytes_written += result.bytes_written
        view = memoryview(buffer)
        for piece in pieces:
            yield bytes(view[piece.offset : piece.offset + piece.nbytes])

    def _report(self, done: int) -> None:
        if self._options.progress is not None:
            self._options.progress(Progress("write", self.bytes_written + done, self._total))


def _users(proto: ModelProto) -> dict[int, list[TensorProto]]:
    users: dict[int, list[TensorProto]] = {}
    for _, tensor in iter_tensors(proto):
        index = payload_index(tensor)
        if index is not None:
            users.setdefault(index, []).append(tensor)
    return users


def _batches(
    indices: Sequence[int], jobs: Sequence[CastJob], budget_bytes: int
) -> Iterator[list[int]]:
    """Runs of jobs of `budget_bytes` at most, and larger ones alone."""
    batch: list[int] = []
    nbytes = 0
    for index in indices:
        if batch and nbytes + jobs[index].nbytes > budget_bytes:
            yield batch
            batch, nbytes = [], 0
        batch.append(index)
        nbytes += jobs[index].nbytes
    if batch:
        yield batch


def _pieces(jobs: Sequence[CastJob]) -> Iterator[Piece]:
    offset = 0
    for number, job in enumerate(jobs):
        yield Piece(offset, job.nbytes, number)
        offset += job.nbytes


def _fill(tensor: TensorProto, field: int, payload: bytes) -> None:
    kept = [entry for entry in tensor.external_data if entry.key != PAYLOAD_KEY]
    del tensor.external_data[:]
    tensor.external_data.extend(kept)
    merge_field(tensor, field, payload)

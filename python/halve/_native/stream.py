"""Files to files through the compiled pipeline: payloads copied or cast on their way."""

from __future__ import annotations

import contextlib
import enum
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from halve import _core
from halve.errors import BackendUnavailableError, DataError, HalveError, OutputError
from halve.types import CastCounts, CastJob, DType

__all__ = [
    "LITERAL",
    "Output",
    "Piece",
    "Resources",
    "RunningStream",
    "StreamResult",
    "run_stream",
    "same_work",
]

LITERAL = -1
# How often the calling thread looks at signals and reports progress.
_POLL_MS = 50
_ACTIONS = {DType.FLOAT16: 1, DType.BFLOAT16: 2}
_FLOAT32_MAX = 3.4028234663852886e38


class _Fault(enum.IntEnum):
    """halve::stream::Fault of csrc/include/halve/stream.h."""

    NONE = 0
    INVALID = 1
    OPEN_READ = 2
    READ = 3
    SHORT = 4
    OPEN_WRITE = 5
    RESERVE = 6
    WRITE = 7
    BACKEND = 8
    MEMORY = 9
    CANCELLED = 10
    DEVICE = 11


class Piece(NamedTuple):
    """`nbytes` of an output from `offset`: the result of job `job`, or `literal`."""

    offset: int
    nbytes: int
    job: int = LITERAL
    literal: bytes = b""


class Output(NamedTuple):
    """What is written: an existing file (overwritten, then cut to `nbytes`) or a buffer.

    Pieces are in the order of their offsets and do not overlap; holes are zeros. `label` names
    the output in messages, its path where it is empty.
    """

    to: Path | bytearray
    nbytes: int
    pieces: tuple[Piece, ...]
    label: str = ""


class Resources(NamedTuple):
    """What a run may use: computing threads (1 or more), and bytes for all its buffers together
    (1 MiB or more). `direct` writes large files past the page cache where that works. `device`
    is the CUDA device that casts; None is the processor.
    """

    threads: int
    budget_bytes: int
    direct: bool = True
    device: int | None = None


class StreamResult(NamedTuple):
    """Counts a job (all zero for a copy), and totals in bytes."""

    counts: tuple[CastCounts, ...]
    bytes_read: int
    bytes_written: int


class _Failure(NamedTuple):
    fault: _Fault
    number: int
    offset: int
    job: int
    error: int

    @property
    def reason(self) -> str:
        return os.strerror(self.error) if self.error else "no further reason known"


def run_stream(
    jobs: Sequence[CastJob],
    outputs: Sequence[Output],
    *,
    resources: Resources,
    progress: Callable[[int], None] | None = None,
) -> StreamResult:
    """Carry out `jobs` into `outputs`; bytes and counts do not depend on threads or budget.

    `progress` is called from this thread with the bytes done. What it raises, and a
    KeyboardInterrupt, cancels the work and leaves this function after all workers have stopped.
    After any exception the content of the outputs is undefined. Nothing is flushed to the disk.

    Raises:
        DataError: an origin is missing, cannot be read, or ends before its payload.
        OutputError: an output cannot be written, or its disk is full.
        BackendUnavailableError: HALVE_FORCE_BACKEND names a backend that is not usable here, or the
            device is not, or fails.
    """
    with RunningStream(jobs, outputs, resources=resources) as running:
        running.wait(progress)
        return running.result()


class RunningStream:
    """What `run_stream` does, at work on threads of its own from the moment that it is made.

    As a context it cancels the work that is left on leaving, and waits for the workers.
    """

    def __init__(
        self, jobs: Sequence[CastJob], outputs: Sequence[Output], *, resources: Resources
    ) -> None:
        """Begin to carry out `jobs` into `outputs`; what goes wrong is raised by `result`."""
        self._jobs, self._outputs = jobs, outputs
        self._origins = list({_key(job.ref.origin): job.ref.origin for job in jobs}.values())
        places = {_key(origin): i for i, origin in enumerate(self._origins)}
        self._caster = None if resources.device is None else _device_caster(resources.device)
        self._native = _core.Stream(
            [_place(origin) for origin in self._origins],
            [(places[_key(job.ref.origin)], *_native_work(job)) for job in jobs],
            [_native_output(output) for output in outputs],
            threads=resources.threads,
            budget_bytes=resources.budget_bytes,
            direct=resources.direct,
            caster=None if self._caster is None else self._caster.capsule,
        )

    def __enter__(self) -> RunningStream:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, where the work has not ended."""
        self.stop()

    def stop(self) -> None:
        """Give up what is left of the work, and wait for the workers."""
        self._native.cancel()
        self.wait()

    def wait(self, progress: Callable[[int], None] | None = None) -> None:
        """Wait for the end of the work; `progress` is that of `run_stream`."""
        ended = False
        while not ended:
            ended = self._native.wait(_POLL_MS)
            if progress is not None:
                progress(self._native.done_bytes())

    def result(self) -> StreamResult:
        """What was done, after waiting for the end; to be called once.

        Raises:
            DataError, OutputError, BackendUnavailableError: as `run_stream`.
        """
        counts, bytes_read, bytes_written, failure = self._native.finish()
        if failure[0] == _Fault.DEVICE and self._caster is not None:
            raise BackendUnavailableError(
                f"the GPU failed: {self._caster.problem or 'no further reason known'}; see"
                " `halve doctor`, or leave the device out"
            )
        if failure[0] != _Fault.NONE:
            found = _Failure(_Fault(failure[0]), *failure[1:])
            raise _error(found, self._jobs, self._origins, self._outputs)
        return StreamResult(tuple(CastCounts(*row) for row in counts), bytes_read, bytes_written)


def _device_caster(device: int) -> Any:  # noqa: ANN401 - the compiled module has no types
    # Here, because it imports numpy, and weights are cast ahead before that.
    from halve._native.cuda import stream_caster

    return stream_caster(device)


def same_work(one: CastJob, other: CastJob) -> bool:
    """Whether two jobs make the same bytes and counts: their names do not matter."""
    return one.ref.origin == other.ref.origin and _native_work(one) == _native_work(other)


def _key(origin: Path | bytes) -> Path | int:
    """What tells origins apart: equal bytes in two places are two origins."""
    return origin if isinstance(origin, Path) else id(origin)


def _place(place: Path | bytes | bytearray) -> tuple[bytes] | bytes | bytearray:
    return (os.fsencode(place),) if isinstance(place, Path) else place


def _native_work(job: CastJob) -> tuple[int, float, float, list[tuple[int, int, int]]]:
    spans = [(span.offset, span.nbytes, span.item) for span in job.ref.spans]
    if job.is_copy:
        return 0, 0.0, math.inf, spans  # whatever the bounds are
    # A finite bound beyond float32's range bounds nothing; as a float it would become inf too.
    limit = job.bounds.max_finite if job.bounds.max_finite <= _FLOAT32_MAX else math.inf
    return _ACTIONS[DType(job.dtype)], job.bounds.min_positive, limit, spans


def _native_output(
    output: Output,
) -> tuple[tuple[bytes] | bytes | bytearray, int, list[tuple[int, int, int, bytes]]]:
    pieces = [(piece.offset, piece.nbytes, piece.job, piece.literal) for piece in output.pieces]
    return _place(output.to), output.nbytes, pieces


def _error(
    failure: _Failure,
    jobs: Sequence[CastJob],
    origins: Sequence[Path | bytes],
    outputs: Sequence[Output],
) -> HalveError | MemoryError | RuntimeError:
    match failure.fault:
        case _Fault.OPEN_READ | _Fault.READ | _Fault.SHORT:
            return _read_error(failure, jobs, origins[failure.number])
        case _Fault.OPEN_WRITE | _Fault.RESERVE | _Fault.WRITE:
            return _write_error(failure, outputs[failure.number])
        case _Fault.BACKEND:
            forced = os.environ.get("HALVE_FORCE_BACKEND")
            return BackendUnavailableError(
                f"HALVE_FORCE_BACKEND={forced} names a backend that this machine or build lacks; "
                "unset it, or see `halve doctor` for the names"
            )
        case _Fault.MEMORY:
            return MemoryError("no memory for the buffers, or no thread could be started")
        case _:
            return RuntimeError(f"the stream failed: {failure.fault.name} (job {failure.job})")


def _name(place: Path | bytes | bytearray) -> str:
    return str(place) if isinstance(place, Path) else "memory"


def _read_error(failure: _Failure, jobs: Sequence[CastJob], origin: Path | bytes) -> DataError:
    name = _name(origin)
    tensor = f" ({jobs[failure.job].ref.where})" if failure.job != LITERAL else ""
    if failure.fault is _Fault.OPEN_READ:
        return DataError(
            f"{name}: cannot be opened to read weights: {failure.reason}; "
            "put the file back or correct its permissions"
        )
    if failure.fault is _Fault.READ:
        return DataError(
            f"{name}: reading failed at byte {failure.offset}{tensor}: {failure.reason}; "
            "check the disk and try again"
        )
    return DataError(
        f"{name}: ends at byte {_end(origin, failure.offset)}, where a payload goes on{tensor}; "
        "the file is shorter than when it was opened: restore it and run again"
    )


def _end(origin: Path | bytes, offset: int) -> int:
    """Where a file ends; a payload that begins behind that was read from its own beginning on."""
    with contextlib.suppress(OSError):
        return min(offset, origin.stat().st_size) if isinstance(origin, Path) else offset
    return offset


def _write_error(failure: _Failure, output: Output) -> OutputError:
    name = output.label or _name(output.to)
    if failure.fault is _Fault.OPEN_WRITE:
        return OutputError(f"{name}: cannot be opened for writing: {failure.reason}")
    if failure.fault is _Fault.RESERVE:
        return OutputError(
            f"{name}: no room for {failure.offset} bytes: {failure.reason}; "
            "free space, raise the limit, or write to another disk"
        )
    return OutputError(
        f"{name}: writing failed at byte {failure.offset}: {failure.reason}; "
        "free space or check the disk, then run again"
    )

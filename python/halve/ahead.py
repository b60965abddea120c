"""Weights cast ahead: the disk works while Python still imports and plans.

1. The guess: every float32 initializer of the main graph becomes 16-bit within the options'
   bounds, every other one is copied, and all of them make up one data file.
2. That file has no name before it is wanted, so that nothing is left of it whatever happens.
3. It is taken where the plan asks for exactly these bytes at these places. Otherwise it is dropped
   before anything else is written, so that no result depends on a guess.
4. Where no guess can be made, or one goes wrong, nothing is said: whoever opens the model and
   writes the result finds the reason, and says it with its place.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from halve._native.stream import Output, Piece, Resources, RunningStream, same_work
from halve._native.wire import elide_file, initializers
from halve.errors import HalveError
from halve.options import ConvertOptions
from halve.packing import EMBED_BELOW_BYTES, LEAST_EXTERNAL_BYTES, pack
from halve.types import PAYLOAD_KEY, CastCounts, CastJob, DType, Span, TensorRef

__all__ = ["Ahead", "Taken", "write_ahead"]

# A smaller result is written in less time than Python takes to import what plans it.
_LEAST_NBYTES = 64 << 20
_OPEN_FILES = Path("/proc/self/fd")


class _Guess(NamedTuple):
    jobs: list[CastJob]
    pieces: tuple[Piece, ...]
    nbytes: int


class Taken(NamedTuple):
    """What was written ahead: counts by the index of the job, and totals in bytes."""

    counts: Mapping[int, CastCounts]
    bytes_read: int
    bytes_written: int


class Ahead:
    """A data file that is being written before anybody has asked for it."""

    def __init__(self, guess: _Guess, fd: int, resources: Resources) -> None:
        """Begin to write `guess` into the open file `fd`, which is closed in the end."""
        self._guess = guess
        self._fd = fd
        output = Output(_OPEN_FILES / str(fd), guess.nbytes, guess.pieces)
        self._running: RunningStream | None = RunningStream(
            guess.jobs, [output], resources=resources
        )

    def take(
        self,
        jobs: Sequence[CastJob],
        pieces: Sequence[Piece],
        place: Path,
        progress: Callable[[int], None] | None,
    ) -> Taken | None:
        """Wait for the file and name it `place`, where it holds just these pieces (rule 3).

        None where it does not, or where it could not be written; it is gone then. `progress` is
        that of `run_stream`. There must be nothing at `place`.
        """
        running = self._running
        if running is None or not self._holds(jobs, pieces):
            self.drop()
            return None
        running.wait(progress)
        try:
            result = running.result()
            self._name(place)
        except (HalveError, OSError, MemoryError):
            return None  # rule 4
        finally:
            self.drop()
        own = zip(pieces, self._guess.pieces, strict=True)
        counts = {piece.job: result.counts[mine.job] for piece, mine in own}
        return Taken(counts, result.bytes_read, result.bytes_written)

    def drop(self) -> None:
        """Stop, and give back the room on the disk; without effect after the first time."""
        if self._running is not None:
            self._running.stop()
            self._running = None
            os.close(self._fd)

    def _holds(self, jobs: Sequence[CastJob], pieces: Sequence[Piece]) -> bool:
        mine = self._guess.pieces
        return len(mine) == len(pieces) and all(
            one.job >= 0
            and one.offset == other.offset
            and same_work(jobs[one.job], self._guess.jobs[other.job])
            for one, other in zip(pieces, mine, strict=True)
        )

    def _name(self, place: Path) -> None:
        folder = os.open(_OPEN_FILES, os.O_RDONLY)
        try:
            # With a folder given, the link is made to the file itself and not to its entry here.
            os.link(str(self._fd), place, src_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)


@contextmanager
def write_ahead(source: Path, target: Path, options: ConvertOptions) -> Iterator[Ahead | None]:
    """Begin to write the data file that a conversion will probably ask for.

    None where no guess is made: where the result will be one file or several data files, is
    small, or where options keep nodes float32, change the model first, or let a device cast. The
    file is gone in the end, unless it was taken.
    """
    ahead = _begin(source, target, options)
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.drop()


def _begin(source: Path, target: Path, options: ConvertOptions) -> Ahead | None:
    with contextlib.suppress(HalveError, OSError, ValueError, LookupError):  # rule 4
        guess = _guess(source, options)
        fd = None if guess is None else _nameless_file(target)
        if guess is not None and fd is not None:
            return Ahead(guess, fd, Resources(options.worker_threads, options.budget_bytes))
    return None


def _nameless_file(target: Path) -> int | None:
    """A file without a name where `target` will be; None where the system has no such thing."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    folder = os.path.dirname(os.path.realpath(target))  # noqa: PTH120 - realpath gives a str
    return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)


def _guess(source: Path, options: ConvertOptions) -> _Guess | None:
    """Rule 1; None where the options leave nothing to guess, or not enough of it."""
    kept = (options.fp32_nodes, options.op_block, options.node_block, options.operand_block)
    other = (options.plan, options.simplify, options.device, options.shard_size_bytes)
    if any(kept) or other != (None,) * len(other) or options.external_data == "never":
        return None
    jobs = [job for job in _jobs(source, options) if job.nbytes >= LEAST_EXTERNAL_BYTES]
    nbytes = sum(job.nbytes for job in jobs)
    least = EMBED_BELOW_BYTES if options.external_data == "auto" else _LEAST_NBYTES
    if nbytes < least or all(job.is_copy for job in jobs):
        return None
    (shard,) = pack(((i, job.nbytes) for i, job in enumerate(jobs)), None)
    pieces = tuple(Piece(offset, jobs[i].nbytes, i) for i, offset in shard.offsets)
    return _Guess(jobs, pieces, shard.nbytes)


def _jobs(source: Path, options: ConvertOptions) -> Iterator[CastJob]:
    path, _ = _regular(source.resolve(strict=True))
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        size = os.fstat(file.fileno()).st_size
        skeleton, payloads = elide_file(file.fileno(), size, str(source))
    find = functools.cache(functools.partial(_data_file, path.parent))
    for dtype, entries in initializers(skeleton, str(source)):
        if PAYLOAD_KEY in entries:
            found = payloads[int(entries[PAYLOAD_KEY])]
            ref = TensorRef("", dtype, (), path, found.spans, found.nbytes, found.field, "")
        elif "location" in entries:
            data, size = find(entries["location"])
            span = _span(entries, size)
            ref = TensorRef("", dtype, (), data, (span,) if span.nbytes else (), span.nbytes, 0, "")
        else:
            continue  # small, and in the model file
        yield CastJob("", ref, options.half if dtype == DType.FLOAT else dtype, options.bounds)


def _data_file(folder: Path, location: str) -> tuple[Path, int]:
    path = folder.joinpath(location).resolve(strict=True)
    if not path.is_relative_to(folder):
        raise ValueError(location)  # which needs to be allowed
    return _regular(path)


def _regular(path: Path) -> tuple[Path, int]:
    """A regular file and its size; opening anything else might wait for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(path)
    return path, status.st_size


def _span(entries: Mapping[str, str], size: int) -> Span:
    offset, nbytes = int(entries.get("offset", "0")), int(entries["length"])
    if offset < 0 or nbytes < 0 or offset + nbytes > size:
        raise ValueError(offset)
    return Span(offset, nbytes)

"""Write a rewritten model: layout, payload, commit."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from halve._native.stream import LITERAL, Output, Piece, Resources, StreamResult, run_stream
from halve.ahead import Ahead, Taken
from halve.options import ConvertOptions, Progress
from halve.types import CastJob, RewrittenModel, SourceModel, WriteSummary
from halve.write.identity import copy_layout, keeps_layout
from halve.write.layout import FilePlan, Layout, lay_out, wants_external
from halve.write.rows import make_rows
from halve.write.staging import Staging
from halve.write.target import check_target, resolve_target

__all__ = ["copy_model", "write_model"]

_LOGGER = logging.getLogger(__name__)


def write_model(
    rewritten: RewrittenModel,
    source: SourceModel,
    target: Path,
    *,
    options: ConvertOptions,
    ahead: Ahead | None = None,
) -> WriteSummary:
    """Write `rewritten` to `target`, with its weights in it or beside it as `options` say.

    The model is embedded, or has data files TARGET.data (with `shard_size_bytes`
    TARGET-00001-of-00003.data; with a number after TARGET where a name is taken): payloads of
    1 KiB and more, tensors of 1 MiB and more at multiples of 4096 bytes, smaller ones at
    multiples of 64. No tensor is split over two files. An identity is a byte copy of the source's
    files, unless the options ask for another layout. The bytes depend on nothing else: not on
    threads, budget or backend.

    A target that is a link is written where the link points. The new files have the permissions
    of any new file. They replace the target at one instant; data files that only the replaced
    model used, and that have the names above, are removed after that. On any exception the
    target's folder is as it was. What a killed conversion left behind is removed first.

    `options.progress` is called from this thread; an exception that it raises comes out. `ahead` is
    used where it holds the result's one data file, and dropped where it does not.

    Raises:
        OutputError: the target cannot be written; see `check_target`.
        DataError: a payload of the source cannot be read, or has become shorter.
        OptionError: the options ask for one file larger than a protobuf can be.
    """
    check_target(source, target)
    place = resolve_target(target)
    copied = source.path if keeps_layout(rewritten, source, options) else None
    if copied is None:
        wants_external(rewritten, options)  # what cannot be is found before anything is made
    with Staging(place) as staging:
        writer = _Writer(rewritten, staging, place, options, ahead)
        done = None if copied is None else writer.copy(source, copied)
        return done or writer.write()


def copy_model(made: WriteSummary, source: SourceModel, target: Path) -> WriteSummary:
    """Write to `target` a copy of what was made of `source`: a model without data files.

    Links, permissions, the moment of replacing and what is left after an exception are as for
    `write_model`.

    Raises:
        OutputError: the target cannot be written; see `check_target`.
    """
    check_target(source, target)
    place = resolve_target(target)
    (path,) = made.files
    with Staging(place) as staging:
        staging.copy(path)
        staging.commit()
        return replace(made, files=(place,), warnings=(*made.warnings, *staging.warnings))


# The number of a data file (None: the model), its plan, and its pieces with jobs of their own.
_File = tuple[int | None, FilePlan, tuple[Piece, ...]]


class _Writer:
    """One conversion's way from layout to commit."""

    def __init__(
        self,
        rewritten: RewrittenModel,
        staging: Staging,
        place: Path,
        options: ConvertOptions,
        ahead: Ahead | None,
    ) -> None:
        self._rewritten = rewritten
        self._staging = staging
        self._place = place
        self._options = options
        self._ahead = ahead

    def copy(self, source: SourceModel, path: Path) -> WriteSummary | None:
        """Copy the source's files under their own names; None where one is taken."""
        jobs, layout = copy_layout(self._rewritten, source, path, self._place.name)
        names = [file.name for file in layout.data]
        if not all(map(self._is_free, names)):
            return None
        result = self._stream(jobs, layout)
        if not self._staging.publish(names):
            return None
        self._staging.commit()
        return self._summary(layout, result._replace(counts=()))

    def write(self) -> WriteSummary:
        """Lay out, write, and commit under the first names that are free."""
        jobs = self._rewritten.jobs
        layout = self._lay_out()
        result = self._stream(jobs, layout)
        while not self._staging.publish([file.name for file in layout.data]):
            # Another process took a name meanwhile: only the references to it change.
            layout = self._lay_out()
            self._run(jobs, [(None, layout.model)], None)
        self._staging.commit()
        return self._summary(layout, result)

    def _is_free(self, name: str) -> bool:
        path = Path(os.path.normpath(self._place.parent / name))
        return path != self._place and not path.exists() and not path.is_symlink()

    def _lay_out(self) -> Layout:
        return lay_out(self._rewritten, self._place.name, self._options, is_free=self._is_free)

    def _stream(self, jobs: Sequence[CastJob], layout: Layout) -> StreamResult:
        files = [*enumerate(layout.data), (None, layout.model)]
        total = sum(file.nbytes for _, file in files)
        _LOGGER.debug("writing %d bytes to %d files", total, len(files))
        return self._run(jobs, files, _reporter(self._options.progress, total))

    def _run(
        self,
        jobs: Sequence[CastJob],
        files: Sequence[tuple[int | None, FilePlan]],
        progress: Callable[[int], None] | None,
    ) -> StreamResult:
        once = _Once(jobs)
        owned = [(number, file, once.own(file.pieces)) for number, file in files]
        taken = self._take_ahead(once.jobs, owned, progress)
        outputs = [
            Output(
                self._staging.create(number),
                file.nbytes,
                pieces,
                label=str(self._place.parent / file.name),
            )
            for number, file, pieces in (owned if taken is None else owned[1:])
        ]
        result = run_stream(
            once.jobs,
            outputs,
            resources=Resources(
                self._options.worker_threads,
                self._options.budget_bytes,
                device=self._options.device,
            ),
            progress=progress if taken is None else _further(progress, taken.bytes_written),
        )
        return result if taken is None else _joined(taken, result)

    def _take_ahead(
        self,
        jobs: Sequence[CastJob],
        files: Sequence[_File],
        progress: Callable[[int], None] | None,
    ) -> Taken | None:
        """The first of `files`, in its place, where it is the one data file and was written ahead.

        Whatever was written ahead is gone otherwise, and its room is free.
        """
        if self._ahead is None:
            return None
        number, _, pieces = files[0]
        if number != 0 or len(files) != 2:
            self._ahead.drop()
            return None
        return self._ahead.take(jobs, pieces, self._staging.place_of(number), progress)

    def _summary(self, layout: Layout, result: StreamResult) -> WriteSummary:
        files = tuple(self._place.parent / file.name for file in (layout.model, *layout.data))
        rows = make_rows(self._rewritten.jobs, layout.places, dict(enumerate(result.counts)))
        return WriteSummary(
            files, rows, result.bytes_read, result.bytes_written, self._staging.warnings
        )


class _Once:
    """Lets each job be carried out by one piece, so that nothing is counted twice."""

    def __init__(self, jobs: Sequence[CastJob]) -> None:
        self.jobs = list(jobs)
        self._seen: set[int] = set()

    def own(self, pieces: Sequence[Piece]) -> tuple[Piece, ...]:
        """The pieces, with a copy of its job for each that is not the first of its job."""
        return tuple(map(self._own, pieces))

    def _own(self, piece: Piece) -> Piece:
        if piece.job == LITERAL or piece.job not in self._seen:
            self._seen.add(piece.job)
            return piece
        self.jobs.append(self.jobs[piece.job])
        return piece._replace(job=len(self.jobs) - 1)


def _further(
    progress: Callable[[int], None] | None, done_bytes: int
) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(done_bytes + done)


def _joined(taken: Taken, rest: StreamResult) -> StreamResult:
    counts = tuple(taken.counts.get(job, count) for job, count in enumerate(rest.counts))
    return StreamResult(
        counts, taken.bytes_read + rest.bytes_read, taken.bytes_written + rest.bytes_written
    )


def _reporter(
    progress: Callable[[Progress], None] | None, total_bytes: int
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    return lambda done: progress(Progress("write", done, total_bytes))

"""Write a rewritten model: layout, payload, commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from halve._native.stream import Output, Piece, StreamResult, run_stream
from halve.options import ConvertOptions, Progress
from halve.types import CastCounts, CastJob, RewrittenModel, SourceModel, TensorRow, WriteSummary
from halve.write.identity import copy_layout, keeps_layout
from halve.write.layout import FilePlan, Layout, lay_out, wants_external
from halve.write.staging import Staging
from halve.write.target import check_target, resolve_target

__all__ = ["rows_of", "write_model"]

_LOGGER = logging.getLogger(__name__)


def write_model(
    rewritten: RewrittenModel, source: SourceModel, target: Path, *, options: ConvertOptions
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

    `options.progress` is called from this thread; an exception that it raises comes out.

    Raises:
        OutputError: the target cannot be written; see `check_target`.
        DataError: a payload of the source cannot be read, or has become shorter.
        OptionError: the options ask for one file larger than a protobuf can be.
    """
    check_target(source, target)
    place = resolve_target(target)
    identity = keeps_layout(rewritten, source, options)
    if not identity:
        wants_external(rewritten, options)  # what cannot be is found before anything is made
    with Staging(place) as staging:
        writer = _Writer(staging, place, options)
        done = writer.copy(source) if identity else None
        return done or writer.write(rewritten)


class _Writer:
    """One conversion's way from layout to commit."""

    def __init__(self, staging: Staging, place: Path, options: ConvertOptions) -> None:
        self._staging = staging
        self._place = place
        self._options = options

    def copy(self, source: SourceModel) -> WriteSummary | None:
        """Copy the source's files under their own names; None where one is taken."""
        jobs, layout, rows = copy_layout(source, self._place.name)
        names = [file.name for file in layout.data]
        if not all(map(self._is_free, names)):
            return None
        result = self._stream(jobs, layout)
        if not self._staging.publish(names):
            return None
        self._staging.commit()
        return self._summary(layout, rows, result)

    def write(self, rewritten: RewrittenModel) -> WriteSummary:
        """Lay out, write, and commit under the first names that are free."""
        layout = self._lay_out(rewritten)
        result = self._stream(rewritten.jobs, layout)
        while not self._staging.publish([file.name for file in layout.data]):
            # Another process took a name meanwhile: only the references to it change.
            layout = self._lay_out(rewritten)
            self._run(rewritten.jobs, [(None, layout.model)], None)
        self._staging.commit()
        return self._summary(layout, rows_of(rewritten.jobs, layout.places, result.counts), result)

    def _is_free(self, name: str) -> bool:
        path = self._place.parent / name
        return name != self._place.name and not path.exists() and not path.is_symlink()

    def _lay_out(self, rewritten: RewrittenModel) -> Layout:
        return lay_out(rewritten, self._place.name, self._options, is_free=self._is_free)

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
        unique = list(jobs)
        outputs = [
            Output(self._staging.create(number), file.nbytes, _once(file.pieces, unique, len(jobs)))
            for number, file in files
        ]
        return run_stream(
            unique,
            outputs,
            threads=self._options.worker_threads,
            budget_bytes=self._options.budget_bytes,
            progress=progress,
        )

    def _summary(
        self, layout: Layout, rows: tuple[TensorRow, ...], result: StreamResult
    ) -> WriteSummary:
        files = tuple(self._place.parent / file.name for file in (layout.model, *layout.data))
        return WriteSummary(files, rows, result.bytes_read, result.bytes_written)

"""What a report says about each written payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from halve.types import CastCounts, CastJob, TensorRow

__all__ = ["make_rows"]


def make_rows(
    jobs: Sequence[CastJob],
    places: Mapping[int, tuple[str, int]],
    counts: Mapping[int, CastCounts],
) -> tuple[TensorRow, ...]:
    """A row for each job that has a place, in their order; counts are zero for copies."""
    return tuple(
        _row(job, *places[index], counts.get(index, CastCounts()))
        for index, job in enumerate(jobs)
        if index in places
    )


def _row(job: CastJob, file: str, offset: int, counts: CastCounts) -> TensorRow:
    return TensorRow(
        name=job.name,
        source_dtype=job.ref.dtype,
        dtype=job.dtype,
        shape=job.ref.shape,
        source_nbytes=job.ref.nbytes,
        nbytes=job.nbytes,
        file=file,
        offset=offset,
        counts=counts,
    )

"""A search on the simplified model, told in the ids of the file given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from halve.auto.job import Source
from halve.auto.stand_in import StandInJob
from halve.options import SimplifyOptions
from halve.search_options import SearchOptions
from halve.session.samples import Sample, SampleSource, as_samples
from halve.simplify import simplified_model

__all__ = ["simplified_job"]


@contextmanager
def simplified_job(
    source: Source, samples: SampleSource, options: SearchOptions, *, target: Path | None = None
) -> Iterator[StandInJob]:
    """The job in a folder that is gone afterwards; `options.convert.simplify` says how.

    Raises:
        HalveError: as `halve.simplify` raises.
    """
    given: Sequence[Sample] = as_samples(samples)
    how = replace(options.convert.simplify or SimplifyOptions(), samples=given)
    told = replace(options.convert, simplify=how)
    with simplified_model(source, told, target=target, feedback=options.feedback) as model:
        note = (
            f"the model was simplified first, from {len(model.plan.nodes)} nodes to "
            f"{len(model.origins)}; ids are those of the file given"
        )
        found = replace(options, convert=model.options)
        yield StandInJob(model, found, options.workspace, note)

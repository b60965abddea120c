"""Casts of a written model as the borders between its precisions."""

from __future__ import annotations

import math

from halve.auto.job import Job
from halve.auto.records import Border
from halve.types import CastRow

__all__ = ["border_of"]

_HALF_LIMITS = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}


def border_of(cast: CastRow, job: Job) -> Border:
    """A cast with the bytes that it moves, and the room to the 16-bit type's largest value.

    Both are None for values inside bodies, which statistics do not know.
    """
    known = None if cast.scope else job.statistics.get(cast.tensor)
    largest = None if known is None else known.max_abs
    dtype = job.options.convert.dtype
    return Border(
        tensor=cast.tensor,
        scope=cast.scope,
        to="float32" if cast.to == 1 else dtype,
        nbytes=None if known is None else 6 * math.prod(known.shape),
        max_abs=largest,
        headroom=_HALF_LIMITS[dtype] / largest if largest else None,
    )
